// Coordinate maps. A geometry op makes a Geometry (geometry_ops.h: in double, once a sample); a pass then
// walks the output and asks it where to read. The rules and roundings are Pillow's.
#pragma once
#include "taps.h"

namespace ae { namespace AE_ISA {

enum GeometryType : int {
  GEOMETRY_COPY,
  GEOMETRY_ORIENT,
  GEOMETRY_CROP,         // of a rectangle that may reach outside, where `fill` stands
  GEOMETRY_BORDER,       // the same, but the image goes on outside by the padding mode
  GEOMETRY_RESAMPLE,
  GEOMETRY_AFFINE,
  GEOMETRY_PERSPECTIVE
};
enum Padding : int { PADDING_CONSTANT, PADDING_EDGE, PADDING_REFLECT, PADDING_SYMMETRIC };

struct Geometry {
  int type;
  int in_h, in_w, out_h, out_w;
  int top, left, box_h, box_w;        // CROP, BORDER, RESAMPLE: the rectangle read
  int padding;                        // BORDER: the mode
  int flip_x, flip_y, transpose;      // ORIENT: out(x, y) reads (x, y), swapped if transpose, then mirrored
  int interpolation, fill[3];
  int fixed;                          // AFFINE nearest: 16.16 integers suffice
  int f[6];                           // AFFINE nearest: the matrix in 16.16, with the half pixels folded in
  double m[8];                        // AFFINE, PERSPECTIVE: output -> input
};

struct Point {
  int x, y;
};

AE_FN Point oriented(const Geometry& g, int x, int y) {
  Point p = g.transpose ? Point{y, x} : Point{x, y};
  if (g.flip_x) p.x = g.in_w - 1 - p.x;
  if (g.flip_y) p.y = g.in_h - 1 - p.y;
  return p;
}

// Pillow walks by repeated addition where 16.16 overflows (coordinates of 32768 and more), so the sum must be
// repeated too.
struct Walk {
  double x, y;
  AE_FN void right(const Geometry& g) { x += g.m[0]; y += g.m[3]; }
  AE_FN void down(const Geometry& g) { x += g.m[1]; y += g.m[4]; }
  AE_FN Point pixel() const { return {whole(x), whole(y)}; }
  AE_FN static int whole(double v) { return v >= 0.0 && v < 2147483648.0 ? (int)v : -1; }  // outside, whatever int holds
};

AE_FN Walk walk_start(const Geometry& g) {
  return {g.m[2] + g.m[1] * 0.5 + g.m[0] * 0.5, g.m[5] + g.m[4] * 0.5 + g.m[3] * 0.5};
}

// One pixel of the walk, from its beginning: for threads that have no neighbour to go on from.
AE_FN Point affine_walked(const Geometry& g, int x, int y) {
  Walk walk = walk_start(g);
  for (int i = 0; i < y; i++) walk.down(g);
  for (int i = 0; i < x; i++) walk.right(g);
  return walk.pixel();
}

// Where an index outside 0..n-1 reads, as numpy.pad has it; a side of one pixel repeats it.
AE_FN int bordered(int i, int n, int padding) {
  if (i >= 0 && i < n) return i;
  if (padding == PADDING_EDGE || n == 1) return clamp(i, 0, n - 1);
  const int period = padding == PADDING_REFLECT ? 2 * (n - 1) : 2 * n;
  int at = i % period;
  if (at < 0) at += period;
  return at < n ? at : padding == PADDING_REFLECT ? period - at : period - 1 - at;
}

AE_FN Point crop_point(const Geometry& g, int x, int y) {
  const Point p = {x + g.left, y + g.top};
  if (g.type != GEOMETRY_BORDER) return p;
  return {bordered(p.x, g.in_w, g.padding), bordered(p.y, g.in_h, g.padding)};
}

struct Place {
  double x, y;
};

AE_FN Place mapped(const Geometry& g, int x, int y) {
  const double px = x + 0.5, py = y + 0.5;
  const Place p = {(g.m[0] * px + g.m[1] * py) + g.m[2], (g.m[3] * px + g.m[4] * py) + g.m[5]};
  if (g.type != GEOMETRY_PERSPECTIVE) return p;
  const double divisor = (g.m[6] * px + g.m[7] * py) + 1.0;
  return {p.x / divisor, p.y / divisor};
}

AE_FN bool is_inside(const Geometry& g, const Place& p) {  // false for nan
  return p.x >= 0.0 && p.x < g.in_w && p.y >= 0.0 && p.y < g.in_h;
}

AE_FN double lerp(double p, double q, double d) { return p + (q - p) * d; }

AE_FN double cubic(const double v[4], double d) {
  const double p2 = -v[0] + v[2], p3 = 2.0 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + d * (p2 + d * (p3 + d * p4));
}

// The value at output (x, y) of one channel, read through `at(x, y)`. Neighbours are clamped to the edge.
template <class Read>
AE_FN u8 interpolated(const Geometry& g, int x, int y, u8 fill, Read at) {
  const Place p = mapped(g, x, y);
  if (!is_inside(g, p)) return fill;
  if (g.interpolation == NEAREST) return (u8)at((int)p.x, (int)p.y);
  const double sx = p.x - 0.5, sy = p.y - 0.5;
  const int ix = (int)floor(sx), iy = (int)floor(sy);
  const double dx = sx - ix, dy = sy - iy;
  if (g.interpolation == BILINEAR) {
    const int x0 = clamp(ix, 0, g.in_w - 1), x1 = clamp(ix + 1, 0, g.in_w - 1);
    const int y0 = clamp(iy, 0, g.in_h - 1), y1 = clamp(iy + 1, 0, g.in_h - 1);
    return (u8)lerp(lerp(at(x0, y0), at(x1, y0), dx), lerp(at(x0, y1), at(x1, y1), dx), dy);
  }
  double rows[4];
  for (int j = 0; j < 4; j++) {
    double v[4];
    for (int i = 0; i < 4; i++) v[i] = at(clamp(ix + i - 1, 0, g.in_w - 1), clamp(iy + j - 1, 0, g.in_h - 1));
    rows[j] = cubic(v, dx);
  }
  const double v = cubic(rows, dy);
  return v <= 0.0 ? 0 : v >= 255.0 ? 255 : (u8)v;
}

// Pillow 13 resizes vertically first under this rule; earlier versions and torch always go horizontally first.
AE_FN bool vertical_first(const Geometry& g, bool pillow13) {
  return pillow13 && g.box_h - g.out_h > 0 && g.box_h - g.out_h > 2 * (g.box_w - g.out_w);
}

}}  // namespace
