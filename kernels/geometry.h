// Geometry ops. Each op makes a Geometry (on the host, in double, once a sample); a pass then walks the output and
// asks it where to read. The rules and roundings are Pillow's.
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

enum GeometryType : int { GEOMETRY_COPY, GEOMETRY_ORIENT, GEOMETRY_CROP, GEOMETRY_RESAMPLE, GEOMETRY_AFFINE };
enum Interpolation : int { NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS };

struct Geometry {
  int type;
  int in_h, in_w, out_h, out_w;
  int top, left, box_h, box_w;        // CROP, RESAMPLE: the rectangle read
  int flip_x, flip_y, transpose;      // ORIENT: out(x, y) reads (x, y), swapped if transpose, then mirrored
  int interpolation, fill[3];
  int fixed;                          // AFFINE nearest: 16.16 integers suffice
  int f[6];                           // AFFINE nearest: the matrix in 16.16, with the half pixels folded in
  double m[6];                        // AFFINE: output -> input
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

AE_FN Point affine_fixed(const Geometry& g, int x, int y) {
  // 32-bit wrap-around is Pillow's own; unsigned arithmetic makes it defined
  const u32 sx = (u32)g.f[2] + (u32)x * (u32)g.f[0] + (u32)y * (u32)g.f[1];
  const u32 sy = (u32)g.f[5] + (u32)x * (u32)g.f[3] + (u32)y * (u32)g.f[4];
  return {(int)sx >> 16, (int)sy >> 16};
}

// Pillow walks by repeated addition where 16.16 overflows (coordinates of 32768 and more), so the sum must be
// repeated too.
struct Walk {
  double x, y;
  AE_FN void right(const Geometry& g) { x += g.m[0]; y += g.m[3]; }
  AE_FN void down(const Geometry& g) { x += g.m[1]; y += g.m[4]; }
  AE_FN Point pixel() const { return {x < 0.0 ? -1 : (int)x, y < 0.0 ? -1 : (int)y}; }
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

AE_FN double lerp(double p, double q, double d) { return p + (q - p) * d; }

AE_FN double cubic(const double v[4], double d) {
  const double p2 = -v[0] + v[2], p3 = 2.0 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + d * (p2 + d * (p3 + d * p4));
}

// The value at output (x, y) of one channel, read through `at(x, y)`. Neighbours are clamped to the edge.
template <class Read>
AE_FN u8 affine_smooth(const Geometry& g, int x, int y, u8 fill, Read at) {
  double sx = (g.m[0] * (x + 0.5) + g.m[1] * (y + 0.5)) + g.m[2];
  double sy = (g.m[3] * (x + 0.5) + g.m[4] * (y + 0.5)) + g.m[5];
  if (sx < 0.0 || sx >= g.in_w || sy < 0.0 || sy >= g.in_h) return fill;
  sx -= 0.5;
  sy -= 0.5;
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

// ---- resampling: two passes with 22-bit integer coefficients, bytes between them

AE_FN double filter_support(int interpolation) {
  return interpolation == BOX ? 0.5 : interpolation == BICUBIC ? 2.0 : interpolation == LANCZOS ? 3.0 : 1.0;
}

AE_FN double sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * 3.14159265358979323846;
  return sin(x) / x;
}

AE_FN double filter_weight(int interpolation, double x) {
  if (interpolation == BOX) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  if (interpolation == LANCZOS) return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
  x = x < 0.0 ? -x : x;
  if (interpolation == BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
  if (interpolation == HAMMING) {
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x = x * 3.14159265358979323846;
    return sin(x) / x * ((double)0.54f + (double)0.46f * cos(x));
  }
  const double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

// How many taps an output value can have at most.
AE_FN int max_taps(int interpolation, int in, int out) {
  if (interpolation == NEAREST) return 1;
  const double scale = (double)in / out;
  return 2 * (int)ceil(filter_support(interpolation) * (scale > 1.0 ? scale : 1.0)) + 1;
}

// Coefficients of output value i of an axis: writes the first input index to `first`, returns the number of taps.
AE_FN int axis_taps(int interpolation, int in, int out, int i, int* first, int* taps) {
  const double scale = (double)in / out, stretch = scale > 1.0 ? scale : 1.0;
  const double support = filter_support(interpolation) * stretch, inverse = 1.0 / stretch;
  const double center = (i + 0.5) * scale;
  const int lo = max_of(0, (int)(center - support + 0.5)), hi = min_of(in, (int)(center + support + 0.5));
  double sum = 0.0;
  for (int j = 0; j < hi - lo; j++) sum += filter_weight(interpolation, (j + lo - center + 0.5) * inverse);
  for (int j = 0; j < hi - lo; j++) {
    double weight = filter_weight(interpolation, (j + lo - center + 0.5) * inverse);
    if (sum != 0.0) weight /= sum;
    taps[j] = (int)(weight * 4194304.0 + (weight < 0.0 ? -0.5 : 0.5));
  }
  *first = lo;
  return hi - lo;
}

// Nearest reads one pixel whose position Pillow finds by repeated addition: one sequential walk along the axis.
template <class Write>
AE_FN void nearest_axis(int in, int out, Write write) {
  const double step = (double)in / out;
  double at = step * 0.5;
  for (int i = 0; i < out; i++, at += step) write(i, min_of((int)at, in - 1), (int)at < in ? 4194304 : 0);
}

AE_FN u8 round_taps(int sum) { return (u8)clamp((sum + (1 << 21)) >> 22, 0, 255); }

// Pillow 13 resizes vertically first under this rule; earlier versions and torch always go horizontally first.
AE_FN bool vertical_first(const Geometry& g, bool pillow13) {
  return pillow13 && g.box_h - g.out_h > 0 && g.box_h - g.out_h > 2 * (g.box_w - g.out_w);
}

}}  // namespace

#ifndef __CUDACC__
#include <stdio.h>
#include <stdlib.h>

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

// Python's round(v, 15): the shortest way that is right for every value is the decimal one.
inline double round15(double v) {
  char text[40];
  snprintf(text, sizeof text, "%.15f", v);
  return strtod(text, nullptr);
}

inline int to_fixed(double v) { return (int)floor(v * 65536.0 + 0.5); }

// Sets how an affine map is evaluated; m is the output -> input matrix.
inline void set_affine(Geometry& g) {
  const double* m = g.m;
  g.fixed = 1;
  for (int corner = 0; corner < 4; corner++) {
    const double x = corner & 1 ? g.out_w : 0, y = corner & 2 ? g.out_h : 0;
    if (!(fabs(x * m[0] + y * m[1] + m[2]) < 32768.0 && fabs(x * m[3] + y * m[4] + m[5]) < 32768.0)) g.fixed = 0;
  }
  if (!g.fixed) return;
  const double folded[6] = {m[0], m[1], m[2] + m[0] * 0.5 + m[1] * 0.5, m[3], m[4], m[5] + m[3] * 0.5 + m[4] * 0.5};
  for (int i = 0; i < 6; i++) g.f[i] = to_fixed(folded[i]);
}

inline Geometry rotate(const double* a, int h, int w) {
  double degrees = fmod(a[0], 360.0);
  if (degrees < 0) degrees += 360.0;
  if (degrees == 0 || degrees == 360.0) return same_size(GEOMETRY_COPY, h, w);
  if (degrees == 180) return orient(h, w, true, true, false);
  if (h == w && degrees == 90) return orient(h, w, true, false, true);
  if (h == w && degrees == 270) return orient(h, w, false, true, true);
  const double angle = -(degrees * (3.14159265358979323846 / 180.0));
  const double c = round15(cos(angle)), s = round15(sin(angle)), n = round15(-sin(angle));
  const double cx = w / 2.0, cy = h / 2.0;
  Geometry g = same_size(GEOMETRY_AFFINE, h, w);
  const double m[6] = {c, s, ((c * -cx + s * -cy) + 0.0) + cx, n, c, ((n * -cx + c * -cy) + 0.0) + cy};
  for (int i = 0; i < 6; i++) g.m[i] = m[i];
  g.interpolation = (int)a[1];
  for (int i = 0; i < 3; i++) g.fill[i] = (int)a[2 + i];
  if (s == 0.0 && g.interpolation == NEAREST) return c > 0 ? same_size(GEOMETRY_COPY, h, w) : orient(h, w, true, true, false);
  set_affine(g);
  return g;
}

inline Geometry geometry_of(const Call& call, int h, int w) {
  switch (call.op) {
#define AE_CASE(name) \
  case OP_##name: return name(call.args, h, w);
    AE_GEOMETRY_OPS(AE_CASE)
#undef AE_CASE
  }
  return same_size(GEOMETRY_COPY, h, w);
}

}}  // namespace
#endif
