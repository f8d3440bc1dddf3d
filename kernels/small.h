// Small images on CUDA (small.cu): two kernels draw a batch's programs and run them, a warp an image in shared memory,
// so that the host neither draws nor lowers anything. What both read: the batch, copied to the workspace's start for
// every call, and constants of the pipeline, copied to the device once.
#pragma once
#include "step.h"

namespace ae { namespace AE_ISA {

#define AE_SMALL_KERNELS(X) X(draw) X(small)

// Of shared memory: a block's, and of each image, which must also hold a table of finished values, at most a multiple
// of 16.
enum : int { WARP = 32, SMALL_BYTES = 48 << 10, LEAST_IMAGE_BYTES = FINISHED_BYTES,
             MOST_IMAGE_BYTES = (SMALL_BYTES - TABLE_BYTES) / 32 * 16 };

struct SmallBatch {
  int channels, dtype, in_h, in_w, out_h, out_w;
  int transforms, slots, group, finish_position;
  int image_bytes;  // of the largest that is written on the way
  u32 epoch;
  u64 seed;
  i64 images, in_n, in_c, in_y, in_x;  // address, strides in bytes
  i64 out_n, out_c, out_y, out_x;      // strides of the finished batch, in elements
  i64 ids, constants;                  // addresses; ids 0: the host's stand in the workspace
  i64 values, geometries;              // offsets in the constants, behind the spec
  i64 own_ids, calls, maps, regions, counts;  // offsets in the workspace
};

static_assert(sizeof(SmallBatch) == 200, "tests/checked.py reads its last five");

// What a warp has in shared memory: two images, of which the spare one holds statistics and at last finished values,
// and a pending table.
AE_FN int bytes_of_image(const SmallBatch& b) {
  return (max_of(b.image_bytes, LEAST_IMAGE_BYTES) + 15) & ~15;
}
AE_FN int bytes_of_warp(const SmallBatch& b) { return 2 * bytes_of_image(b) + TABLE_BYTES; }
AE_FN int images_of_block(const SmallBatch& b) { return min_of(8, SMALL_BYTES / bytes_of_warp(b)); }

}}  // namespace
