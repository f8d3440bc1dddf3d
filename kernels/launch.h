// What lowering is given and gives, and which kernel a call needs.
#pragma once
#include <vector>

#include "dispatch.h"
#include "step.h"

namespace ae { namespace AE_ISA {

struct Launch {
  int kernel, first, count, blocks;
};

struct Lowered {
  std::vector<u8> head;          // the workspace's first bytes, to be copied there
  std::vector<Launch> launches;  // in order
  i64 zeros, zeros_end;          // these bytes must be 0 before the first launch
  i64 size;                      // of the workspace
};

struct LowerJob {
  const View* sources;
  const Call* calls;  // [batch][slots]
  int batch, slots, channels, finish_position;
  bool pillow13;
  const float* table;  // [channels][256]
  int dtype, out_h, out_w;
  i64 stride_n, stride_c, stride_y, stride_x;
};

// The kernel that a call needs first, or -1 for an empty slot.
inline int kernel_of(const Call& call) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name:
    AE_CHANNEL_OPS(AE_CASE) return KERNEL_tables;
    AE_LUMA_OPS(AE_CASE)
    AE_RANGE_OPS(AE_CASE)
    AE_HISTOGRAM_OPS(AE_CASE) return KERNEL_statistics;
    AE_PIXEL_OPS(AE_CASE) return KERNEL_pixels;
    AE_WINDOW_OPS(AE_CASE) return KERNEL_stencils;
    AE_CONVOLUTION_OPS(AE_CASE) return KERNEL_convolutions;
    AE_CHAIN_OPS(AE_CASE) return KERNEL_chains;
    AE_RECTANGLE_OPS(AE_CASE) return KERNEL_regions;
    AE_MAP_OPS(AE_CASE) return KERNEL_gathers;
    AE_PATCH_OPS(AE_CASE) return KERNEL_finish_mixed;
#undef AE_CASE
  }
  return -1;
}

inline Reads reads_of(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_LUMA_OPS(AE_CASE) ? READS_LUMA : false AE_RANGE_OPS(AE_CASE) ? READS_RANGE : READS_HISTOGRAM;
#undef AE_CASE
}

inline i64 padded(i64 bytes) { return (bytes + 63) & ~(i64)63; }

inline int cover(i64 n, int each) { return (int)((n + each - 1) / each); }

inline int blocks_of(const Step& s) {
  switch (s.kernel) {
    case KERNEL_taps: return cover(s.taps.out, BLOCK_THREADS);
    case KERNEL_statistics: return cover((i64)s.in.h * cover(s.in.w, FOUR), FINISH_GROUPS);
    case KERNEL_tables: return 1;
  }
  return cover((i64)s.out.h * s.out.w, BLOCK_PIXELS);
}

}}  // namespace
