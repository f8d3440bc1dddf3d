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
  for (int v = 0; v < 256; v++) {
    lo += s.below[v] + s.histogram[v] == 0;
    hi += s.below[v] + s.histogram[v] < count;
  }
  s.stats = {s.histogram, s.below, lo, hi, count, 0};
}

// Many tables, because neighbouring pixels are often equal and one counter would wait for itself; of 16 bits, so that
// they stay in the first cache. Two share each word, because neighbours are often alike and a processor may write twice
// a cycle into one line. All together may count 65,535 pixels, so that no half carries into the other.
template <int PAIRS>
struct Counters {
  enum : int { MOST = 65535 };
  typedef u16 __attribute__((may_alias)) Half;
  alignas(64) u32 word[PAIRS][256];

  void clear() { memset(word, 0, sizeof word); }

  // Out of line, so that a register of its own addresses the tables.
  __attribute__((noinline)) void count(const u8* src, int n) {
    int x = 0;
    for (; x + 2 * PAIRS <= n; x += 2 * PAIRS)
      for (int j = 0; j < PAIRS; j += 4) {
        u64 eight;
        memcpy(&eight, src + x + 2 * j, 8);
        for (int i = 0; i < 8; i++) ((Half*)&word[j + i / 2][(u8)(eight >> (8 * i))])[i % 2]++;
      }
    for (; x < n; x++) ((Half*)&word[0][src[x]])[0]++;
  }
  void add_to(u32* histogram) const {
    for (int v = 0; v < 256; v++) {
      u32 sum = 0;
      for (int j = 0; j < PAIRS; j++) sum += word[j][v];
      histogram[v] += (sum & 0xffff) + (sum >> 16);
    }
  }
};

template <int PAIRS>
void count_channel(const Planes& image, int channel, u32* histogram) {
  Counters<PAIRS> counters;
  counters.clear();
  memset(histogram, 0, 256 * sizeof(u32));
  int room = counters.MOST;
  each_run(image, [&](ptrdiff_t at, int n) {
    while (n > room) {
      counters.count(image.p[channel] + at, room);
      at += room;
      n -= room;
      counters.add_to(histogram);
      counters.clear();
      room = counters.MOST;
    }
    counters.count(image.p[channel] + at, n);
    room -= n;
  });
  counters.add_to(histogram);
}

bool is_small(const Planes& image) { return image.w * image.h < 8192; }

// A small image's pending table is written before a histogram: that takes less time than adding up the counts of the
// values that the table makes equal.
void materialise_small(Canvas& c, int channels) {
  if (is_small(c.image)) materialise_table(c, channels);
}

// The histogram of a channel; all but the sum.
void channel_stats(const Canvas& c, int channel, StatsStorage& s) {
  if (is_small(c.image)) count_channel<4>(c.image, channel, s.histogram);  // fewer to clear
  else count_channel<8>(c.image, channel, s.histogram);
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
  each_run(c.image, [&](ptrdiff_t at, int n) {
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
  s.stats = {s.histogram, s.below, 0, 0, (u32)in.h * (u32)in.w, 0};
  if (channels == 1)
    return each_run(in, [&](ptrdiff_t at, int n) { for (int x = 0; x < n; x++) s.stats.sum += in.p[0][at + x]; });
  each_run(in, [&](ptrdiff_t at, int n) {
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
