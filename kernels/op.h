// One call of a program row, and the signature of an op's C++ function, by what it reads:
//   CHANNEL     u8  name(u8 v, int channel, const double* args)          a table entry
//   PIXEL       RgbOf<Int> name(RgbOf<Int> p, const double* args)         three channels; a template, or of one int alone
//   HISTOGRAM   u8  name(u8 v, const Stats& of_channel, const double*)   a table entry
//   LUMA        u8  name(u8 v, const Stats& of_luma, const double*)      a table entry
//   RANGE       u8  name(u8 v, const Stats& of_channel, const double*)   a table entry; reads only lo and hi
//   WINDOW      Int name(const WindowOf<Int>&, const double* args)       3x3 neighbours; a template
//   CONVOLUTION Convolution name(const double* args)                     host only: a separable kernel
//   MAP         Geometry name(const double* args, int h, int w)          the coordinate map
//   RECTANGLE   Region name(const double* args)                          a rectangle
//   PATCH       Patch name(const double* args, int i, int h, int w)      after normalisation: the i-th patch of a mix
//   CHAIN       float name(float sum, u8 v, const double* args)          a sum of versions of the image
// `registry.inc`, generated from augengine/ops, holds their codes and lists.
#pragma once
#include "lanes.h"

namespace ae { namespace AE_ISA {

#include "registry.inc"

struct Call {  // as the NumPy dtype in augengine/sampling.py; op < 0: nothing
  int op;
  int position;  // of the transform in the pipeline
  double args[AE_MAX_ARGS];
};

// Of one pixel where Int is int, else of as many as Int has lanes (lanes.h); values 0 to 255. Lanes that an op returns
// may lie outside: they are clipped as they are stored.
template <class Int>
struct RgbOf {
  Int r, g, b;
};
typedef RgbOf<int> Rgb;

// Of one channel, or of the luma of the whole image. `below[v]` counts the pixels with values under v.
struct Stats {
  const u32* histogram;
  const u32* below;
  int lo, hi;  // lowest and highest value that occurs
  u32 count;
  u64 sum;  // of all values
};

// The 3x3 neighbours, row by row, the centre at 4. On the outermost frame (not `inside`) only the centre is valid.
template <class Int>
struct WindowOf;

template <>
struct WindowOf<int> {
  int v[9];
  bool inside;

  AE_FN int centre() const { return v[4]; }
  template <int W0, int W1, int W2, int W3, int W4, int W5, int W6, int W7, int W8>
  AE_FN int weighted() const {
    return W0 * v[0] + W1 * v[1] + W2 * v[2] + W3 * v[3] + W4 * v[4] + W5 * v[5] + W6 * v[6] + W7 * v[7] + W8 * v[8];
  }
};
typedef WindowOf<int> Window;

#ifndef __CUDACC__
// Of every fourth pixel: three rows of four bytes, of which the window is the first or the last three.
template <>
struct WindowOf<Ints> {
  Ints row[3];
  bool last, inside;

  static constexpr int packed(int a, int b, int c, int shift) {
    return (int)(((a & 255u) | (b & 255u) << 8 | (c & 255u) << 16) << shift);
  }

  AE_FN Ints centre() const { return byte_of(row[1], last ? 2 : 1); }
  template <int W0, int W1, int W2, int W3, int W4, int W5, int W6, int W7, int W8>
  AE_FN Ints weighted() const {
    const int shift = last ? 8 : 0;
    const int weights[3] = {packed(W0, W1, W2, shift), packed(W3, W4, W5, shift), packed(W6, W7, W8, shift)};
    return weighted_sum(row, weights);
  }
};
#endif

enum : int { MAX_KERNEL = 255, MAX_PATCHES = 4 };

struct Convolution {  // the weight of tap (i, j) is x[i] * y[j], rounded to float32
  int w, h;           // odd; the centre lies in the middle
  float x[MAX_KERNEL], y[MAX_KERNEL];
};

struct Region {
  int top, left, height, width;
  float value[3];
  bool noise;  // normal draws of `key` in place of the value
  u32 key[2];
  int position;  // of its call, where a mix's may lie before or behind it
};

// Part of a mix: inside the rectangle stands `source` at (x + dx, y + dy), blended with own if `blends`.
struct Patch {
  int source;  // a row of the batch, or -1 for the sample's own
  int top, left, height, width, dy, dx;
  bool blends;
  float own, other;  // the weights of a blend: other * source + own * own
};

}}  // namespace
