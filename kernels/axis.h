// One axis of a resize on the CPU: planes of bytes, and the coefficients that each output takes.
#pragma once
#include <stddef.h>
#include <string.h>

#include "geometry.h"
#include "simd.h"

namespace ae { namespace AE_ISA {

struct Planes {
  u8* p[3];
  ptrdiff_t stride;
  int h, w;
  u8* row(int channel, int y) const { return p[channel] + y * stride; }
};

// The coefficients of one axis: output i reads taps[i * width ...] from input first[i] on; unused ones are 0.
struct Axis {
  int* first;
  int* taps;
  int width, used;  // width is a multiple of 4; no output has more than `used` taps, often fewer than could be
};

inline int padded_taps(int interpolation, int in, int out) { return (max_taps(interpolation, in, out) + 3) & ~3; }

inline size_t axis_ints(int interpolation, int in, int out) {
  return (size_t)out * (1 + padded_taps(interpolation, in, out)) + 16;
}

inline Axis make_axis(int interpolation, int in, int out, int* memory) {
  Axis a = {memory, memory + out, padded_taps(interpolation, in, out), 1};
  memset(a.taps, 0, sizeof(int) * (size_t)a.width * out);
  if (interpolation == NEAREST) {
    nearest_axis(in, out, [&](int i, int first, int tap) { a.first[i] = first; a.taps[(size_t)i * a.width] = tap; });
    return a;
  }
  for (int i = 0; i < out; i++)
    a.used = max_of(a.used, axis_taps(interpolation, in, out, i, a.first + i, a.taps + (size_t)i * a.width));
  return a;
}

inline void resample_column(const Planes& in, const Planes& out, int k, int y, int x, const Axis& axis) {
  const u8* from = in.row(k, y) + axis.first[x];
  const int* taps = axis.taps + (size_t)x * axis.width;
  const int count = min_of(axis.used, in.w - axis.first[x]);
  int sum = 0;
  for (int j = 0; j < count; j++) sum += from[j] * taps[j];
  out.row(k, y)[x] = round_taps(sum);
}

}}  // namespace
