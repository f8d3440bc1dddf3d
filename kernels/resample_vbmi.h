// Resampling with AVX-512 VBMI and VNNI: four taps in one instruction, gathered by byte permutes.
#pragma once
#include "axis.h"

namespace ae { namespace AE_ISA {

// A coefficient is three signed base-256 digits. plane[i] holds digit i of all coefficients of an axis, as bytes.
struct Digits {
  u8* plane[3];
  int words;  // of four taps, for each output

  int word(int i, int at, int g) const {
    int taps;
    memcpy(&taps, plane[i] + 4 * ((size_t)at * words + g), 4);
    return taps;
  }
};

inline size_t digit_bytes(int width, int outputs) { return ((size_t)width * outputs + 63) & ~(size_t)63; }

inline Digits digits_of(const Axis& axis, int outputs, u8* memory) {
  const size_t bytes = digit_bytes(axis.width, outputs);
  const Digits d = {{memory, memory + bytes, memory + 2 * bytes}, axis.width / 4};
  const int count = axis.width * outputs;
  for (int at = 0; at < count; at += 16) {
    __m512i rest = _mm512_maskz_loadu_epi32((__mmask16)first_bytes(min_of(16, count - at)), axis.taps + at);
    for (u8* plane : d.plane) {
      const __m512i digit = _mm512_srai_epi32(_mm512_slli_epi32(rest, 24), 24);
      _mm_store_si128((__m128i*)(plane + at), _mm512_cvtepi32_epi8(rest));
      rest = _mm512_srai_epi32(_mm512_sub_epi32(rest, digit), 8);
    }
  }
  return d;
}

// Sums of sixteen outputs, digit by digit.
struct Sums {
  __m512i digit[3] = {_mm512_set1_epi32(1 << 21), _mm512_setzero_si512(), _mm512_setzero_si512()};

  AE_FN void add(__m512i bytes, const __m512i* d) {
    for (int i = 0; i < 3; i++) digit[i] = _mm512_dpbusd_epi32(digit[i], bytes, d[i]);
  }
  AE_FN __m512i joined() const {
    const __m512i high = _mm512_add_epi32(_mm512_slli_epi32(digit[1], 8), _mm512_slli_epi32(digit[2], 16));
    return _mm512_add_epi32(digit[0], high);
  }
};

// The same where the taps are four: the highest digit first, shifted on the way.
AE_FN __m512i sum_of_four(__m512i bytes, const __m512i* d) {
  const __m512i high = _mm512_dpbusd_epi32(_mm512_set1_epi32(1 << 5), bytes, d[2]);
  const __m512i middle = _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 8), bytes, d[1]);
  return _mm512_dpbusd_epi32(_mm512_slli_epi32(middle, 8), bytes, d[0]);
}

// Where the upper 16-bit halves of two registers of sums lie: all of the first and then of the second ...
struct WordOrder {
  alignas(64) u16 word[32];
};

constexpr WordOrder upper_words(bool by_lane) {  // ... or a lane of each in turn
  WordOrder order = {};
  for (int i = 0; i < 32; i++)
    order.word[i] = (u16)(by_lane ? (i & 4 ? 32 : 0) + (i / 8) * 8 + (i & 3) * 2 + 1 : 2 * i + 1);
  return order;
}

// The bytes of 64 sums, those of a and b in the lower half of each lane.
template <bool BY_LANE>
AE_FN __m512i rounded(__m512i a, __m512i b, __m512i c, __m512i d) {
  static constexpr WordOrder words = upper_words(BY_LANE);
  const __m512i order = _mm512_load_si512(words.word);
  const __m512i ab = _mm512_srai_epi16(_mm512_permutex2var_epi16(a, order, b), 6);
  const __m512i cd = _mm512_srai_epi16(_mm512_permutex2var_epi16(c, order, d), 6);
  return _mm512_packus_epi16(ab, cd);
}

// 64 columns of four rows: a quad register holds four columns of each lane.
struct FourRows {
  __m512i quad[4];

