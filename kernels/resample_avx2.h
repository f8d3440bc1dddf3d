// Resampling with AVX2: two taps in one 16-bit multiply-add. A coefficient is high * 2^11 + low, both in 16 bits, and
// the two sums are joined at the end.
#pragma once
#include <immintrin.h>

#include "axis.h"

namespace ae { namespace AE_ISA {

// The coefficients of a pair of taps, as a multiply-add takes them.
struct PairOfTaps {
  int low, high;
};

inline PairOfTaps pair_of(const int* taps, int count) {
  const int a = count > 0 ? taps[0] : 0, b = count > 1 ? taps[1] : 0;
  const int a_high = a >> 11, b_high = b >> 11;
  const u32 low = (u32)(a - a_high * 2048) | (u32)(b - b_high * 2048) << 16;
  return {(int)low, (int)(((u32)a_high & 0xffffu) | (u32)b_high << 16)};
}

// Sums of eight outputs.
struct Sums {
  __m256i low = _mm256_set1_epi32(1 << 21), high = _mm256_setzero_si256();
  void add(__m256i pairs, __m256i low_taps, __m256i high_taps) {
    low = _mm256_add_epi32(low, _mm256_madd_epi16(pairs, low_taps));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(pairs, high_taps));
  }
  __m256i rounded() const { return _mm256_srai_epi32(_mm256_add_epi32(low, _mm256_slli_epi32(high, 11)), 22); }
};

// Sixteen outputs of a row from pairs of input rows. PAIRS: how many where that is known, else 0.
template <int PAIRS>
AE_FN __m128i sixteen_of_rows(const Planes& in, int k, int x, int first, const PairOfTaps* taps, int pairs) {
  Sums sums[2];
  const __m256i zero = _mm256_setzero_si256();
  for (int p = 0; p < (PAIRS ? PAIRS : pairs); p++) {
    const u8* a = in.row(k, min_of(first + 2 * p, in.h - 1)) + x;  // behind the last row all taps are 0
    const u8* b = in.row(k, min_of(first + 2 * p + 1, in.h - 1)) + x;
    const __m128i ra = _mm_loadu_si128((const __m128i*)a), rb = _mm_loadu_si128((const __m128i*)b);
    const __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(ra, rb), _mm_unpacklo_epi8(ra, rb));
    const __m256i low = _mm256_set1_epi32(taps[p].low), high = _mm256_set1_epi32(taps[p].high);
    sums[0].add(_mm256_unpacklo_epi8(both, zero), low, high);  // outputs 0-3 and 8-11
    sums[1].add(_mm256_unpackhi_epi8(both, zero), low, high);  // outputs 4-7 and 12-15
  }
  const __m256i words = _mm256_packs_epi32(sums[0].rounded(), sums[1].rounded());
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

inline void resample_row(const Planes& in, const Planes& out, int k, int y, int x, const Axis& axis) {
  const int* taps = axis.taps + (size_t)y * axis.width;
  const int count = min_of(axis.used, in.h - axis.first[y]);
  int sum = 0;
  for (int j = 0; j < count; j++) sum += in.row(k, axis.first[y] + j)[x] * taps[j];
  out.row(k, y)[x] = round_taps(sum);
}

template <int PAIRS>
inline void blend_rows(const Planes& in, const Planes& out, int k, int y, const Axis& axis, const PairOfTaps* taps,
                       int pairs) {
  int x = 0;
  for (; x + 16 <= out.w; x += 16)
    _mm_storeu_si128((__m128i*)(out.row(k, y) + x), sixteen_of_rows<PAIRS>(in, k, x, axis.first[y], taps, pairs));
  for (; x < out.w; x++) resample_row(in, out, k, y, x, axis);
}

inline void resample_rows(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int pairs = (axis.used + 1) / 2;
  PairOfTaps* taps = (PairOfTaps*)work;
  const auto blend = pairs == 1 ? blend_rows<1> : pairs == 2 ? blend_rows<2> : blend_rows<0>;
  for (int y = 0; y < out.h; y++) {
    for (int p = 0; p < pairs; p++) taps[p] = pair_of(axis.taps + (size_t)y * axis.width + 2 * p, axis.width - 2 * p);
    for (int k = 0; k < channels; k++) blend(in, out, k, y, axis, taps, pairs);
  }
}

// Eight outputs of a row, as two fours: the taps of each lie in the 16 bytes from `start` on.
struct Eight {
  int start[2];
  bool fits;
};

// A pair of taps of eight outputs: where in the 16 bytes they lie, as words, and the taps.
struct PairTable {
  __m256i index, low, high;
};

// A tile is 16 outputs of two rows. Its first eight are 0-3 and 8-11: so packing leaves them in order.
enum : int { TILE = 16 };

inline Eight eight_of(const Planes& in, const Axis& axis, int x, PairTable* table, int pairs) {
  Eight e = {{0, 0}, in.w >= 16};
  alignas(32) int lane[3][8];
  for (int p = 0; p < pairs; p++) {
    for (int i = 0; i < 8; i++) {
      const int four = x + 2 * (i & 4), at = four + (i & 3);
      const int start = max_of(0, min_of(axis.first[four], in.w - 16));  // the 16 bytes lie inside the row
      const int from = axis.first[at] - start + 2 * p;
      e.start[i / 4] = start;
      e.fits &= min_of(axis.first[at] + axis.used, in.w) - start <= 16;
      const auto word = [](int byte) { return (u32)(byte < 16 ? byte : 128) | 128u << 8; };  // 128: a zero
      lane[0][i] = (int)(word(from) | word(from + 1) << 16);
      const PairOfTaps pair = pair_of(axis.taps + (size_t)at * axis.width + 2 * p, axis.width - 2 * p);
      lane[1][i] = pair.low;
      lane[2][i] = pair.high;
    }
    const auto loaded = [&](int j) { return _mm256_load_si256((const __m256i*)lane[j]); };
    table[p] = {loaded(0), loaded(1), loaded(2)};
  }
  return e;
}

template <int PAIRS>
AE_FN __m256i sum_columns(const u8* row, const Eight& e, const PairTable* table, int pairs) {
  const __m128i a = _mm_loadu_si128((const __m128i*)(row + e.start[0]));
  const __m128i b = _mm_loadu_si128((const __m128i*)(row + e.start[1]));
  const __m256i bytes = _mm256_set_m128i(b, a);
  Sums sums;
  for (int p = 0; p < (PAIRS ? PAIRS : pairs); p++)
    sums.add(_mm256_shuffle_epi8(bytes, table[p].index), table[p].low, table[p].high);
  return sums.rounded();
}

template <int PAIRS>
inline void blend_columns(const Planes& in, const Planes& out, int k, int x, int y0, int y1, const Eight* e,
                          const PairTable* table, int pairs) {
  const PairTable* const second = table + pairs;
  for (int y = y0; y < y1; y += 2) {
    const int below = min_of(y + 1, out.h - 1);  // the last row alone is written twice
    const u8 *const upper = in.row(k, y), *const lower = in.row(k, below);
    const __m256i a = _mm256_packs_epi32(sum_columns<PAIRS>(upper, e[0], table, pairs),
                                         sum_columns<PAIRS>(upper, e[1], second, pairs));
    const __m256i b = _mm256_packs_epi32(sum_columns<PAIRS>(lower, e[0], table, pairs),
                                         sum_columns<PAIRS>(lower, e[1], second, pairs));
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
    _mm_storeu_si128((__m128i*)(out.row(k, y) + x), _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i*)(out.row(k, below) + x), _mm256_extracti128_si256(bytes, 1));
  }
}

