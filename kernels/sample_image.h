// Samplers of the transforms that stand on the image.
#pragma once
#ifndef __CUDACC__
#include <stdexcept>
#include <string>
#endif

#include "draft.h"

namespace ae { namespace AE_ISA {

// p, op, changes size, n, (lo, hi) * n: with probability p the op, each argument uniform in [lo, hi]; (nan, nan) is
// None, and (-inf, inf) the argument before once more
inline void sample_call(const double* v, Stream& s, Draft& d) {
  const int passed = passes(s, v[0]);
  if (v[3] == 0.0 && v[2] == 0.0) {  // no branch on the draw: a wrong guess costs as much as all the rest
    d.add(((int)v[1] + 1) * passed - 1);
    d.next -= 1 - passed;
    return;
  }
  if (!passed) return;
  Call& call = d.add((int)v[1]);
  for (int i = 0; i < (int)v[3]; i++) {
    const double lo = v[4 + 2 * i], hi = v[5 + 2 * i];
    call.args[i] = lo == hi || lo != lo ? lo : lo < -1e308 ? call.args[i - 1] : uniform(s, lo, hi);
  }
  if (v[2] != 0.0) resized(d, call);
}

// n, (op, lo, hi) * n: every op once, in random order, its factor uniform
inline void sample_jitter(const double* v, Stream& s, Draft& d) {
  int order[8], n = (int)v[0];
  double factor[8];
  shuffle(s, order, n);
  for (int i = 0; i < n; i++) factor[i] = uniform(s, v[2 + 3 * i], v[3 + 3 * i]);
  for (int i = 0; i < n; i++) d.add((int)v[1 + 3 * order[i]]).args[0] = factor[order[i]];
}

inline void add_resized_crop(Draft& d, int top, int left, int h, int w, const double* size_and_interpolation) {
  Call& call = d.add(OP_resized_crop);
  const double args[4] = {(double)top, (double)left, (double)h, (double)w};
  for (int i = 0; i < 4; i++) call.args[i] = args[i];
  for (int i = 0; i < 3; i++) call.args[4 + i] = size_and_interpolation[i];
  d.h = (int)size_and_interpolation[0];
  d.w = (int)size_and_interpolation[1];
}

// out h, out w, interpolation, scale lo, hi, ratio lo, hi, their logarithms: torchvision's ten tries, then the central
// fallback
inline void sample_resized_crop(const double* v, Stream& s, Draft& d) {
  for (int attempt = 0; attempt < 10; attempt++) {
    const double target = (double)d.h * d.w * uniform(s, v[3], v[4]);
    const double ratio = exp(uniform(s, v[7], v[8]));
    const double w = round_even(sqrt(target * ratio)), h = round_even(sqrt(target / ratio));
    if (w > 0 && w <= d.w && h > 0 && h <= d.h) {
      const int top = below(s, d.h - (int)h + 1), left = below(s, d.w - (int)w + 1);
      return add_resized_crop(d, top, left, (int)h, (int)w, v);
    }
  }
  int h = d.h, w = d.w;
  const double ratio = (double)w / h;
  if (ratio < v[5]) h = min_of(d.h, max_of(1, (int)round_even(w / v[5])));
  else if (ratio > v[6]) w = min_of(d.w, max_of(1, (int)round_even(h * v[6])));
  add_resized_crop(d, (d.h - h) / 2, (d.w - w) / 2, h, w, v);
}

inline void add_resize(Draft& d, int h, int w, double interpolation) {
  Call& call = d.add(OP_resize);
  call.args[0] = d.h = h;
  call.args[1] = d.w = w;
  call.args[2] = interpolation;
}

// out h, out w, interpolation
inline void sample_resize(const double* v, Stream&, Draft& d) { add_resize(d, (int)v[0], (int)v[1], v[2]); }

// size, max size (0: none), interpolation: the shorter side becomes size, the other follows
inline void sample_resize_shorter(const double* v, Stream&, Draft& d) {
  const int shorter = min_of(d.h, d.w), longer = max_of(d.h, d.w);
  int new_short = (int)v[0], new_long = max_of(1, (int)((double)((i64)v[0] * longer) / shorter));
  if (v[1] > 0 && new_long > v[1]) {
    new_short = max_of(1, (int)((double)((i64)v[1] * new_short) / new_long));
    new_long = (int)v[1];
  }
  const bool wide = d.w > d.h;
  add_resize(d, wide ? new_short : new_long, wide ? new_long : new_short, v[2]);
}

// h, w: the middle; what an image lacks is 0
inline void sample_center_crop(const double* v, Stream&, Draft& d) {
  const int h = (int)v[0], w = (int)v[1];
  // torchvision pads an image that is too small first, by floor on top and left, and rounds the crop half to even
  const int pad_top = max_of(0, h - d.h) / 2, pad_left = max_of(0, w - d.w) / 2;
  const int padded_h = max_of(d.h, h), padded_w = max_of(d.w, w);
  Call& call = d.add(OP_crop);
  call.args[0] = round_even((padded_h - h) / 2.0) - pad_top;
  call.args[1] = round_even((padded_w - w) / 2.0) - pad_left;
  call.args[2] = d.h = h;
  call.args[3] = d.w = w;
}

// h, w, pad left, top, right, bottom, pad if needed, fill * 3, padding mode: torchvision's RandomCrop
inline void sample_random_crop(const double* v, Stream& s, Draft& d) {
  const int h = (int)v[0], w = (int)v[1];
  double pad[4] = {v[2], v[3], v[4], v[5]};
  const auto padded = [&](int side, int length) { return length + (int)pad[side] + (int)pad[side + 2]; };
  for (int side = 0; side < 2; side++) {  // 0: left and right, 1: top and bottom
    const int lacking = side == 0 ? w - padded(0, d.w) : h - padded(1, d.h);
    if (v[6] == 0.0 || lacking <= 0) continue;
    pad[side] += lacking;
    pad[side + 2] += lacking;
  }
  const int full_h = padded(1, d.h), full_w = padded(0, d.w);
#ifndef __CUDACC__  // a device draws only for sizes that the host has drawn for
  if (full_h < h || full_w < w)
    throw std::invalid_argument("transform " + std::to_string(d.position) + ", RandomCrop: cuts " + std::to_string(h) +
                                "x" + std::to_string(w) + " out of a " + std::to_string(full_h) + "x" +
                                std::to_string(full_w) + " image (sample " + std::to_string(d.id) +
                                "); add padding or pad_if_needed=True");
#endif
  if (pad[0] + pad[1] + pad[2] + pad[3] > 0) {
    Call& call = d.add(OP_pad);
    for (int i = 0; i < 4; i++) call.args[i] = pad[i];
    for (int i = 0; i < 4; i++) call.args[4 + i] = v[7 + i];
  }
  if (full_h > h || full_w > w) {
    Call& call = d.add(OP_crop);
    call.args[0] = full_h > h ? below(s, full_h - h + 1) : 0;
    call.args[1] = full_w > w ? below(s, full_w - w + 1) : 0;
    call.args[2] = h;
    call.args[3] = w;
  }
  d.h = h;
  d.w = w;
}

// angle lo, hi, translate x, y (fractions), scale lo, hi, shear x lo, hi, y lo, hi, interpolation, fill * 3, center x, y
inline void sample_affine(const double* v, Stream& s, Draft& d) {
  const auto within = [&](double lo, double hi) { return lo == hi ? hi : uniform(s, lo, hi); };
  Call& call = d.add(OP_affine);
  call.args[0] = within(v[0], v[1]);
  call.args[1] = 0.0 + round_even(within(-v[2] * d.w, v[2] * d.w));  // 0.0 + -0.0 is 0.0
  call.args[2] = 0.0 + round_even(within(-v[3] * d.h, v[3] * d.h));
  call.args[3] = within(v[4], v[5]);
  call.args[4] = within(v[6], v[7]);
  call.args[5] = within(v[8], v[9]);
  for (int i = 0; i < 6; i++) call.args[6 + i] = v[10 + i];
}

// Whether three of four corners (x, y) lie on a line; exact for whole pixels.
inline bool has_line(const double* p) {
  for (int left_out = 0; left_out < 4; left_out++) {
    const double *a = p + 2 * ((left_out + 1) % 4), *b = p + 2 * ((left_out + 2) % 4), *c = p + 2 * ((left_out + 3) % 4);
    if ((b[0] - a[0]) * (c[1] - a[1]) == (b[1] - a[1]) * (c[0] - a[0])) return true;
  }
  return false;
}

// Coefficients of the map that takes each `to` corner (x, y) to its `from` corner: eight equations, by elimination.
// Rounded to float32 as torchvision's are. False where three of the corners lie on a line.
inline bool perspective_coefficients(const double* from, const double* to, double* out) {
  if (has_line(from) || has_line(to)) return false;  // the equations may have a solution, but it is no map
  double m[8][9], scale = 1.0;  // a power of two that brings all corners into [-1, 1], so that a pivot of 0 shows
  for (int i = 0; i < 8; i++)
    while (scale < fabs(from[i]) || scale < fabs(to[i])) scale *= 2.0;
  for (int i = 0; i < 4; i++) {
    const double x = to[2 * i] / scale, y = to[2 * i + 1] / scale, u = from[2 * i] / scale, v = from[2 * i + 1] / scale;
    const double rows[2][9] = {{x, y, 1, 0, 0, 0, -u * x, -u * y, u}, {0, 0, 0, x, y, 1, -v * x, -v * y, v}};
    for (int r = 0; r < 2; r++)
      for (int k = 0; k < 9; k++) m[2 * i + r][k] = rows[r][k];
  }
  for (int column = 0; column < 8; column++) {
    int pivot = column;
    for (int r = column + 1; r < 8; r++)
      if (fabs(m[r][column]) > fabs(m[pivot][column])) pivot = r;
    if (fabs(m[pivot][column]) < 1e-12) return false;
    for (int k = 0; k < 9; k++) {
      const double kept = m[column][k];
      m[column][k] = m[pivot][k];
      m[pivot][k] = kept;
    }
    for (int r = 0; r < 8; r++) {
      if (r == column) continue;
      const double factor = m[r][column] / m[column][column];
      for (int k = column; k < 9; k++) m[r][k] -= factor * m[column][k];
    }
  }
  const double units[8] = {1.0, 1.0, scale, 1.0, 1.0, scale, 1.0 / scale, 1.0 / scale};
  for (int i = 0; i < 8; i++) out[i] = (double)(float)(m[i][8] / m[i][i] * units[i]);
  return true;
}

// p, distortion scale, interpolation, fill * 3
inline void sample_perspective(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  const int bound_h = (int)(v[1] * (d.h / 2)) + 1, bound_w = (int)(v[1] * (d.w / 2)) + 1;
  const double right = d.w - 1, bottom = d.h - 1;
  const double from[8] = {0, 0, right, 0, right, bottom, 0, bottom};
  double to[8];
  for (int corner = 0; corner < 4; corner++) {  // top left, top right, bottom right, bottom left
    to[2 * corner] = below(s, bound_w) + (corner == 1 || corner == 2 ? d.w - bound_w : 0);
    to[2 * corner + 1] = below(s, bound_h) + (corner >= 2 ? d.h - bound_h : 0);
  }
  Call& call = d.add(OP_perspective);
  if (!perspective_coefficients(from, to, call.args)) {  // in tiny images: there is no such map
    d.take_back();
    return;
  }
  for (int i = 0; i < 4; i++) call.args[8 + i] = v[2 + i];
}

// std, matrix * 9 (rows: channels; columns: components, scaled by their eigenvalue): a normal draw for each component
inline void sample_lighting(const double* v, Stream& s, Draft& d) {
  double alpha[3];
  for (double& a : alpha) a = v[0] * normal(s);
  Call& call = d.add(OP_shift_color);
  for (int k = 0; k < 3; k++)
    call.args[k] = v[1 + 3 * k] * alpha[0] + v[2 + 3 * k] * alpha[1] + v[3 + 3 * k] * alpha[2];
}

}}  // namespace
