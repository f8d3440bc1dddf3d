// How the CUDA kernels find their step and reach images: a workspace's parts, and views read through pending tables.
#pragma once
#include "step.h"

// Kernels all have the same four arguments.
#define AE_KERNEL(name) \
  extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 2) name(u8* workspace, void* out, int first, int count)

namespace ae { namespace AE_ISA {

__device__ const Batch& batch_in(const u8* workspace) { return *(const Batch*)workspace; }

// Constants of kernels that are compiled for one pipeline (augengine/backends/nvrtc.py); 0 and -1 are any.
#ifndef AE_CHANNELS
#define AE_CHANNELS 0
#define AE_DTYPE -1
#endif

__device__ int channels_in(const u8* workspace) { return AE_CHANNELS ? AE_CHANNELS : batch_in(workspace).channels; }

__device__ int dtype_in(const u8* workspace) { return AE_DTYPE >= 0 ? AE_DTYPE : batch_in(workspace).dtype; }

__device__ const Call* calls_in(const u8* workspace) { return (const Call*)(workspace + batch_in(workspace).calls); }

__device__ const u8* pending_of(const u8* workspace, int row) {
  return workspace + batch_in(workspace).pending + (i64)row * TABLE_BYTES;
}

// The last step of the launch that starts at or before this block.
__device__ const Step& step_of_block(const u8* workspace, int first, int count) {
  const Step* steps = (const Step*)(workspace + batch_in(workspace).steps) + first;
  int lo = 0, hi = count;
  while (hi - lo > 1) {
    const int middle = (lo + hi) / 2;
    if (steps[middle].first_block <= (int)blockIdx.x) lo = middle;
    else hi = middle;
  }
  return steps[lo];
}

__device__ u8* address_of(u8* workspace, const View& v) {
  return v.buffer ? workspace + batch_in(workspace).scratch + v.data : (u8*)v.data;
}

__device__ const Map* map_of(const u8* workspace, const View& v) {
  return v.map ? (const Map*)(workspace + batch_in(workspace).maps) + (v.map - 1) : nullptr;
}

__device__ Point read_by(const Map& m, int x, int y) {
  return {(int)((u32)m.f[0] * (u32)x + (u32)m.f[1] * (u32)y + (u32)m.f[2]) >> 16,
          (int)((u32)m.f[3] * (u32)x + (u32)m.f[4] * (u32)y + (u32)m.f[5]) >> 16};
}

__device__ bool is_inside(const Map& m, Point p) { return (u32)p.x < (u32)m.in_w && (u32)p.y < (u32)m.in_h; }

// No index into the array: that would take a map out of the registers.
__device__ u8 outside_of(const Map& m, int k) { return (u8)(k == 0 ? m.outside[0] : k == 1 ? m.outside[1] : m.outside[2]); }

// An image read through a map and a table, if there are any. At counts its bytes.
template <class At>
struct ReaderOf {
  const u8* data;
  At stride_c, stride_y, stride_x;
  bool mapped;
  const Map* map;
  const u8 *table, *outside;

  __device__ ReaderOf(const u8* data, const View& v, bool mapped, const Map* map, const u8* pending, int which)
      : data(data), stride_c((At)v.stride_c), stride_y((At)v.stride_y), stride_x((At)v.stride_x), mapped(mapped), map(map),
        table(which & PENDING_BYTES ? pending : nullptr),
        outside(which & PENDING_OUTSIDE ? pending + OUTSIDE_AT : nullptr) {}

  __device__ ReaderOf(u8* workspace, const View& v, int row, int which)
      : ReaderOf(address_of(workspace, v), v, v.map != 0, map_of(workspace, v), pending_of(workspace, row), which) {}

  __device__ u8 operator()(int k, int x, int y) const {
    if (mapped) {
      const Point at = read_by(*map, x, y);
      if (!is_inside(*map, at)) return outside ? outside[k] : outside_of(*map, k);
      x = at.x;
      y = at.y;
    }
    const u8 v = data[k * stride_c + y * stride_y + x * stride_x];
    return table ? table[k * 256 + v] : v;
  }
};
typedef ReaderOf<i64> Reader;

struct Writer {
  u8* data;
  i64 plane;
  int w;

  __device__ Writer(u8* data, i64 plane, int w) : data(data), plane(plane), w(w) {}
  __device__ Writer(u8* workspace, const View& v) : Writer(address_of(workspace, v), v.stride_c, v.w) {}
  __device__ u8& operator()(int k, int x, int y) const { return data[k * plane + (i64)y * w + x]; }
};

// Calls visit(x, y) for this block's share of a step's pixels, `tile` of them from `block * tile` on.
template <class Visit>
__device__ void each_pixel(int block, int tile, int h, int w, Visit visit) {
  const int end = min_of(tile, h * w - block * tile);
  for (int i = threadIdx.x; i < end; i += BLOCK_THREADS) {
    const int at = block * tile + i, y = at / w;
    visit(at - y * w, y);
  }
}

template <class Visit>
__device__ void each_output(const Step& s, Visit visit) {
  each_pixel(blockIdx.x - s.first_block, BLOCK_PIXELS, s.out.h, s.out.w, visit);
}

template <class In>
__device__ Window window_at(const In& in, int k, int x, int y, int h, int w) {
  Window window = {{0, 0, 0, 0, in(k, x, y), 0, 0, 0, 0}, x > 0 && y > 0 && x < w - 1 && y < h - 1};
  if (window.inside)
    for (int i = 0; i < 9; i++) window.v[i] = in(k, x + i % 3 - 1, y + i / 3 - 1);
  return window;
}

}}  // namespace
