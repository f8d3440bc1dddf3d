// What a CPU pass works on. Plain data, shared by every instruction set's build of cpu_pass.cpp.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "dtype.h"

namespace ae {

struct Source {  // one image, a row of `Images.table` (augengine/backends/images.py); strides in bytes
  int64_t address, h, w, stride_c, stride_y, stride_x;

  const uint8_t* data() const { return (const uint8_t*)address; }
};

struct Job {
  const Source* sources;
  const void* calls;   // Call[batch][slots]
  int batch, slots, channels;
  int finish_position; // calls of transforms behind this position work on finished values (after Normalize)
  int pillow13;        // the resize order
  const float* table;  // [channels][256]: the finished value of a byte
  const float* mean_std;  // [channels][2]: what made that table
  const void* values;  // the table in the output's dtype
  void* out;
  int dtype, out_h, out_w;
  ptrdiff_t stride_n, stride_c, stride_y, stride_x;  // of `out`, in elements
  bool stream;  // the batch is larger than the caches
  const int* order;  // in which the rows are run; null: one after the other
};

// Memory that grows and never shrinks.
struct Memory {
  uint8_t* data = nullptr;
  size_t size = 0;
  ~Memory() { free(data); }
};

// Of one thread: what two rows' images need, and what is needed for a row's steps and its finish.
struct Scratch {
  Memory canvas[2], steps, finish;
};

// Rows of the batch from the start-th in its order on; false where memory for the scratch is lacking. Consecutive rows
// share work where the next is the partner of the one before.
typedef bool RunRows(const Job&, int start, int count, Scratch&);

}  // namespace ae
