// What stats ops read of an image on CUDA, four pixels a thread: histograms, or a sum of luma, or the lowest and highest
// value, gathered in shared memory and added up over the blocks of the image.
#pragma once
#include "cuda_finish.h"

namespace ae { namespace AE_ISA {

enum : int { COUNTER_COPIES = 4 };  // warps share a copy by turns, because neighbours are often equal and would wait

// Calls visit(places, n) for a block's share of an image's pixels, up to four neighbours at a time.
template <class Visit>
__device__ void each_four(u8* workspace, const Step& s, Visit visit) {
  const Map* const map = map_of(workspace, s.in);
  const int groups = (s.in.w + FOUR - 1) / FOUR, tile = blockIdx.x - s.first_block;
  const int end = min_of(groups * s.in.h, (tile + 1) * FINISH_GROUPS);
  for (int g = tile * FINISH_GROUPS + threadIdx.x; g < end; g += BLOCK_THREADS) {
    const int y = g / groups, x = (g - y * groups) * FOUR, n = min_of(FOUR, s.in.w - x);
    visit(map ? Places<i64>::of<true>(s.in, map, x, y) : Places<i64>::of<false>(s.in, map, x, y), n);
  }
}

// An image's bytes behind its pending table.
struct Pixels {
  const u8 *data, *table, *outside;
  const Map* map;
  i64 stride_c;

  __device__ Pixels(u8* workspace, const Step& s)
      : data(address_of(workspace, s.in)), table(s.pending & PENDING_BYTES ? pending_of(workspace, s.row) : nullptr),
        outside(s.pending & PENDING_OUTSIDE ? pending_of(workspace, s.row) + OUTSIDE_AT : nullptr),
        map(map_of(workspace, s.in)), stride_c(s.in.stride_c) {}

  __device__ Four<u8> raw(int k, const Places<i64>& places, int n) const {
    return bytes_at(data + k * stride_c, places, n);
  }
  __device__ u8 seen(int k, u8 v) const { return table ? table[k * 256 + v] : v; }
  __device__ u8 beyond(int k) const { return outside ? outside[k] : outside_of(*map, k); }
};

// Bytes are counted before the table, which the counts go through at the end.
__device__ void count_values(u8* workspace, const Step& s, u32* counts, u32* total) {
  const Pixels pixels(workspace, s);
  const int channels = channels_in(workspace), values = channels * 256;
  for (int i = threadIdx.x; i < COUNTER_COPIES * values; i += BLOCK_THREADS) counts[i] = 0;
  __syncthreads();
  u32* const own = counts + threadIdx.x / 32 % COUNTER_COPIES * values;
  u32 beyond = 0;
  each_four(workspace, s, [&](const Places<i64>& places, int n) {
    for (int k = 0; k < channels; k++) {
      const Four<u8> bytes = pixels.raw(k, places, n);
      for (int i = 0; i < FOUR; i++)
        if (i < n && places.inside[i]) atomicAdd(&own[k * 256 + bytes.v[i]], 1u);
    }
    for (int i = 0; i < FOUR; i++) beyond += i < n && !places.inside[i];
  });
  for (int k = 0; beyond && k < channels; k++) atomicAdd(&total[k * 256 + pixels.beyond(k)], beyond);
  __syncthreads();
  for (int i = threadIdx.x; i < values; i += BLOCK_THREADS) {
    u32 sum = 0;
    for (int copy = 0; copy < COUNTER_COPIES; copy++) sum += counts[copy * values + i];
    if (sum) atomicAdd(&total[i / 256 * 256 + pixels.seen(i / 256, (u8)(i % 256))], sum);
  }
}

__device__ void sum_luma(u8* workspace, const Step& s, u64* shared, u64* total) {
  const Pixels pixels(workspace, s);
  const int channels = channels_in(workspace);
  if (threadIdx.x == 0) *shared = 0;
  __syncthreads();
  u64 sum = 0;
  each_four(workspace, s, [&](const Places<i64>& places, int n) {
    Four<u8> v[3] = {};
    for (int k = 0; k < 3; k++)
      if (k < channels) v[k] = pixels.raw(k, places, n);
    for (int i = 0; i < FOUR; i++) {
      int seen[3] = {};
      for (int k = 0; k < 3; k++)
        if (k < channels) seen[k] = places.inside[i] ? pixels.seen(k, v[k].v[i]) : pixels.beyond(k);
      if (i < n) sum += channels == 3 ? luma(seen[0], seen[1], seen[2]) : seen[0];
    }
  });
  atomicAdd(shared, sum);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(total, *shared);
}

// Of each channel the highest value, and 255 less the lowest: both begin with 0.
__device__ void find_range(u8* workspace, const Step& s, u32* shared, u32* total) {
  const Pixels pixels(workspace, s);
  const int channels = channels_in(workspace);
  if (threadIdx.x < 6) shared[threadIdx.x] = 0;
  __syncthreads();
  u32 found[6] = {};
  each_four(workspace, s, [&](const Places<i64>& places, int n) {
    for (int k = 0; k < 3; k++) {
      if (k >= channels) continue;
      const Four<u8> bytes = pixels.raw(k, places, n);
      for (int i = 0; i < FOUR; i++) {
        if (i >= n) continue;
        const int v = places.inside[i] ? pixels.seen(k, bytes.v[i]) : pixels.beyond(k);
        found[2 * k] = max_of(found[2 * k], v);
        found[2 * k + 1] = max_of(found[2 * k + 1], 255 - v);
      }
    }
  });
  for (int i = 0; i < 6; i++) atomicMax(&shared[i], found[i]);
  __syncthreads();
  if ((int)threadIdx.x < 2 * channels) atomicMax(&total[threadIdx.x], shared[threadIdx.x]);
}

struct SharedStats {
  u32 histogram[256], below[256], scan[256];
  u32 lo, hi;
};

// The statistics of [256] counts; every thread of the block gets the same.
__device__ Stats stats_of_counts(const u32* counts, SharedStats& s) {
  const int v = threadIdx.x;
  __syncthreads();  // the channel before may still be read
  s.histogram[v] = s.scan[v] = counts[v];
  if (v == 0) { s.lo = 255; s.hi = 0; }
  __syncthreads();
  if (s.histogram[v]) {
    atomicMin(&s.lo, (u32)v);
    atomicMax(&s.hi, (u32)v);
  }
  for (int reach = 1; reach < 256; reach *= 2) {
    const u32 own = s.scan[v], before = v >= reach ? s.scan[v - reach] : 0;
    __syncthreads();
    s.scan[v] = own + before;
    __syncthreads();
  }
  s.below[v] = s.scan[v] - s.histogram[v];
  __syncthreads();
  return {s.histogram, s.below, (int)s.lo, (int)s.hi, s.scan[255], 0};
}

// What a tables step's first call reads of channel k.
__device__ Stats stats_of(const u8* workspace, const Step& s, int k, SharedStats& shared) {
  if (s.histograms < 0) return {};
  const u8* const total = workspace + batch_in(workspace).histograms + s.histograms;
  const u32 pixels = (u32)s.in.h * (u32)s.in.w;
  switch (s.reads) {
    case READS_LUMA: return {nullptr, nullptr, 0, 0, pixels, *(const u64*)total};
    case READS_RANGE: {
      const u32* const range = (const u32*)total + 2 * k;
      return {nullptr, nullptr, 255 - (int)range[1], (int)range[0], pixels, 0};
    }
  }
  return stats_of_counts((const u32*)total + k * 256, shared);
}

}}  // namespace
