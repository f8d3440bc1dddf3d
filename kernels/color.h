// Colour ops: bytes in, bytes out, with Pillow's arithmetic. No multiply-add may be contracted (see CMakeLists.txt).
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

template <class Int>
AE_FN Int luma(Int r, Int g, Int b) { return (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16; }

// Pillow's Image.blend: float32, multiply then add, truncated. Exact at factors 0 and 1 without special cases. A factor
// beyond the bounds gives what the bounds give, 0 or 255; within them no int overflows, so that lanes need no clipping.
template <class Int>
AE_FN Int blend(Int from, Int to, float factor) {
  const float bounded = factor < -4194304.0f ? -4194304.0f : factor > 4194304.0f ? 4194304.0f : factor;
  return clip_int(to_float(from) + bounded * to_float(to - from));
}

AE_FN u8 adjust_brightness(u8 v, int, const double* args) { return (u8)blend(0, (int)v, (float)args[0]); }

template <class Int>
AE_FN RgbOf<Int> adjust_saturation(RgbOf<Int> p, const double* args) {
  const Int gray = luma(p.r, p.g, p.b);
  const float factor = (float)args[0];
  return {blend(gray, p.r, factor), blend(gray, p.g, factor), blend(gray, p.b, factor)};
}

AE_FN u8 adjust_contrast(u8 v, const Stats& luma, const double* args) {
  const int mean = (int)((2 * luma.sum + luma.count) / (2 * (u64)luma.count));
  return (u8)blend(mean, (int)v, (float)args[0]);
}

AE_FN u8 equalize(u8 v, const Stats& channel, const double*) {
  const int step = (int)((channel.count - channel.histogram[channel.hi]) / 255);
  if (channel.lo == channel.hi || step == 0) return v;
  // The quotient of two ints: half above the dividend, the product's error never reaches a whole number, in float32 as
  // long as step and dividend are as small as here.
  const int dividend = (int)(step / 2 + channel.below[v]);
  const int level = channel.count < (1u << 20) ? (int)(((float)dividend + 0.5f) * (1.0f / (float)step))
                                               : (int)((dividend + 0.5) * (1.0 / step));
  return (u8)min_of(level, 255);
}

AE_FN u8 autocontrast(u8 v, const Stats& channel, const double*) {
  if (channel.hi <= channel.lo) return v;
  const double scale = 255.0 / (channel.hi - channel.lo), offset = -channel.lo * scale;
  return (u8)clamp((int)(v * scale + offset), 0, 255);
}

AE_FN u8 posterize(u8 v, int, const double* args) { return (u8)(v & ~((1 << (8 - (int)args[0])) - 1)); }

// The whole numbers below a threshold are those below the next whole number, which ints compare.
AE_FN int whole_threshold(double v) { return v <= 0.0 ? 0 : v >= 256.0 ? 256 : (int)ceil(v); }

AE_FN u8 solarize(u8 v, int, const double* args) { return v < whole_threshold(args[0]) ? v : (u8)(255 - v); }

AE_FN u8 solarize_add(u8 v, int, const double* args) {
  return v < whole_threshold(args[1]) ? (u8)min_of(255, v + (int)args[0]) : v;
}

AE_FN u8 invert(u8 v, int, const double*) { return (u8)(255 - v); }

AE_FN u8 shift_color(u8 v, int channel, const double* args) {
  const double shifted = floor(v + args[channel] + 0.5);
  return shifted <= 0.0 ? 0 : shifted >= 255.0 ? 255 : (u8)shifted;
}

AE_FN double fraction(double v) { return v - floor(v); }
AE_FN u8 round_half_up(double v) { return (u8)(fraction(v) >= 0.5 ? floor(v) + 1.0 : floor(v)); }

struct Hsv {
  u8 h, s, v;
};

AE_FN Hsv to_hsv(Rgb p) {
  const int high = max_of(p.r, max_of(p.g, p.b)), low = min_of(p.r, min_of(p.g, p.b));
  if (high == low) return {0, 0, (u8)high};
  const float range = (float)(high - low), s = range / (float)high;
  const float rc = (float)(high - p.r) / range, gc = (float)(high - p.g) / range, bc = (float)(high - p.b) / range;
  float h;
  if (p.r == high) h = bc - gc;
  else if (p.g == high) h = (float)((2.0 + (double)rc) - (double)bc);
  else h = (float)((4.0 + (double)gc) - (double)rc);
  h = (float)fraction((double)h / 6.0 + 1.0);
  return {(u8)clamp((int)((double)h * 255.0), 0, 255), (u8)clamp((int)((double)s * 255.0), 0, 255), (u8)high};
}

AE_FN Rgb from_hsv(Hsv c) {
  if (c.s == 0) return {c.v, c.v, c.v};
  const double h6 = (double)c.h * 6.0 / 255.0, v = c.v;
  const int sector = (int)floor(h6);
  const float f = (float)(h6 - sector), s = (float)((double)c.s / 255.0);
  const u8 p = round_half_up(v * (1.0 - (double)s));
  const u8 q = round_half_up(v * (1.0 - (double)(s * f)));
  const u8 t = round_half_up(v * (1.0 - (double)s * (1.0 - (double)f)));
  switch (sector % 6) {
    case 0: return {c.v, t, p};
    case 1: return {q, c.v, p};
    case 2: return {p, c.v, t};
    case 3: return {p, q, c.v};
    case 4: return {t, p, c.v};
    default: return {c.v, p, q};
  }
}

AE_FN Rgb adjust_hue(Rgb p, const double* args) {
  Hsv c = to_hsv(p);
  c.h = (u8)(c.h + (int)(args[0] * 255.0));
  return from_hsv(c);
}

}}  // namespace
