// Plays a GPU for the kernels under g++: one block at a time, one fiber for each thread of it.
//
// A thread runs until it meets a barrier, of its block or its warp, or its end; then the next one runs, in an order that
// the test chooses. So a missing barrier shows as a result that depends on the order. Shared memory is one section of the library, filled with
// the test's poison before every block, so a read before a write shows as a result that depends on the poison.
#pragma once
#include <math.h>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("shared_memory")))
#define __launch_bounds__(...)

struct Index {
  unsigned x;
};

extern Index threadIdx, blockIdx, gridDim;

void __syncthreads();
void __syncwarp();

// While one lives in a function of this file, a checked build (sanitizer.cpp) does not look at what this thread reads and
// writes, which is the emulation's own doing; told what an atomic touches, it notes that.
struct Unwatched {
#ifdef AE_CHECKED
  Unwatched();
  Unwatched(const void* atomic, int bytes);
  ~Unwatched();
  Unwatched(const Unwatched&) = delete;
#else
  Unwatched() {}
  Unwatched(const void*, int) {}
  ~Unwatched() {}
#endif
};

// Threads take turns, so plain arithmetic is atomic.
template <class T>
T atomicAdd(T* at, T v) {
  const Unwatched access(at, sizeof *at);
  const T old = *at;
  *at = old + v;
  return old;
}

template <class T>
T atomicMin(T* at, T v) {
  const Unwatched access(at, sizeof *at);
  const T old = *at;
  if (v < old) *at = v;
  return old;
}

template <class T>
T atomicMax(T* at, T v) {
  const Unwatched access(at, sizeof *at);
  const T old = *at;
  if (v > old) *at = v;
  return old;
}
