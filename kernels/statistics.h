// What stats ops read, of a canvas seen through its pending table.
#pragma once
#include <string.h>

#include "canvas.h"
#include "color.h"

namespace ae { namespace AE_ISA { namespace {

struct StatsStorage {
  alignas(64) u32 histogram[256], below[256];
  Stats stats;
};

// below[v] and, in `count`, all.
u32 count_below(const u32* histogram, u32* below) {
  u32 count = 0;
#ifdef AE_VBMI
  __m512i before = _mm512_setzero_si512();  // the count of all values under these 16, in each lane
  for (int v = 0; v < 256; v += 16) {
    const __m512i own = _mm512_loadu_si512(histogram + v), none = _mm512_setzero_si512();
    __m512i sums = _mm512_add_epi32(own, _mm512_alignr_epi32(own, none, 15));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, none, 14));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, none, 12));
    sums = _mm512_add_epi32(sums, _mm512_alignr_epi32(sums, none, 8));
    _mm512_storeu_si512(below + v, _mm512_add_epi32(before, _mm512_sub_epi32(sums, own)));
    before = _mm512_add_epi32(before, _mm512_permutexvar_epi32(_mm512_set1_epi32(15), sums));
  }
  count = (u32)_mm_cvtsi128_si32(_mm512_castsi512_si128(before));
#else
  for (int v = 0; v < 256; v++) {
    below[v] = count;
    count += histogram[v];
  }
#endif
  return count;
}

void finish_stats(StatsStorage& s) {
  const u32 count = count_below(s.histogram, s.below);
  int lo = 0, hi = 0;  // loops without branches, for the vectors: lo values have nothing up to them, hi not yet all
  u64 below = 0;
  for (int v = 0; v < 256; v++) {
    lo += s.below[v] + s.histogram[v] == 0;
    hi += s.below[v] + s.histogram[v] < count;
    below += s.below[v];
  }
  s.stats = {s.histogram, s.below, lo, hi, count, 255 * (u64)count - below};
}

// Eight tables, because neighbouring pixels are often equal and one counter would wait for itself; of 16 bits, so that
// they stay in the first cache and are added fast. All together may count 65,535 pixels.
struct Counters {
  enum : int { MOST = 65535 };
  alignas(64) u16 part[8][256];

  void clear() { fill_values(part[0], 8 * 256, (u16)0); }

  void count(const u8* src, int n) {
    int x = 0;
    for (; x + 8 <= n; x += 8) {
      u64 eight;
      memcpy(&eight, src + x, 8);
      for (int i = 0; i < 8; i++) part[i][(u8)(eight >> (8 * i))]++;
    }
    for (; x < n; x++) part[0][src[x]]++;
  }
  u16 sum(int v) const {
    u16 sum = 0;
    for (int i = 0; i < 8; i++) sum = (u16)(sum + part[i][v]);
    return sum;
  }
};

void count_channel(const Planes& image, int channel, u32* histogram) {
  Counters counters;
  counters.clear();
  memset(histogram, 0, 256 * sizeof(u32));
  int room = Counters::MOST;
  const auto empty = [&] { for (int v = 0; v < 256; v++) histogram[v] += counters.sum(v); };
  each_run(image, image, [&](ptrdiff_t at, ptrdiff_t, int n) {
    while (n > room) {
      counters.count(image.p[channel] + at, room);
      at += room;
      n -= room;
      empty();
      counters.clear();
      room = Counters::MOST;
    }
    counters.count(image.p[channel] + at, n);
    room -= n;
  });
  empty();
}

void channel_stats(const Canvas& c, int channel, StatsStorage& s) {
  count_channel(c.image, channel, s.histogram);
  if (c.lut_pending) {
    u32 raw[256];
    memcpy(raw, s.histogram, sizeof raw);
    memset(s.histogram, 0, sizeof s.histogram);
    for (int v = 0; v < 256; v++) s.histogram[bytes_of(c.lut[channel])[v]] += raw[v];
  }
  finish_stats(s);
}

// Only the lowest and the highest value. The tables are written already.
void range_stats(const Canvas& c, int channel, StatsStorage& s) {
  u8 lo = 255, hi = 0;
  each_run(c.image, c.image, [&](ptrdiff_t at, ptrdiff_t, int n) {
    const u8* src = c.image.p[channel] + at;
    for (int x = 0; x < n; x++) {
      lo = src[x] < lo ? src[x] : lo;
      hi = src[x] > hi ? src[x] : hi;
    }
  });
  s.stats = {s.histogram, s.below, lo, hi, 0, 0};
}

// Only count and sum: what an op on luma may read. The tables are written already.
void luma_stats(const Canvas& c, int channels, StatsStorage& s) {
  const Planes& in = c.image;
  if (channels == 1) return channel_stats(c, 0, s);
  s.stats = {s.histogram, s.below, 0, 0, (u32)in.h * (u32)in.w, 0};
  each_run(in, in, [&](ptrdiff_t at, ptrdiff_t, int n) {
    const u8 *r = in.p[0] + at, *g = in.p[1] + at, *b = in.p[2] + at;
    enum : int { STEP = sizeof(Ints) };
    int x = 0;
    while (x + STEP <= n) {
      Ints sums = {};
      const int end = min_of(n - STEP, x + (1 << 20));  // a lane's sum stays under 2^31
      for (; x <= end; x += STEP) {
        Quads v[3];
        load(r + x, v[0]);
        load(g + x, v[1]);
        load(b + x, v[2]);
        for (int k = 0; k < 4; k++) sums += luma(v[0].part[k], v[1].part[k], v[2].part[k]);
      }
      for (int i = 0; i < LANES; i++) s.stats.sum += (u32)sums[i];
    }
    for (; x < n; x++) s.stats.sum += luma<int>(r[x], g[x], b[x]);
  });
}

}}}  // namespace
