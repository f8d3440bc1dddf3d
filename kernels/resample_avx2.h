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

// Sixteen outputs of a row from pairs of input rows.
inline __m128i sixteen_of_rows(const Planes& in, int k, int x, int first, const PairOfTaps* taps, int pairs) {
  Sums sums[2];
  const __m256i zero = _mm256_setzero_si256();
  for (int p = 0; p < pairs; p++) {
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

inline void resample_rows(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int pairs = (axis.used + 1) / 2;
  PairOfTaps* taps = (PairOfTaps*)work;
  for (int y = 0; y < out.h; y++) {
    for (int p = 0; p < pairs; p++) taps[p] = pair_of(axis.taps + (size_t)y * axis.width + 2 * p, axis.width - 2 * p);
    for (int k = 0; k < channels; k++) {
      int x = 0;
      for (; x + 16 <= out.w; x += 16)
        _mm_storeu_si128((__m128i*)(out.row(k, y) + x), sixteen_of_rows(in, k, x, axis.first[y], taps, pairs));
      for (; x < out.w; x++) resample_row(in, out, k, y, x, axis);
    }
  }
}

// Eight outputs of a row: where their taps lie, and the taps, four at a time.
struct Block {
  __m256i start;
  __m256i* taps;  // for each four: low and high of the first two, low and high of the other two
};

inline void eight_columns(const Planes& in, const Planes& out, int k, int x, const Block& block, int groups) {
  const __m256i first_two = _mm256_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1, -1, 4, -1,
                                             5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
  const __m256i zero = _mm256_setzero_si256(), other_two = _mm256_or_si256(first_two, _mm256_set1_epi16(2));
  for (int y = 0; y < out.h; y++) {
    Sums sums;
    for (int g = 0; g < groups; g++) {
      const __m256i bytes = _mm256_i32gather_epi32((const int*)(in.row(k, y) + 4 * g), block.start, 1);
      sums.add(_mm256_shuffle_epi8(bytes, first_two), block.taps[4 * g], block.taps[4 * g + 1]);
      sums.add(_mm256_shuffle_epi8(bytes, other_two), block.taps[4 * g + 2], block.taps[4 * g + 3]);
    }
    const __m256i words = _mm256_packs_epi32(sums.rounded(), zero);
    const __m256i packed = _mm256_packus_epi16(words, zero);  // outputs 0-3 and 4-7, a lane each
    const int low = _mm256_extract_epi32(packed, 0), high = _mm256_extract_epi32(packed, 4);
    memcpy(out.row(k, y) + x, &low, 4);
    memcpy(out.row(k, y) + x + 4, &high, 4);
  }
}

inline void resample_columns(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int groups = (axis.used + 3) / 4;
  Block block = {_mm256_setzero_si256(), (__m256i*)work};
  int x = 0;
  for (; x + 8 <= out.w && axis.first[x + 7] + 4 * groups <= in.w; x += 8) {  // the gathers stay inside the row
    block.start = _mm256_loadu_si256((const __m256i*)(axis.first + x));
    for (int g = 0; g < groups; g++) {
      alignas(32) int taps[4][8];
      for (int i = 0; i < 8; i++)
        for (int half = 0; half < 2; half++) {
          const int at = 4 * g + 2 * half;
          const PairOfTaps pair = pair_of(axis.taps + (size_t)(x + i) * axis.width + at, axis.width - at);
          taps[2 * half][i] = pair.low;
          taps[2 * half + 1][i] = pair.high;
        }
      for (int p = 0; p < 4; p++) block.taps[4 * g + p] = _mm256_load_si256((const __m256i*)taps[p]);
    }
    for (int k = 0; k < channels; k++) eight_columns(in, out, k, x, block, groups);
  }
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < out.h; y++)
      for (int i = x; i < out.w; i++) resample_column(in, out, k, y, i, axis);
}

inline size_t work_ints(int width, int) { return (size_t)((width + 3) / 4) * 4 * 8 + 32; }

}}  // namespace
