// How the CUDA kernels finish rows that mix: in float32, four pixels a thread, from a table of finished values for the
// row and one for each of its partners.
#pragma once
#include "cuda_finish.h"

namespace ae { namespace AE_ISA {

enum : int { MIXED_VALUES = (1 + MAX_PATCHES) * 3 * FINISHED_VALUES };

__device__ const Finish& finish_of(const u8* workspace, int row) {
  return ((const Finish*)(workspace + batch_in(workspace).finishes))[row];
}

// What a row's bytes become, in float32, by all threads of the block.
__device__ void load_floats(u8* workspace, int row, float* to) {
  const Finish& f = finish_of(workspace, row);
  const float* const table = (const float*)(workspace + batch_in(workspace).table);
  const u8* const pending = pending_of(workspace, row);
  for (int i = threadIdx.x; i < channels_in(workspace) * 256; i += BLOCK_THREADS) {
    const int k = i / 256;
    to[k * FINISHED_VALUES + i % 256] = table[k * 256 + (f.pending & PENDING_BYTES ? pending[i] : i % 256)];
  }
  const int k = threadIdx.x;
  if (k >= channels_in(workspace) || !f.image.map) return;
  const u8 outside = f.pending & PENDING_OUTSIDE ? pending[OUTSIDE_AT + k] : outside_of(*map_of(workspace, f.image), k);
  to[k * FINISHED_VALUES + FINISHED_OUTSIDE] = table[k * 256 + outside];
}

// One of the images that a row is mixed of, with the regions on it.
struct MixedImage {
  View view;
  const u8* data;
  const Map* map;
  const float* values;
  const Region* regions;
  int count;

  __device__ MixedImage(u8* workspace, int row, const float* values)
      : view(finish_of(workspace, row).image), data(address_of(workspace, view)), map(map_of(workspace, view)),
        values(values), regions((const Region*)(workspace + batch_in(workspace).regions) + finish_of(workspace, row).region),
        count(finish_of(workspace, row).regions) {}

  // The n finished values from (x, y) on, of which the image holds those that are `wanted`.
  __device__ void read(int k, int x, int y, int n, const bool* wanted, float* v) const {
    Places<i64> places = map ? Places<i64>::of<true>(view, map, x, y) : Places<i64>::of<false>(view, map, x, y);
    for (int i = 0; i < FOUR; i++) places.together &= wanted[i];
    bool inside[FOUR];
    for (int i = 0; i < FOUR; i++) {
      inside[i] = places.inside[i];
      places.inside[i] &= wanted[i];
    }
    const Four<u8> bytes = bytes_at(data + k * view.stride_c, places, n);
    for (int i = 0; i < FOUR; i++)
      if (wanted[i]) v[i] = values[k * FINISHED_VALUES + (inside[i] ? bytes.v[i] : FINISHED_OUTSIDE)];
  }

  // Regions whose position lies in [from, end) on the n values from (x, y) on.
  __device__ void erase(int from, int end, int k, int x, int y, int n, float* v) const {
    for (int r = 0; HAS_REGIONS && r < count; r++)
      if (regions[r].position >= from && regions[r].position < end)
        for (int i = 0; i < n; i++)
          if (contains(regions[r], x + i, y)) v[i] = value_in(regions[r], k, x + i, y);
  }
};

// Which patch each of the n pixels from (x, y) on lies in: the first, or none, MAX_PATCHES.
__device__ void choose_patches(const Patch* patches, int x, int y, int n, int* chosen) {
  for (int i = 0; i < FOUR; i++) {
    chosen[i] = MAX_PATCHES;
    for (int j = MAX_PATCHES - 1; j >= 0; j--)
      if (i < n && contains(patches[j], x + i, y)) chosen[i] = j;
  }
}

template <class T>
__device__ void finish_mixed_rows(u8* workspace, T* out, int first, int count, float* values, Patch* patches) {
  const Batch& b = batch_in(workspace);
  const int tiles = gridDim.x / count, row = row_of_block(workspace, first, tiles);
  const Call& mix = calls_in(workspace)[finish_of(workspace, row).mix];
  if (threadIdx.x < MAX_PATCHES) {
    patches[threadIdx.x] = patch(mix, threadIdx.x, b.out_h, b.out_w);
    if (patches[threadIdx.x].source < 0) patches[threadIdx.x].source = row;
  }
  load_floats(workspace, row, values);
  __syncthreads();
  for (int j = 0; j < MAX_PATCHES; j++)
    if (!is_empty(patches[j])) load_floats(workspace, patches[j].source, values + (1 + j) * 3 * FINISHED_VALUES);
  __syncthreads();
  const MixedImage own(workspace, row, values);
  const bool all[FOUR] = {true, true, true, true};
  const int groups = (b.out_w + FOUR - 1) / FOUR, tile = blockIdx.x % tiles;
  const int end = min_of(groups * b.out_h, (tile + 1) * FINISH_GROUPS);
  for (int g = tile * FINISH_GROUPS + threadIdx.x; g < end; g += BLOCK_THREADS) {
    const int y = g / groups, x = (g - y * groups) * FOUR, n = min_of(FOUR, b.out_w - x);
    int chosen[FOUR];
    choose_patches(patches, x, y, n, chosen);
    for (int k = 0; k < channels_in(workspace); k++) {
      float v[FOUR] = {};
      own.read(k, x, y, n, all, v);
      own.erase(0, mix.position, k, x, y, n, v);
      for (int j = 0; j < MAX_PATCHES; j++) {
        const bool wanted[FOUR] = {chosen[0] == j, chosen[1] == j, chosen[2] == j, chosen[3] == j};
        if (!wanted[0] && !wanted[1] && !wanted[2] && !wanted[3]) continue;
        const Patch& p = patches[j];
        const MixedImage from(workspace, p.source, values + (1 + j) * 3 * FINISHED_VALUES);
        float other[FOUR] = {};
        from.read(k, x + p.dx, y + p.dy, n, wanted, other);
        from.erase(0, mix.position, k, x + p.dx, y + p.dy, n, other);
        for (int i = 0; i < FOUR; i++)
          if (wanted[i]) v[i] = p.blends ? blended(p, v[i], other[i]) : other[i];
      }
      own.erase(mix.position + 1, 1 << 30, k, x, y, n, v);
      Four<T> finished;
      for (int i = 0; i < FOUR; i++) to_output(dtype_in(workspace), v[i], finished.v[i]);
      T* const at = out + row * b.stride_n + k * b.stride_c + y * b.stride_y + x * b.stride_x;
      store_four(finished, at, b.stride_x, n);
    }
  }
}

}}  // namespace
