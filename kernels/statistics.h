// What stats ops read, of a canvas seen through its pending table.
#pragma once
#include <string.h>

#include "canvas.h"
#include "color.h"

namespace ae { namespace AE_ISA { namespace {

struct StatsStorage {
  u32 histogram[256], below[256];
  Stats stats;
};

void finish_stats(StatsStorage& s) {
  Stats& t = s.stats;
  t = {s.histogram, s.below, 0, 255, 0, 0};
  while (t.lo < 255 && !s.histogram[t.lo]) t.lo++;
  while (t.hi > 0 && !s.histogram[t.hi]) t.hi--;
  for (int v = 0; v < 256; v++) {
    s.below[v] = t.count;
    t.count += s.histogram[v];
  }
  for (int v = 0; v < 256; v++) t.sum += (u64)s.histogram[v] * v;
}

// Eight tables, because neighbouring pixels are often equal and one counter would wait for itself; of 16 bits, so that
// they stay in the first cache. A run has at most 65,535 pixels.
void count_run(const u8* src, int n, u32* histogram) {
  alignas(64) u16 part[8][256];
  memset(part, 0, sizeof part);
  int x = 0;
  for (; x + 8 <= n; x += 8) {
    u64 eight;
    memcpy(&eight, src + x, 8);
    for (int i = 0; i < 8; i++) part[i][(u8)(eight >> (8 * i))]++;
  }
  for (; x < n; x++) part[0][src[x]]++;
  for (int v = 0; v < 256; v++) {
    u32 sum = 0;
    for (int i = 0; i < 8; i++) sum += part[i][v];
    histogram[v] += sum;
  }
}

void channel_stats(const Canvas& c, int channel, StatsStorage& s) {
  u32 raw[256] = {};
  u32* const counts = c.lut_pending ? raw : s.histogram;
  memset(s.histogram, 0, sizeof s.histogram);
  each_run(c.image, c.image, [&](ptrdiff_t at, ptrdiff_t, int n) {
    for (int x = 0; x < n; x += 65528) count_run(c.image.p[channel] + at + x, min_of(65528, n - x), counts);
  });
  if (c.lut_pending) for (int v = 0; v < 256; v++) s.histogram[bytes_of(c.lut[channel])[v]] += raw[v];
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
    int x = 0;
    while (x + LANES <= n) {
      Ints sums = {};
      const int end = min_of(n - LANES, x + (1 << 20));  // a lane's sum stays under 2^31
      for (; x <= end; x += LANES) {
        Ints v[3];
        load(r + x, v[0]);
        load(g + x, v[1]);
        load(b + x, v[2]);
        sums += luma(v[0], v[1], v[2]);
      }
      for (int i = 0; i < LANES; i++) s.stats.sum += (u32)sums[i];
    }
    for (; x < n; x++) s.stats.sum += luma<int>(r[x], g[x], b[x]);
  });
}

}}}  // namespace
