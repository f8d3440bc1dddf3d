// Resampling as plain loops, for instruction sets without a version of their own.
#pragma once
#include "axis.h"

namespace ae { namespace AE_ISA {

inline void resample_rows(const Planes& in, const Planes& out, int channels, const Axis& axis, int* sums) {
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < out.h; y++) {
      for (int x = 0; x < out.w; x++) sums[x] = 1 << 21;
      const int count = min_of(axis.used, in.h - axis.first[y]);
      for (int j = 0; j < count; j++) {
        const int tap = axis.taps[(size_t)y * axis.width + j];
        const u8* __restrict src = in.row(k, axis.first[y] + j);
        int* __restrict s = sums;
        for (int x = 0; x < out.w; x++) s[x] += src[x] * tap;
      }
      u8* __restrict dst = out.row(k, y);
      for (int x = 0; x < out.w; x++) dst[x] = (u8)clamp(sums[x] >> 22, 0, 255);
    }
}

inline void resample_columns(const Planes& in, const Planes& out, int channels, const Axis& axis, int*) {
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < out.h; y++) resample_span(in, out, k, y, 0, out.w, axis);
}

inline size_t work_ints(int, int, int in_w, int out_w, int) { return (size_t)max_of(in_w, out_w) + 32; }

}}  // namespace
