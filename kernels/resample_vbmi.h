// Resampling with AVX-512 VBMI and VNNI: four taps in one instruction, gathered by byte permutes.
#pragma once
#include "axis.h"

namespace ae { namespace AE_ISA {

// A coefficient is three signed base-256 digits, summed apart and joined at the end.
struct Digits {
  int word[3];
};

inline Digits digits_of(const int* taps, int count) {
  Digits d = {{0, 0, 0}};
  for (int j = 0; j < min_of(4, count); j++) {
    int rest = taps[j];
    for (int i = 0; i < 3; i++) {
      const int digit = i < 2 ? (int)(signed char)rest : rest;
      d.word[i] |= (int)((u32)(u8)digit << (8 * j));
      rest = (rest - digit) >> 8;
    }
  }
  return d;
}

struct Sums {
  __m512i digit[3];
  Sums() : digit{_mm512_set1_epi32(1 << 21), _mm512_setzero_si512(), _mm512_setzero_si512()} {}
  void add(__m512i bytes, const __m512i* d) {
    for (int i = 0; i < 3; i++) digit[i] = _mm512_dpbusd_epi32(digit[i], bytes, d[i]);
  }
  __m512i rounded() const {
    const __m512i high = _mm512_add_epi32(_mm512_slli_epi32(digit[1], 8), _mm512_slli_epi32(digit[2], 16));
    return _mm512_srai_epi32(_mm512_add_epi32(digit[0], high), 22);
  }
};

inline void resample_rows(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int groups = (axis.width + 3) / 4;
  __m512i* digits = (__m512i*)work;
  for (int y = 0; y < out.h; y++) {
    for (int g = 0; g < groups; g++) {
      const Digits d = digits_of(axis.taps + (size_t)y * axis.width + 4 * g, axis.width - 4 * g);
      for (int i = 0; i < 3; i++) digits[3 * g + i] = _mm512_set1_epi32(d.word[i]);
    }
    for (int k = 0; k < channels; k++)
      for (int x = 0; x < out.w; x += 64) {
        const __mmask64 valid = first_bytes(out.w - x);
        Sums sums[4];
        for (int g = 0; g < groups; g++) {
          __m512i r[4];
          for (int j = 0; j < 4; j++) {
            const int row = min_of(axis.first[y] + 4 * g + j, in.h - 1);  // behind the last row all taps are 0
            r[j] = _mm512_maskz_loadu_epi8(valid, in.row(k, row) + x);
          }
          const __m512i a = _mm512_unpacklo_epi8(r[0], r[1]), b = _mm512_unpackhi_epi8(r[0], r[1]);
          const __m512i c = _mm512_unpacklo_epi8(r[2], r[3]), d = _mm512_unpackhi_epi8(r[2], r[3]);
          sums[0].add(_mm512_unpacklo_epi16(a, c), digits + 3 * g);
          sums[1].add(_mm512_unpackhi_epi16(a, c), digits + 3 * g);
          sums[2].add(_mm512_unpacklo_epi16(b, d), digits + 3 * g);
          sums[3].add(_mm512_unpackhi_epi16(b, d), digits + 3 * g);
        }
        const __m512i low = _mm512_packs_epi32(sums[0].rounded(), sums[1].rounded());
        const __m512i high = _mm512_packs_epi32(sums[2].rounded(), sums[3].rounded());
        _mm512_mask_storeu_epi8(out.row(k, y) + x, valid, _mm512_packus_epi16(low, high));
      }
  }
}

// Sixteen outputs of a row: where in a window of 128 bytes their taps lie, four at a time.
struct Block {
  int start;  // of the window
  __m512i* index;
  __m512i* digits;
};

template <int GROUPS>
inline void block_columns(const Planes& in, const Planes& out, int k, int x, const Block& block, int groups) {
  const int count = GROUPS ? GROUPS : groups;
  const __mmask64 near = first_bytes(in.w - block.start), far = first_bytes(max_of(0, in.w - block.start - 64));
  const __mmask16 valid = (__mmask16)first_bytes(min_of(16, out.w - x));
  for (int y = 0; y < out.h; y++) {
    const u8* src = in.row(k, y) + block.start;
    const __m512i a = _mm512_maskz_loadu_epi8(near, src), b = _mm512_maskz_loadu_epi8(far, src + 64);
    Sums sums;
    for (int g = 0; g < count; g++) sums.add(_mm512_permutex2var_epi8(a, block.index[g], b), block.digits + 3 * g);
    const __m512i value = _mm512_max_epi32(sums.rounded(), _mm512_setzero_si512());
    _mm512_mask_cvtusepi32_storeu_epi8(out.row(k, y) + x, valid, value);
  }
}

inline void resample_columns(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int groups = (axis.width + 3) / 4;
  Block block = {0, (__m512i*)work, (__m512i*)work + groups};
  for (int x = 0; x < out.w; x += 16) {
    const int n = min_of(16, out.w - x);
    block.start = axis.first[x];
    if (axis.first[x + n - 1] + 4 * groups - block.start > 128) {
      for (int k = 0; k < channels; k++)
        for (int y = 0; y < out.h; y++)
          for (int i = x; i < x + n; i++) resample_column(in, out, k, y, i, axis);
      continue;
    }
    for (int g = 0; g < groups; g++) {
      alignas(64) u8 index[64];
      alignas(64) int digits[3][16];
      for (int i = 0; i < 16; i++) {
        const int at = x + min_of(i, n - 1);
        for (int j = 0; j < 4; j++) index[4 * i + j] = (u8)(axis.first[at] - block.start + 4 * g + j);
        const Digits d = digits_of(axis.taps + (size_t)at * axis.width + 4 * g, axis.width - 4 * g);
        for (int p = 0; p < 3; p++) digits[p][i] = d.word[p];
      }
      block.index[g] = _mm512_load_si512(index);
      for (int p = 0; p < 3; p++) block.digits[3 * g + p] = _mm512_load_si512(digits[p]);
    }
    for (int k = 0; k < channels; k++) {
      if (groups == 1) block_columns<1>(in, out, k, x, block, groups);
      else if (groups == 2) block_columns<2>(in, out, k, x, block, groups);
      else block_columns<0>(in, out, k, x, block, groups);
    }
  }
}

inline size_t work_ints(int width, int) { return (size_t)((width + 3) / 4) * 4 * 16 + 32; }

}}  // namespace
