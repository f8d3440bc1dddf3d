// Pillow's two-pass resampling over planes of bytes on the CPU. Sums are integers, so any order of addition is exact.
#pragma once
#include <stddef.h>
#include <string.h>

#include "geometry.h"

namespace ae { namespace AE_ISA {

struct Planes {
  u8* p[3];
  ptrdiff_t stride;
  int h, w;
  u8* row(int channel, int y) const { return p[channel] + y * stride; }
};

// The coefficients of one axis: output i reads taps[i * width ...] from input first[i] on.
struct Axis {
  int* first;
  int* taps;
  int width;
};

inline size_t axis_ints(int interpolation, int in, int out) {
  return (size_t)out * (1 + max_taps(interpolation, in, out)) + 16;
}

inline Axis make_axis(int interpolation, int in, int out, int* memory) {
  Axis a = {memory, memory + out, max_taps(interpolation, in, out)};
  memset(a.taps, 0, sizeof(int) * (size_t)a.width * out);
  if (interpolation == NEAREST) {
    nearest_axis(in, out, [&](int i, int first, int tap) { a.first[i] = first; a.taps[i] = tap; });
    return a;
  }
  for (int i = 0; i < out; i++) {
    axis_taps(interpolation, in, out, i, a.first + i, a.taps + (size_t)i * a.width);
    // windows of full width must end inside the input
    const int over = a.first[i] + a.width - in;
    if (over > 0 && a.first[i] > 0) {
      const int shift = min_of(over, a.first[i]);
      int* taps = a.taps + (size_t)i * a.width;
      memmove(taps + shift, taps, sizeof(int) * (a.width - shift));
      memset(taps, 0, sizeof(int) * shift);
      a.first[i] -= shift;
    }
  }
  return a;
}

inline void resample_rows(const Planes& in, const Planes& out, int k, const Axis& axis, int* sums) {
  const int width = min_of(axis.width, in.h);
  for (int y = 0; y < out.h; y++) {
    for (int x = 0; x < out.w; x++) sums[x] = 1 << 21;
    for (int j = 0; j < width; j++) {
      const int tap = axis.taps[(size_t)y * axis.width + j];
      if (tap == 0) continue;
      const u8* __restrict src = in.row(k, axis.first[y] + j);
      int* __restrict s = sums;
      for (int x = 0; x < out.w; x++) s[x] += src[x] * tap;
    }
    u8* __restrict dst = out.row(k, y);
    for (int x = 0; x < out.w; x++) dst[x] = (u8)clamp(sums[x] >> 22, 0, 255);
  }
}

inline void resample_columns(const Planes& in, const Planes& out, int k, const Axis& axis) {
  const int width = min_of(axis.width, in.w);
  for (int y = 0; y < out.h; y++) {
    const u8* src = in.row(k, y);
    u8* dst = out.row(k, y);
    for (int x = 0; x < out.w; x++) {
      int sum = 0;
      const u8* from = src + axis.first[x];
      const int* taps = axis.taps + (size_t)x * axis.width;
      for (int j = 0; j < width; j++) sum += from[j] * taps[j];
      dst[x] = round_taps(sum);
    }
  }
}

inline size_t resample_scratch(const Geometry& g) {
  const size_t middle = (size_t)g.out_w * g.box_h > (size_t)g.box_w * g.out_h ? (size_t)g.out_w * g.box_h : (size_t)g.box_w * g.out_h;
  const size_t widest = (size_t)(g.box_w > g.out_w ? g.box_w : g.out_w);
  return middle + sizeof(int) * (axis_ints(g.interpolation, g.box_w, g.out_w) + axis_ints(g.interpolation, g.box_h, g.out_h) + widest) + 512;
}

// `in` is the box. A pass whose size does not change is skipped.
inline void resample(const Planes& in, const Planes& out, int channels, const Geometry& g, bool pillow13, u8* scratch) {
  int* ints = (int*)scratch;
  const Axis across = make_axis(g.interpolation, in.w, out.w, ints);
  ints += axis_ints(g.interpolation, in.w, out.w);
  const Axis down = make_axis(g.interpolation, in.h, out.h, ints);
  ints += axis_ints(g.interpolation, in.h, out.h);
  int* sums = ints;
  u8* const middle_bytes = (u8*)(sums + max_of(in.w, out.w));
  const bool rows_first = vertical_first(g, pillow13);
  for (int k = 0; k < channels; k++) {
    if (in.h == out.h) { resample_columns(in, out, k, across); continue; }
    if (in.w == out.w) { resample_rows(in, out, k, down, sums); continue; }
    Planes middle = rows_first ? Planes{{}, in.w, out.h, in.w} : Planes{{}, out.w, in.h, out.w};
    middle.p[k] = middle_bytes;
    if (rows_first) {
      resample_rows(in, middle, k, down, sums);
      resample_columns(middle, out, k, across);
    } else {
      resample_columns(in, middle, k, across);
      resample_rows(middle, out, k, down, sums);
    }
  }
}

inline void split_rgb(const u8* __restrict src, u8* __restrict r, u8* __restrict g, u8* __restrict b, int w) {
  for (int x = 0; x < w; x++) {
    r[x] = src[3 * x];
    g[x] = src[3 * x + 1];
    b[x] = src[3 * x + 2];
  }
}

}}  // namespace
