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

// The map that reads at (x + left, y + top) of another.
inline Map shifted(Map m, int top, int left) {
  for (int i = 0; i < 6; i += 3) m.f[i + 2] = (int)((u32)m.f[i + 2] + (u32)left * (u32)m.f[i] + (u32)top * (u32)m.f[i + 1]);
  return m;
}

// The map that reads what another gives, of h x w, mirrored, then transposed.
inline Map oriented_map(Map m, const Geometry& g, int h, int w) {
  m = shifted(m, g.flip_y ? h - 1 : 0, g.flip_x ? w - 1 : 0);
  for (int i = 0; i < 6; i += 3) {
    if (g.flip_x) m.f[i] = (int)(0u - (u32)m.f[i]);
    if (g.flip_y) m.f[i + 1] = (int)(0u - (u32)m.f[i + 1]);
    if (g.transpose) std::swap(m.f[i], m.f[i + 1]);
  }
  return m;
}

// Whether a map only moves h x w pixels, all of which lie in the image.
inline bool reads_inside(const Map& m, int h, int w) {
  const int left = m.f[2] >> 16, top = m.f[5] >> 16;
  const bool moves = m.f[0] == 65536 && m.f[1] == 0 && m.f[3] == 0 && m.f[4] == 65536;
  return moves && left >= 0 && top >= 0 && left + w <= m.in_w && top + h <= m.in_h;
}

// Whether a geometry is a map in 16.16, which `m` then is.
inline bool is_map_in_16_16(const Geometry& g, Map& m) {
  m = {{65536, 0, 0, 0, 65536, 0}, g.in_h, g.in_w, {g.fill[0], g.fill[1], g.fill[2]}};
  if (g.type == GEOMETRY_AFFINE && g.fixed) {
    for (int i = 0; i < 6; i++) m.f[i] = g.f[i];
    return true;
  }
  const auto fits = [](int from, int n) { return from >= -32768 && from <= 32768 - n; };
  if (g.type != GEOMETRY_CROP || !fits(g.left, g.box_w) || !fits(g.top, g.box_h)) return false;
  m = shifted(m, g.top, g.left);
  return true;
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
