// Bounding boxes (x0, y0, x1, y1) through the geometry of a row: the box about its four moved corners, cut at the image.
#pragma once
#include "dispatch.h"
#include "geometry_ops.h"

namespace ae { namespace baseline {

// Where input place (x, y) goes: the map that the passes walk backwards.
inline Place forward(const Geometry& g, Place p) {
  switch (g.type) {
    case GEOMETRY_ORIENT: {
      if (g.flip_x) p.x = g.in_w - p.x;
      if (g.flip_y) p.y = g.in_h - p.y;
      return g.transpose ? Place{p.y, p.x} : p;
    }
    case GEOMETRY_CROP:
    case GEOMETRY_BORDER: return {p.x - g.left, p.y - g.top};
    case GEOMETRY_RESAMPLE: return {(p.x - g.left) * g.out_w / g.box_w, (p.y - g.top) * g.out_h / g.box_h};
    case GEOMETRY_AFFINE:
    case GEOMETRY_PERSPECTIVE: {
      // (x, y) = (ax' + by' + c, dx' + ey' + f) / (gx' + hy' + 1) is linear in (x', y')
      const double* m = g.m;
      const double a = m[0] - m[6] * p.x, b = m[1] - m[7] * p.x, c = p.x - m[2];
      const double d = m[3] - m[6] * p.y, e = m[4] - m[7] * p.y, f = p.y - m[5];
      const double det = a * e - b * d;
      return {(c * e - b * f) / det, (a * f - c * d) / det};
    }
  }
  return p;
}

inline double held(double v, double high) { return v > 0.0 ? (v < high ? v : high) : 0.0; }  // nan gives 0

inline void move_box(const Geometry& g, double* box) {
  if (g.type == GEOMETRY_COPY) return;
  double lo[2] = {1e300, 1e300}, hi[2] = {-1e300, -1e300};
  for (int corner = 0; corner < 4; corner++) {
    const Place p = forward(g, {box[corner & 1 ? 2 : 0], box[corner & 2 ? 3 : 1]});
    const double at[2] = {p.x, p.y};
    for (int i = 0; i < 2; i++) {
      lo[i] = at[i] < lo[i] ? at[i] : lo[i];
      hi[i] = at[i] > hi[i] ? at[i] : hi[i];
    }
  }
  const double out[2] = {(double)g.out_w, (double)g.out_h};
  for (int i = 0; i < 2; i++) {
    box[i] = held(lo[i], out[i]);
    box[2 + i] = held(hi[i], out[i]);
  }
}

// A chain sums several versions of an image, which have no one geometry: boxes pass it by.
inline void move_box_of_row(const Call* calls, int slots, int h, int w, double* box) {
  bool in_chain = false;
  for (int i = 0; i < slots; i++) {
    if (calls[i].op < 0) continue;
    if (is_chain(calls[i])) in_chain = (int)calls[i].args[1] != CHAIN_END;
    const Geometry g = geometry_of(calls[i], h, w);
    if (!in_chain) move_box(g, box);
    h = g.out_h;
    w = g.out_w;
  }
}

}}  // namespace