  template <class RowOf>
  AE_FN FourRows(RowOf row_of, __mmask64 valid) {
    __m512i r[4];
    for (int j = 0; j < 4; j++) r[j] = _mm512_maskz_loadu_epi8(valid, row_of(j));
    const __m512i a = _mm512_unpacklo_epi8(r[0], r[1]), b = _mm512_unpackhi_epi8(r[0], r[1]);
    const __m512i c = _mm512_unpacklo_epi8(r[2], r[3]), d = _mm512_unpackhi_epi8(r[2], r[3]);
    quad[0] = _mm512_unpacklo_epi16(a, c);
    quad[1] = _mm512_unpackhi_epi16(a, c);
    quad[2] = _mm512_unpacklo_epi16(b, d);
    quad[3] = _mm512_unpackhi_epi16(b, d);
  }
};

template <bool FOUR>
inline void blend_rows(const Planes& in, u8* dst, int k, int first, const __m512i* digits, int groups) {
  const __m512i four[3] = {digits[0], digits[1], digits[2]};  // stay in registers
  for (int x = 0; x < in.w; x += 64) {
    const __mmask64 valid = first_bytes(in.w - x);
    const auto quads = [&](int g) {  // behind the last row all taps are 0
      return FourRows([&](int j) { return in.row(k, min_of(first + 4 * g + j, in.h - 1)) + x; }, valid);
    };
    __m512i sum[4];
    if constexpr (FOUR) {
      const FourRows q = quads(0);
      for (int i = 0; i < 4; i++) sum[i] = sum_of_four(q.quad[i], four);
    } else {
      Sums sums[4];
      for (int g = 0; g < groups; g++) {
        const FourRows q = quads(g);
        for (int i = 0; i < 4; i++) sums[i].add(q.quad[i], digits + 3 * g);
      }
      for (int i = 0; i < 4; i++) sum[i] = sums[i].joined();
    }
    _mm512_mask_storeu_epi8(dst + x, valid, rounded<true>(sum[0], sum[1], sum[2], sum[3]));
  }
}

inline void resample_rows(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int groups = (axis.used + 3) / 4;
  __m512i* digits = (__m512i*)work;
  const Digits d = digits_of(axis, out.h, (u8*)(digits + 3 * groups));
  for (int y = 0; y < out.h; y++) {
    for (int g = 0; g < groups; g++)
      for (int i = 0; i < 3; i++) digits[3 * g + i] = _mm512_set1_epi32(d.word(i, y, g));
    for (int k = 0; k < channels; k++)
      (groups == 1 ? blend_rows<true> : blend_rows<false>)(in, out.row(k, y), k, axis.first[y], digits, groups);
  }
}

// Sixteen outputs of a row. Their taps lie in the `bytes` bytes from `start` on, of which the row has `near` and `far`.
struct Sixteen {
  int start, bytes;
  __mmask64 near, far;
};

// A tile is 32 outputs of two rows. ROWS: how many a tile's tables stay in registers for; so many fit the first cache.
enum : int { TILE = 32, WINDOW = 128, ROWS = 16 };

inline Sixteen sixteen_of(const Planes& in, const Planes& out, const Axis& axis, const Digits& d, int x, __m512i* table,
                          int groups) {
  int at[16];
  for (int i = 0; i < 16; i++) at[i] = min_of(x + i, out.w - 1);
  const int start = axis.first[at[0]], bytes = axis.first[at[15]] + 4 * groups - start;
  for (int g = 0; g < groups && bytes <= WINDOW; g++) {
    alignas(64) int lane[4][16];
    for (int i = 0; i < 16; i++) {
      lane[0][i] = (axis.first[at[i]] - start + 4 * g) * 0x01010101 + 0x03020100;  // four bytes in a row
      for (int p = 0; p < 3; p++) lane[1 + p][i] = d.word(p, at[i], g);
    }
    table[g] = _mm512_load_si512(lane[0]);
    for (int p = 0; p < 3; p++) table[groups + 3 * g + p] = _mm512_load_si512(lane[1 + p]);
  }
  return {start, bytes, first_bytes(in.w - start), first_bytes(max_of(0, in.w - start - 64))};
}

