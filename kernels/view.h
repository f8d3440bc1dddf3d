// Geometry that needs no pass on the device: views of the same bytes, and resampling taps that the host makes.
#pragma once
#include "geometry_ops.h"
#include "step.h"

namespace ae { namespace AE_ISA {

template <class T>
inline void exchange(T& a, T& b) {
  const T kept = a;
  a = b;
  b = kept;
}

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
    if (g.transpose) exchange(m.f[i], m.f[i + 1]);
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
  if (g.transpose) { exchange(v.stride_x, v.stride_y); exchange(v.h, v.w); }
  return v;
}

inline View rectangle_view(const View& v, const Geometry& g) {
  View box = shifted(v, g.top, g.left);
  box.h = g.box_h;
  box.w = g.box_w;
  return box;
}

// An image as what comes next sees it: a view, read through a map if it is `mapped`. View::map is not used here.
struct Seen {
  View view;
  Map map;
  bool mapped;
};

// Takes a geometry into the way an image is seen. False where pixels must be written: what the map gives, if there is
// one, because a second one must wait for it; else the geometry's own.
inline bool absorb(Seen& s, const Geometry& g) {
  View& v = s.view;
  if (g.type == GEOMETRY_COPY) return true;
  if (g.type == GEOMETRY_RESAMPLE) return false;
  if (g.type == GEOMETRY_ORIENT) {
    if (s.mapped) s.map = oriented_map(s.map, g, v.h, v.w);
    else v = oriented_view(v, g);
    v.h = g.out_h;
    v.w = g.out_w;
    return true;
  }
  const bool inside = g.top >= 0 && g.left >= 0 && g.top + g.box_h <= g.in_h && g.left + g.box_w <= g.in_w;
  if (g.type == GEOMETRY_CROP && inside) {
    if (!s.mapped) {
      v = rectangle_view(v, g);
      return true;
    }
    s.map = shifted(s.map, g.top, g.left);
    v.h = g.box_h;
    v.w = g.box_w;
    if (!reads_inside(s.map, v.h, v.w)) return true;
    v = shifted(v, s.map.f[5] >> 16, s.map.f[2] >> 16);  // a crop of the image that was padded
    s.mapped = false;
    return true;
  }
  if (s.mapped || !is_map_in_16_16(g, s.map)) return false;
  s.mapped = true;
  v.h = g.out_h;
  v.w = g.out_w;
  return true;
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