// A few rows at a time, all their tiles: a photo's rows come from memory once, and in order.
inline void resample_columns(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  enum : int { ROWS = 16 };
  const int pairs = (axis.used + 1) / 2, tiles = (out.w + TILE - 1) / TILE;
  PairTable* const tables = (PairTable*)work;  // two of `pairs` a tile
  Eight* const eights = (Eight*)(tables + (size_t)2 * pairs * tiles);
  const auto blend = pairs == 1 ? blend_columns<1> : pairs == 2 ? blend_columns<2> : blend_columns<0>;
  for (int i = 0; i < 2 * tiles; i++) {
    const int from = min_of(i / 2 * TILE, out.w - TILE);  // the last tile may overlap the one before
    eights[i] = from < 0 ? Eight{} : eight_of(in, axis, from + 4 * (i % 2), tables + (size_t)pairs * i, pairs);
  }
  for (int y0 = 0; y0 < out.h; y0 += ROWS) {
    const int y1 = min_of(y0 + ROWS, out.h);
    for (int k = 0; k < channels; k++)
      for (int t = 0; t < tiles; t++) {
        const Eight* const e = eights + 2 * t;
        const int x = t * TILE, end = min_of(x + TILE, out.w);
        if (e[0].fits && e[1].fits) blend(in, out, k, end - TILE, y0, y1, e, tables + (size_t)2 * pairs * t, pairs);
        else for (int y = y0; y < y1; y++) resample_span(in, out, k, y, x, end, axis);
      }
  }
}

// across, down: the taps of an output along x and y.
inline size_t work_ints(int across, int down, int, int out_w, int) {
  const size_t tiles = (out_w + TILE - 1) / TILE, tile = (across + 1) * sizeof(PairTable) + 2 * sizeof(Eight);
  return (tiles * tile + (down + 1) * sizeof(PairOfTaps)) / sizeof(int) + 32;
}

}}  // namespace