// A column of tiles, given what to read and what to take for a row.
template <class SumOf>
AE_FN void each_tile(const Planes& in, const Planes& out, int k, int x, int y0, int y1, SumOf sum_of) {
  const __mmask32 valid = (__mmask32)first_bytes(min_of(TILE, out.w - x));
  for (int y = y0; y < y1; y += 2) {
    const int below = min_of(y + 1, out.h - 1);  // the last row alone is written twice
    const u8 *const upper = in.row(k, y), *const lower = in.row(k, below);
    const __m512i mixed = rounded<false>(sum_of(upper, 0), sum_of(upper, 1), sum_of(lower, 0), sum_of(lower, 1));
    const __m512i bytes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), mixed);
    _mm256_mask_storeu_epi8(out.row(k, y) + x, valid, _mm512_castsi512_si256(bytes));
    _mm256_mask_storeu_epi8(out.row(k, below) + x, valid, _mm512_extracti64x4_epi64(bytes, 1));
  }
}

inline void blend_columns(const Planes& in, const Planes& out, int k, int x, int y0, int y1, const Axis& axis,
                          const Sixteen* s, const __m512i* table, int groups) {
  const int bytes = max_of(s[0].bytes, s[1].bytes);
  if (groups == 1 && bytes <= WINDOW / 2) {
    const __m512i t[2][4] = {{table[0], table[1], table[2], table[3]}, {table[4], table[5], table[6], table[7]}};
    const __mmask64 near[2] = {s[0].near, s[1].near};
    const int start[2] = {s[0].start, s[1].start};
    const ptrdiff_t stride = in.stride;
    each_tile(in, out, k, x, y0, y1, [&](const u8* row, int half) {
      const __m512i line = _mm512_maskz_loadu_epi8(near[half], row + start[half]);
      _mm_prefetch((const char*)(row + start[half] + ROWS * stride), _MM_HINT_T0);
      return sum_of_four(_mm512_permutexvar_epi8(t[half][0], line), t[half] + 1);
    });
  } else if (bytes <= WINDOW) {
    each_tile(in, out, k, x, y0, y1, [&](const u8* row, int half) {
      const __m512i* const index = table + 4 * groups * half;
      const __m512i a = _mm512_maskz_loadu_epi8(s[half].near, row + s[half].start);
      const __m512i b = _mm512_maskz_loadu_epi8(s[half].far, row + s[half].start + 64);
      Sums sums;
      for (int g = 0; g < groups; g++) sums.add(_mm512_permutex2var_epi8(a, index[g], b), index + groups + 3 * g);
      return sums.joined();
    });
  } else {
    for (int y = y0; y < y1; y++) resample_span(in, out, k, y, x, min_of(x + TILE, out.w), axis);
  }
}

inline void resample_columns(const Planes& in, const Planes& out, int channels, const Axis& axis, int* work) {
  const int groups = (axis.used + 3) / 4, tiles = (out.w + TILE - 1) / TILE;
  __m512i* const tables = (__m512i*)work;
  Sixteen* const sixteens = (Sixteen*)(tables + (size_t)tiles * 8 * groups);
  const Digits d = digits_of(axis, out.w, (u8*)(sixteens + 2 * (tiles + 1)));
  for (int i = 0; i < 2 * tiles; i++)
    sixteens[i] = sixteen_of(in, out, axis, d, 16 * i, tables + (size_t)4 * groups * i, groups);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < out.h; y += ROWS)
      for (int t = 0; t < tiles; t++)
        blend_columns(in, out, k, t * TILE, y, min_of(y + ROWS, out.h), axis, sixteens + 2 * t,
                      tables + (size_t)8 * groups * t, groups);
}

// across, down: the taps of an output along x and y.
inline size_t work_ints(int across, int down, int, int out_w, int out_h) {
  const size_t tiles = (out_w + TILE - 1) / TILE, digits = (size_t)across * out_w + (size_t)down * out_h + 2 * 128;
  return tiles * across * 32 + (tiles + 1) * 2 * sizeof(Sixteen) / 4 + digits * 3 / 4 + 3 * 4 * (size_t)down + 32;
}

}}  // namespace
