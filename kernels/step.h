// A batch as the CUDA kernels see it: one block of memory, the workspace, that lower.h lays out and fills on the host.
// It holds: Batch, steps, finishes and the order in which rows are finished, calls, regions, maps, the normalisation
// table in float32 and as the batch has it, resampling taps (those made on the host first), histograms, pending tables,
// tables of finished values and scratch for pixels. Every place in it is an offset, so that the host can
// fill it before the device memory exists and the same bytes serve at any address.
//
// Crops inside an image, mirrorings and quarter turns are no steps: a View's address and strides take them in. Nor is a
// padding or a nearest affine map: whatever reads the view reads through it.
#pragma once
#include "dtype.h"
#include "geometry.h"

namespace ae { namespace AE_ISA {

// The kernels in the order in which one wave launches them. One of the last three finishes a row.
#define AE_KERNELS(X)                                                                                     \
  X(taps) X(statistics) X(tables) X(pixels) X(stencils) X(convolutions) X(chains) X(regions) X(gathers)    \
  X(resample) X(finish) X(finish_mapped) X(finish_mixed)
enum KernelCode : int {
#define AE_CODE(name) KERNEL_##name,
  AE_KERNELS(AE_CODE)
#undef AE_CODE
  KERNELS
};

enum : int { BLOCK_THREADS = 256, BLOCK_PIXELS = 1024 };

// What a statistics step finds: [3][256] counts, one u64, or for each channel two u32 (cuda_statistics.h).
enum Reads : int { READS_HISTOGRAM, READS_LUMA, READS_RANGE };

// A table of finished values: by channel one of each byte, and one of the pixels outside.
enum : int { FINISHED_VALUES = 260, FINISHED_OUTSIDE = 256, FINISHED_BYTES = 3 * FINISHED_VALUES * 4 };

// Neighbours of a row that a thread finishes together, and how many such groups a block finishes.
enum : int { FOUR = 4, FINISH_GROUPS = 1024 };

// A row's pending table: what becomes of each byte of the image, by channel, and of the pixels outside it.
enum : int { OUTSIDE_AT = 3 * 256, TABLE_BYTES = OUTSIDE_AT + 16 };
enum Pending : int { PENDING_BYTES = 1, PENDING_OUTSIDE = 2 };  // which of the two there is

// A nearest map in 16.16 that a view is read through: (x, y) reads ((f[0] x + f[1] y + f[2]) >> 16, likewise), or
// `outside` where that lies outside in_h x in_w.
struct Map {
  int f[6], in_h, in_w, outside[3];
};

struct View {  // byte (c, y, x) lies at data + c * stride_c + y * stride_y + x * stride_x; strides may be negative
  i64 data;    // an address, or an offset in the batch's scratch
  i64 stride_c, stride_y, stride_x;
  int h, w;    // as it is read: of what its map gives, if it has one
  int buffer;  // 0: an address; else one of the row's buffers in the scratch: 1 and 2 in turns, 3 and 4 of a chain
  int map;     // 0: none; else which of Batch::maps, from 1 on
};

// One axis of a resize: `out` first indices, then `width` coefficients for each output; unused ones are 0.
struct Taps {
  i64 at;  // in ints from Batch::taps
  int interpolation, in, out, width;
};

struct Step {
  int kernel, wave;      // a wave reads what the waves before it wrote
  int row, first_block;  // of this step in its launch
  View in, out;
  int pending;           // `in` is read through the row's pending table (Pending)
  int call, calls;       // which calls; tables composes several, of which only the first may read statistics
  int outside_from;      // tables: the first of them that changes the pixels outside, too
  int last;              // tables: what it makes is finished with
  int reads;             // statistics, tables: Reads
  i64 histograms;        // statistics, tables: where they are, or -1 for none
  int along_x;           // resample
  Taps taps;             // taps, resample; convolutions: where its float weights lie, first those of x (`in` of them)
  View sum;              // chains: float32 planes
  Geometry geometry;     // gathers
};

struct Finish {  // of one row: its last bytes, the regions on finished values, and which call mixes, or -1
  View image;
  int pending, region, regions, mix;
};

struct Batch {
  int channels, dtype, out_h, out_w;
  i64 stride_n, stride_c, stride_y, stride_x;  // of the finished batch, in elements
  // offsets in the workspace
  i64 steps, finishes, order, calls, regions, table, values, taps, maps, histograms, pending, finished, scratch;
};

}}  // namespace
