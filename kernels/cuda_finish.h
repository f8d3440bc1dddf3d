// How the CUDA kernels finish rows: from bytes to values in the batch.
#pragma once
#include "cuda_image.h"
#include "dispatch.h"

namespace ae { namespace AE_ISA {

__device__ int row_of_block(const u8* workspace, int first, int tiles) {
  return ((const int*)(workspace + batch_in(workspace).order))[first + blockIdx.x / tiles];
}

__device__ u8* finished_of(u8* workspace, int row) {
  return workspace + batch_in(workspace).finished + (i64)row * FINISHED_BYTES;
}

// Keeps what a byte becomes at `entry` of a row's table of finished values.
__device__ void keep_finished(u8* workspace, int row, int k, int entry, u8 v) {
  const u8* const values = workspace + batch_in(workspace).values;
  u8* const kept = finished_of(workspace, row);
  const int to = k * FINISHED_VALUES + entry, from = k * 256 + v;
  switch (dtype_in(workspace)) {
    case DTYPE_UINT8: kept[to] = values[from]; return;
    case DTYPE_FLOAT32: ((float*)kept)[to] = ((const float*)values)[from]; return;
    default: ((u16*)kept)[to] = ((const u16*)values)[from];
  }
}

// A row's table of finished values, to shared memory.
template <class T>
__device__ void load_values(u8* workspace, const Finish& f, int row, T* to) {
  const Batch& b = batch_in(workspace);
  const T* const common = (const T*)(workspace + b.values);
  const T* const own = (const T*)finished_of(workspace, row);
  const Map* const map = map_of(workspace, f.image);
  for (int i = threadIdx.x; i < channels_in(workspace) * 256; i += BLOCK_THREADS) {
    const int at = i / 256 * FINISHED_VALUES + i % 256;
    to[at] = f.pending & PENDING_BYTES ? own[at] : common[i];
  }
  if ((int)threadIdx.x < channels_in(workspace)) {
    const int k = threadIdx.x, at = k * FINISHED_VALUES + FINISHED_OUTSIDE;
    to[at] = f.pending & PENDING_OUTSIDE ? own[at] : map ? common[k * 256 + map->outside[k]] : T();
  }
  __syncthreads();
}

// A thread's four values: one load where the bytes lie in a word, and one store.
template <class T>
struct alignas(FOUR * sizeof(T)) Four {
  T v[FOUR];
};

// Where a thread's four pixels lie in the image; those outside it are not `inside`.
template <class At>
struct Places {
  At at[FOUR];
  bool inside[FOUR], together;

  template <bool MAPPED>
  __device__ static Places of(const View& v, const Map* map, int x, int y) {
    Places p;
    p.together = !MAPPED && v.stride_x == 1;
    for (int i = 0; i < FOUR; i++) {
      Point at = {x + i, y};
      p.inside[i] = true;
      if (MAPPED) {
        at = read_by(*map, x + i, y);
        p.inside[i] = is_inside(*map, at);
      }
      p.at[i] = at.y * (At)v.stride_y + at.x * (At)v.stride_x;
    }
    return p;
  }
};

// The first n of them, of one channel; what lies outside is 0.
template <class At>
__device__ Four<u8> bytes_at(const u8* plane, const Places<At>& places, int n) {
  if (places.together && n == FOUR && (u64)(plane + places.at[0]) % FOUR == 0)
    return *(const Four<u8>*)(plane + places.at[0]);
  Four<u8> bytes = {};
  for (int i = 0; i < FOUR; i++)
    if (i < n && places.inside[i]) bytes.v[i] = plane[places.at[i]];
  return bytes;
}

// A thread's four values to their place in a row, of which there are n.
template <class T>
__device__ void store_four(const Four<T>& v, T* at, i64 stride_x, int n) {
  if (n == FOUR && stride_x == 1 && (u64)at % sizeof v == 0) *(Four<T>*)at = v;
  else for (int i = 0; i < FOUR; i++) if (i < n) at[i * stride_x] = v.v[i];
}

// A row as it is finished: its bytes, what each becomes, and the regions on that.
template <class T>
struct FinishedImage {
  View view;
  const u8* data;
  const Map* map;
  const T* values;
  const Region* regions;
  int count;
};

// Where a row's finished values go; strides in elements.
template <class T>
struct Target {
  T* data;
  i64 stride_c, stride_y, stride_x;
  int h, w;
};

// Finishes the pixels from (x, y) on.
template <bool MAPPED, class At, class T>
__device__ void finish_group(const FinishedImage<T>& from, int channels, int dtype, const Target<T>& to, int x, int y) {
  const int n = min_of(FOUR, to.w - x);
  const Places<At> places = Places<At>::template of<MAPPED>(from.view, from.map, x, y);
  for (int k = 0; k < channels; k++) {
    const u8* const plane = from.data + k * (At)from.view.stride_c;
    const T* const table = from.values + k * FINISHED_VALUES;
    const Four<u8> bytes = bytes_at(plane, places, n);
    Four<T> v;
    for (int i = 0; i < FOUR; i++) v.v[i] = table[places.inside[i] ? bytes.v[i] : FINISHED_OUTSIDE];
    for (int r = 0; HAS_REGIONS && r < from.count; r++)
      for (int i = 0; i < FOUR; i++)
        if (contains(from.regions[r], x + i, y)) to_output(dtype, value_in(from.regions[r], k, x + i, y), v.v[i]);
    T* const at = to.data + k * (At)to.stride_c + y * (At)to.stride_y + x * (At)to.stride_x;
    store_four(v, at, to.stride_x, n);
  }
}

template <bool MAPPED, class T>
__device__ void finish_tile(u8* workspace, T* out, const Finish& f, int row, int tile, const T* values) {
  const Batch& b = batch_in(workspace);
  const Region* const regions = (const Region*)(workspace + b.regions) + f.region;
  const FinishedImage<T> from = {f.image, address_of(workspace, f.image), map_of(workspace, f.image), values, regions,
                                 f.regions};
  const Target<T> to = {out + row * b.stride_n, b.stride_c, b.stride_y, b.stride_x, b.out_h, b.out_w};
  const int groups = (b.out_w + FOUR - 1) / FOUR, all = groups * b.out_h;
  const int end = min_of(all, (tile + 1) * FINISH_GROUPS);
  for (int g = tile * FINISH_GROUPS + threadIdx.x; g < end; g += BLOCK_THREADS) {
    const int y = g / groups;
    finish_group<MAPPED, i64>(from, channels_in(workspace), dtype_in(workspace), to, (g - y * groups) * FOUR, y);
  }
}

template <bool MAPPED, class T>
__device__ void finish_rows_as(u8* workspace, T* out, int first, int count, u32* memory) {
  const int tiles = gridDim.x / count, row = row_of_block(workspace, first, tiles);
  const Finish& f = ((const Finish*)(workspace + batch_in(workspace).finishes))[row];
  load_values(workspace, f, row, (T*)memory);
  finish_tile<MAPPED>(workspace, out, f, row, blockIdx.x % tiles, (const T*)memory);
}

template <bool MAPPED>
__device__ void finish_rows(u8* workspace, void* out, int first, int count, u32* memory) {
  switch (dtype_in(workspace)) {
    case DTYPE_UINT8: return finish_rows_as<MAPPED>(workspace, (u8*)out, first, count, memory);
    case DTYPE_FLOAT32: return finish_rows_as<MAPPED>(workspace, (float*)out, first, count, memory);
    default: return finish_rows_as<MAPPED>(workspace, (u16*)out, first, count, memory);
  }
}

}}  // namespace
