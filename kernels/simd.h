// Table lookups over rows of bytes: by vector permutes where the instruction set has byte permutes (AVX-512 VBMI),
// else one by one. `flip` reads the row backwards.
#pragma once
#include <stddef.h>
#include <string.h>

#include "platform.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#define AE_VBMI 1
#include <immintrin.h>
#endif

namespace ae { namespace AE_ISA {

template <class T>
inline void look_up_each(const T* __restrict table, const u8* __restrict src, T* __restrict dst, int w, bool flip) {
  if (flip) for (int x = 0; x < w; x++) dst[x] = table[src[w - 1 - x]];
  else for (int x = 0; x < w; x++) dst[x] = table[src[x]];
}

#ifdef AE_VBMI

inline __mmask64 first_bytes(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

// A table of 256 bytes in four registers.
struct ByteTable {
  __m512i part[4];

  explicit ByteTable(const u8* table) {
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  __m512i operator[](__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], index, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }
};

// Unpacking byte planes works inside each of a register's four 16-byte lanes. `order` is the order in which source
// bytes must enter, so that `planes` planes unpack to outputs in order; backwards for a flipped row.
struct Order {
  alignas(64) u8 byte[64];
};

constexpr Order unpack_order(int planes, bool flip) {
  Order order = {};
  const int run = 16 / planes;  // outputs a lane and register
  for (int lane = 0; lane < 4; lane++)
    for (int i = 0; i < 16; i++) {
      const int output = planes == 1 ? lane * 16 + i : (i / run) * (4 * run) + lane * run + i % run;
      order.byte[lane * 16 + i] = (u8)(flip ? 63 - output : output);
    }
  return order;
}

template <int PLANES>
struct RowReader {
  static constexpr Order forward = unpack_order(PLANES, false), backward = unpack_order(PLANES, true);
  const u8* src;
  int w;
  bool flip;
  __m512i order;

  RowReader(const u8* src, int w, bool flip)
      : src(src), w(w), flip(flip), order(_mm512_load_si512(flip ? backward.byte : forward.byte)) {}
  // The source bytes of outputs x .. x + n.
  __m512i at(int x, int n) const {
    const u8* from = flip ? src + w - x - n : src + x;
    const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes(n), from);
    const __m512i missing = _mm512_set1_epi8((char)(flip ? 64 - n : 0));  // the last bytes of a row end before 63
    return _mm512_permutexvar_epi8(_mm512_sub_epi8(order, missing), bytes);
  }
};

inline void look_up(const u8* table, const u8* src, u8* dst, int w, bool flip) {
  const ByteTable bytes(table);
  const RowReader<1> row(src, w, flip);
  for (int x = 0; x < w; x += 64) {
    const int n = min_of(64, w - x);
    const __m512i index = row.at(x, n);
    _mm512_mask_storeu_epi8(dst + x, first_bytes(n), bytes[index]);
  }
}

// T is 2 or 4 bytes wide: that many byte planes, looked up apart and unpacked together.
template <class T>
struct PlaneTable {
  static constexpr int planes = sizeof(T);
  u8 bytes[planes][256];

  explicit PlaneTable(const T* table) {
    for (int v = 0; v < 256; v++)
      for (int p = 0; p < planes; p++) bytes[p][v] = ((const u8*)&table[v])[p];
  }
};

inline void store_values(void* dst, int valid_bytes, __m512i values) {
  _mm512_mask_storeu_epi8(dst, first_bytes(max_of(0, valid_bytes)), values);
}

inline void look_up(const PlaneTable<u16>& table, const u8* src, u16* dst, int w, bool flip) {
  const ByteTable low(table.bytes[0]), high(table.bytes[1]);
  const RowReader<2> row(src, w, flip);
  for (int x = 0; x < w; x += 64) {
    const int n = min_of(64, w - x);
    const __m512i index = row.at(x, n);
    const __m512i a = low[index], b = high[index];
    store_values(dst + x, 2 * n, _mm512_unpacklo_epi8(a, b));
    store_values(dst + x + 32, 2 * n - 64, _mm512_unpackhi_epi8(a, b));
  }
}

inline void look_up(const PlaneTable<float>& table, const u8* src, float* dst, int w, bool flip) {
  const ByteTable plane[4] = {ByteTable(table.bytes[0]), ByteTable(table.bytes[1]), ByteTable(table.bytes[2]),
                              ByteTable(table.bytes[3])};
  const RowReader<4> row(src, w, flip);
  for (int x = 0; x < w; x += 64) {
    const int n = min_of(64, w - x);
    const __m512i index = row.at(x, n);
    const __m512i a = plane[0][index], b = plane[1][index], c = plane[2][index], d = plane[3][index];
    const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    const __m512i out[4] = {_mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
                            _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)};
    for (int k = 0; k < 4; k++) {
      if (n == 64) _mm512_storeu_si512(dst + x + 16 * k, out[k]);
      else if (4 * n > 64 * k) store_values(dst + x + 16 * k, 4 * n - 64 * k, out[k]);
    }
  }
}

// Which of 192 interleaved bytes make channel k: the first permute sees bytes 0..127, the second takes the rest.
struct SplitOrder {
  alignas(64) u8 first[3][64], second[3][64];
};

constexpr SplitOrder split_order() {
  SplitOrder order = {};
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < 64; i++) {
      const int at = 3 * i + k;
      order.first[k][i] = (u8)(at < 128 ? at : 0);
      order.second[k][i] = (u8)(at < 128 ? i : 64 + at - 128);
    }
  return order;
}

inline void split_rgb(const u8* src, u8* r, u8* g, u8* b, int w) {
  static constexpr SplitOrder order = split_order();
  u8* const out[3] = {r, g, b};
  for (int x = 0; x < w; x += 64) {
    const int n = min_of(64, w - x), bytes = 3 * n;
    __m512i in[3];
    for (int i = 0; i < 3; i++) {
      const __mmask64 valid = first_bytes(max_of(0, bytes - 64 * i));
      in[i] = _mm512_maskz_loadu_epi8(valid, src + 3 * x + 64 * i);
    }
    for (int k = 0; k < 3; k++) {
      const __m512i ab = _mm512_permutex2var_epi8(in[0], _mm512_load_si512(order.first[k]), in[1]);
      const __m512i abc = _mm512_permutex2var_epi8(ab, _mm512_load_si512(order.second[k]), in[2]);
      _mm512_mask_storeu_epi8(out[k] + x, first_bytes(n), abc);
    }
  }
}

#else

template <class T>
struct PlaneTable {
  const T* values;
  explicit PlaneTable(const T* table) : values(table) {}
};

inline void look_up(const u8* table, const u8* src, u8* dst, int w, bool flip) { look_up_each(table, src, dst, w, flip); }

template <class T>
inline void look_up(const PlaneTable<T>& table, const u8* src, T* dst, int w, bool flip) {
  look_up_each(table.values, src, dst, w, flip);
}

inline void split_rgb(const u8* __restrict src, u8* __restrict r, u8* __restrict g, u8* __restrict b, int w) {
  for (int x = 0; x < w; x++) {
    r[x] = src[3 * x];
    g[x] = src[3 * x + 1];
    b[x] = src[3 * x + 2];
  }
}

#endif

}}  // namespace
