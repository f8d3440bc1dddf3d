// Geometry ops: from a call's arguments to its coordinate map, in the doubles of Pillow and torchvision.
#pragma once
#include "geometry.h"

namespace ae { namespace AE_ISA {

inline Geometry same_size(int type, int h, int w) {
  Geometry g = {};
  g.type = type;
  g.in_h = g.out_h = h;
  g.in_w = g.out_w = w;
  return g;
}

inline Geometry orient(int h, int w, bool flip_x, bool flip_y, bool transpose) {
  Geometry g = same_size(GEOMETRY_ORIENT, h, w);
  g.flip_x = flip_x;
  g.flip_y = flip_y;
  g.transpose = transpose;
  if (transpose) { g.out_h = w; g.out_w = h; }
  return g;
}

inline Geometry horizontal_flip(const double*, int h, int w) { return orient(h, w, true, false, false); }
inline Geometry vertical_flip(const double*, int h, int w) { return orient(h, w, false, true, false); }

inline Geometry rectangle(const double* a, int h, int w) {
  Geometry g = same_size(GEOMETRY_CROP, h, w);
  g.top = (int)a[0];
  g.left = (int)a[1];
  g.out_h = g.box_h = (int)a[2];
  g.out_w = g.box_w = (int)a[3];
  if (g.top == 0 && g.left == 0 && g.box_h == h && g.box_w == w) g.type = GEOMETRY_COPY;
  return g;
}

inline Geometry crop(const double* a, int h, int w) { return rectangle(a, h, w); }

inline Geometry resized_crop(const double* a, int h, int w) {
  Geometry g = rectangle(a, h, w);
  g.out_h = (int)a[4];
  g.out_w = (int)a[5];
  g.interpolation = (int)a[6];
  if (g.out_h != g.box_h || g.out_w != g.box_w) g.type = GEOMETRY_RESAMPLE;
  return g;
}

inline Geometry resize(const double* a, int h, int w) {
  const double args[7] = {0, 0, (double)h, (double)w, a[0], a[1], a[2]};
  return resized_crop(args, h, w);
}

// Python's round(v, 15) of a sine or cosine: |v| <= 1, so v * 10^15 is exact in 128 bits, and its nearest whole number
// divided by 10^15 is the double nearest to that decimal.
inline double round15(double v) {
  int exponent;
  const double mantissa = frexp(fabs(v), &exponent);
  if (mantissa == 0.0 || exponent < -60) return copysign(0.0, v);
  const int shift = 53 - exponent;  // v = whole / 2^shift
  const unsigned __int128 scaled = (unsigned __int128)(u64)ldexp(mantissa, 53) * 1000000000000000ull;
  const unsigned __int128 half = (unsigned __int128)1 << (shift - 1), rest = scaled & (2 * half - 1);
  u64 whole = (u64)(scaled >> shift);
  if (rest > half || (rest == half && (whole & 1))) whole++;  // to even, as printf
  return copysign((double)whole / 1e15, v);
}

inline int to_fixed(double v) { return (int)floor(v * 65536.0 + 0.5); }

// Sets how an affine map is evaluated; m is the output -> input matrix.
inline void set_affine(Geometry& g) {
  const double* m = g.m;
  if (g.interpolation != NEAREST) return;
  if (m[1] == 0.0 && m[3] == 0.0) {  // Pillow's scale path: a walk; whole steps need none
    const bool steps = m[0] == 1.0 && m[4] == 1.0 && m[2] == floor(m[2]) && m[5] == floor(m[5]);
    if (!steps || fabs(m[2]) > 1e9 || fabs(m[5]) > 1e9) return;
    g.type = m[2] == 0.0 && m[5] == 0.0 && g.out_h == g.in_h && g.out_w == g.in_w ? GEOMETRY_COPY : GEOMETRY_CROP;
    g.left = (int)m[2];
    g.top = (int)m[5];
    g.box_h = g.out_h;
    g.box_w = g.out_w;
    return;
  }
  g.fixed = 1;
  for (int corner = 0; corner < 4; corner++) {
    const double x = corner & 1 ? g.out_w : 0, y = corner & 2 ? g.out_h : 0;
    if (!(fabs(x * m[0] + y * m[1] + m[2]) < 32768.0 && fabs(x * m[3] + y * m[4] + m[5]) < 32768.0)) g.fixed = 0;
  }
  if (!g.fixed) return;
  const double folded[6] = {m[0], m[1], m[2] + m[0] * 0.5 + m[1] * 0.5, m[3], m[4], m[5] + m[3] * 0.5 + m[4] * 0.5};
  for (int i = 0; i < 6; i++) g.f[i] = to_fixed(folded[i]);
}

// `settings`: interpolation; `fill`: three bytes.
inline Geometry map_of(int type, int h, int w, const double* m, int terms, double interpolation, const double* fill) {
  Geometry g = same_size(type, h, w);
  for (int i = 0; i < terms; i++) g.m[i] = m[i];
  g.interpolation = (int)interpolation;
  for (int i = 0; i < 3; i++) g.fill[i] = (int)fill[i];
  return g;
}

// angle, interpolation, expand, center x, y, fill * 3
inline Geometry rotate(const double* a, int h, int w) {
  const bool expand = a[2] != 0.0, centered = a[3] != a[3];
  double degrees = fmod(a[0], 360.0);
  if (degrees < 0) degrees += 360.0;
  if (centered) {
    if (degrees == 0 || degrees == 360.0) return same_size(GEOMETRY_COPY, h, w);
    if (degrees == 180) return orient(h, w, true, true, false);
    if ((h == w || expand) && degrees == 90) return orient(h, w, true, false, true);
    if ((h == w || expand) && degrees == 270) return orient(h, w, false, true, true);
  }
  const double angle = -(degrees * (3.14159265358979323846 / 180.0));
  const double c = round15(cos(angle)), s = round15(sin(angle)), n = -s;
  const double cx = centered ? w / 2.0 : a[3], cy = centered ? h / 2.0 : a[4];
  double m[6] = {c, s, ((c * -cx + s * -cy) + 0.0) + cx, n, c, ((n * -cx + c * -cy) + 0.0) + cy};
  int out_h = h, out_w = w;
  if (expand) {
    double lo_x = 0, hi_x = 0, lo_y = 0, hi_y = 0;
    for (int corner = 0; corner < 4; corner++) {
      const double x = corner & 1 ? w : 0, y = corner & 2 ? h : 0;
      const double tx = m[0] * x + m[1] * y + m[2], ty = m[3] * x + m[4] * y + m[5];
      lo_x = corner && lo_x < tx ? lo_x : tx;
      hi_x = corner && hi_x > tx ? hi_x : tx;
      lo_y = corner && lo_y < ty ? lo_y : ty;
      hi_y = corner && hi_y > ty ? hi_y : ty;
    }
    out_w = (int)(ceil(hi_x) - floor(lo_x));
    out_h = (int)(ceil(hi_y) - floor(lo_y));
    const double dx = -(out_w - w) / 2.0, dy = -(out_h - h) / 2.0;
    const double x = m[0] * dx + m[1] * dy + m[2], y = m[3] * dx + m[4] * dy + m[5];
    m[2] = x;
    m[5] = y;
  }
  Geometry g = map_of(GEOMETRY_AFFINE, h, w, m, 6, a[1], a + 5);
  g.out_h = out_h;
  g.out_w = out_w;
  set_affine(g);
  return g;
}

// angle, translate x, y, scale, shear x, y, interpolation, fill * 3, center x, y: torchvision's inverse matrix
inline Geometry affine(const double* a, int h, int w) {
  const double degree = 3.14159265358979323846 / 180.0;
  const double angle = a[0] * degree, shear_x = a[4] * degree, shear_y = a[5] * degree, scale = a[3];
  const double cx = a[10] == a[10] ? a[10] : w * 0.5, cy = a[10] == a[10] ? a[11] : h * 0.5;
  const double cos_y = cos(shear_y), tan_x = tan(shear_x), moved_x = cx + a[1], moved_y = cy + a[2];
  const double A = cos(angle - shear_y) / cos_y, B = -(A * tan_x + sin(angle));
  const double C = sin(angle - shear_y) / cos_y, D = cos(angle) - C * tan_x;
  double m[6] = {D / scale, -B / scale, 0.0, -C / scale, A / scale, 0.0};
  m[2] += cx - m[0] * moved_x - m[1] * moved_y;
  m[5] += cy - m[3] * moved_x - m[4] * moved_y;
  Geometry g = map_of(GEOMETRY_AFFINE, h, w, m, 6, a[6], a + 7);
  set_affine(g);
  return g;
}

// coefficients * 8, interpolation, fill * 3
inline Geometry perspective(const double* a, int h, int w) {
  return map_of(GEOMETRY_PERSPECTIVE, h, w, a, 8, a[8], a + 9);
}

// padding left, top, right, bottom, fill * 3, mode
inline Geometry pad(const double* a, int h, int w) {
  Geometry g = same_size((int)a[7] == PADDING_CONSTANT ? GEOMETRY_CROP : GEOMETRY_BORDER, h, w);
  g.padding = (int)a[7];
  g.left = -(int)a[0];
  g.top = -(int)a[1];
  g.out_w = g.box_w = w + (int)a[0] + (int)a[2];
  g.out_h = g.box_h = h + (int)a[1] + (int)a[3];
  for (int i = 0; i < 3; i++) g.fill[i] = (int)a[4 + i];
  if (g.out_w == w && g.out_h == h) g.type = GEOMETRY_COPY;
  return g;
}

inline Geometry geometry_of(const Call& call, int h, int w) {
  switch (call.op) {
#define AE_CASE(name) \
  case OP_##name: return name(call.args, h, w);
    AE_MAP_OPS(AE_CASE)
#undef AE_CASE
  }
  return same_size(GEOMETRY_COPY, h, w);
}

}}  // namespace
