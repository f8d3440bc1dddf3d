// Geometry that needs no pass on the device: views of the same bytes, and resampling taps that the host makes.
#pragma once
#include <utility>

#include "geometry_ops.h"
#include "step.h"

namespace ae { namespace AE_ISA {

inline View shifted(View v, int top, int left) {
  v.data += top * v.stride_y + left * v.stride_x;
  return v;
}

inline View oriented_view(View v, const Geometry& g) {  // the order of `oriented`: mirrored, then transposed
  if (g.flip_x) { v = shifted(v, 0, v.w - 1); v.stride_x = -v.stride_x; }
  if (g.flip_y) { v = shifted(v, v.h - 1, 0); v.stride_y = -v.stride_y; }
  if (g.transpose) { std::swap(v.stride_x, v.stride_y); std::swap(v.h, v.w); }
  return v;
}

inline View rectangle_view(const View& v, const Geometry& g) {
  View box = shifted(v, g.top, g.left);
  box.h = g.box_h;
  box.w = g.box_w;
  return box;
}

// sin and cos are not the same on both machines, and nearest walks its axis one by one: those taps are the host's.
inline bool made_on_host(int interpolation) {
  return interpolation == NEAREST || interpolation == HAMMING || interpolation == LANCZOS;
}

inline void fill_taps(const Taps& t, int* memory) {
  int *first = memory, *taps = memory + t.out;
  if (t.interpolation == NEAREST)
    return nearest_axis(t.in, t.out, [&](int i, int from, int tap) { first[i] = from; taps[i] = tap; });
  for (int i = 0; i < t.out; i++) axis_taps(t.interpolation, t.in, t.out, i, first + i, taps + (size_t)i * t.width);
}

}}  // namespace
