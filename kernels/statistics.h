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
  t = {s.histogram, s.below, 255, 0, 0, 0};
  for (int v = 0; v < 256; v++) {
    s.below[v] = t.count;
    if (s.histogram[v]) {
      t.lo = min_of(t.lo, v);
      t.hi = v;
    }
    t.count += s.histogram[v];
    t.sum += (u64)s.histogram[v] * v;
  }
}

// Four tables, because neighbouring pixels are often equal and one counter would wait for itself.
void count_bytes(const Planes& in, int channel, u32* histogram) {
  u32 part[4][256];
  memset(part, 0, sizeof part);
  for (int y = 0; y < in.h; y++) {
    const u8* src = in.row(channel, y);
    int x = 0;
    for (; x + 4 <= in.w; x += 4)
      for (int i = 0; i < 4; i++) part[i][src[x + i]]++;
    for (; x < in.w; x++) part[0][src[x]]++;
  }
  for (int v = 0; v < 256; v++) histogram[v] = part[0][v] + part[1][v] + part[2][v] + part[3][v];
}

void channel_stats(const Canvas& c, int channel, StatsStorage& s) {
  u32 raw[256];
  count_bytes(c.image, channel, raw);
  memset(s.histogram, 0, sizeof s.histogram);
  for (int v = 0; v < 256; v++) s.histogram[c.lut[channel][v]] += raw[v];
  finish_stats(s);
}

// Only count and sum: what an op on luma may read.
void luma_stats(const Canvas& c, int channels, StatsStorage& s) {
  const Planes& in = c.image;
  if (channels == 1) return channel_stats(c, 0, s);
  s.stats = {s.histogram, s.below, 0, 0, (u32)in.h * (u32)in.w, 0};
  int table[3][256];
  const int weight[3] = {19595, 38470, 7471};
  for (int k = 0; k < 3; k++)
    for (int v = 0; v < 256; v++) table[k][v] = weight[k] * c.lut[k][v] + (k == 0 ? 32768 : 0);
  for (int y = 0; y < in.h; y++) {
    const u8 *r = in.row(0, y), *g = in.row(1, y), *b = in.row(2, y);
    u32 sum = 0;  // a row is under 2^16 pixels
    if (c.lut_pending) for (int x = 0; x < in.w; x++) sum += (table[0][r[x]] + table[1][g[x]] + table[2][b[x]]) >> 16;
    else for (int x = 0; x < in.w; x++) sum += luma(r[x], g[x], b[x]);
    s.stats.sum += sum;
  }
}

}}}  // namespace
