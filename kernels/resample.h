// Pillow's two-pass resampling over planes of bytes on the CPU. Coefficients are 22-bit integers and sums are 32-bit
// ones, so any order of addition, and any way to cut a coefficient into parts, is exact.
#pragma once
#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#include "resample_vbmi.h"
#elif defined(__AVX2__)
#include "resample_avx2.h"
#else
#include "resample_plain.h"
#endif

namespace ae { namespace AE_ISA {

inline size_t resample_ints(const Geometry& g) {
  const int across = padded_taps(g.interpolation, g.box_w, g.out_w), down = padded_taps(g.interpolation, g.box_h, g.out_h);
  return axis_ints(g.interpolation, g.box_w, g.out_w) + axis_ints(g.interpolation, g.box_h, g.out_h) +
         work_ints(across, down, g.box_w, g.out_w, g.out_h);
}

inline size_t resample_scratch(const Geometry& g, int channels) {
  const size_t across = (size_t)g.out_w * g.box_h, down = (size_t)g.box_w * g.out_h;
  return channels * (across > down ? across : down) + sizeof(int) * resample_ints(g) + 1024;
}

// `in` is the box. A pass whose size does not change is skipped.
inline void resample(const Planes& in, const Planes& out, int channels, const Geometry& g, bool pillow13, u8* scratch) {
  int* ints = (int*)scratch;
  const Axis across = make_axis(g.interpolation, in.w, out.w, ints);
  ints += axis_ints(g.interpolation, in.w, out.w);
  const Axis down = make_axis(g.interpolation, in.h, out.h, ints);
  ints += axis_ints(g.interpolation, in.h, out.h);
  int* const work = (int*)(((size_t)ints + 63) & ~(size_t)63);
  if (in.h == out.h) return resample_columns(in, out, channels, across, work);
  if (in.w == out.w) return resample_rows(in, out, channels, down, work);
  const bool rows_first = vertical_first(g, pillow13);
  Planes middle = rows_first ? Planes{{}, in.w, out.h, in.w} : Planes{{}, out.w, in.h, out.w};
  u8* bytes = (u8*)(work + work_ints(across.width, down.width, in.w, out.w, out.h));
  for (int k = 0; k < channels; k++) middle.p[k] = bytes + (size_t)k * middle.h * middle.w;
  if (rows_first) {
    resample_rows(in, middle, channels, down, work);
    resample_columns(middle, out, channels, across, work);
  } else {
    resample_columns(in, middle, channels, across, work);
    resample_rows(middle, out, channels, down, work);
  }
}

}}  // namespace
