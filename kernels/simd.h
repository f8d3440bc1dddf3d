// Tables over rows of bytes: by vector permutes where the instruction set has byte permutes (AVX-512 VBMI), by gathers
// with AVX2, else one by one.
#pragma once
#include <stddef.h>
#include <string.h>

#include "lanes.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#define AE_VBMI 1
#endif

namespace ae { namespace AE_ISA {

// Rows of bytes that are looked up, and where the results go; strides in elements. Each row of `src` is read backwards
// if `flip`. Without `flip`, rows without gaps are one long row.
template <class T>
struct Rows {
  const u8* src;
  ptrdiff_t src_stride;
  T* dst;
  ptrdiff_t dst_stride;
  int w, h;
  bool flip;

  bool has_gaps() const { return h > 1 && (src_stride != w || dst_stride != w); }
};

#ifdef AE_VBMI

inline __mmask64 first_bytes(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

// A table of 256 bytes in four registers.
struct ByteTable {
  __m512i part[4];

  ByteTable() = default;
  explicit ByteTable(const u8* table) {
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  __m512i operator[](__m512i index) const { return at(index, _mm512_movepi8_mask(index)); }
  __m512i at(__m512i index, __mmask64 upper) const {  // `upper`: where the index is 128 or more
    const __m512i low = _mm512_permutex2var_epi8(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], index, part[3]);
    return _mm512_mask_blend_epi8(upper, low, high);
  }
};

// A table from bytes to T, of 1, 2 or 4 bytes: a plane for each byte of T, looked up apart and unpacked together.
template <class T>
struct Table {
  alignas(64) u8 plane[sizeof(T)][256];

  void set(const T* values) {
    if constexpr (sizeof(T) == 1) memcpy(plane, values, 256);
    if constexpr (sizeof(T) == 2)
      for (int p = 0; p < 2; p++)
        for (int v = 0; v < 256; v += 32)
          _mm256_store_si256((__m256i*)(plane[p] + v), _mm512_cvtepi16_epi8(_mm512_srli_epi16(_mm512_loadu_si512(values + v), 8 * p)));
    if constexpr (sizeof(T) == 4)
      for (int p = 0; p < 4; p++)
        for (int v = 0; v < 256; v += 16)
          _mm_store_si128((__m128i*)(plane[p] + v), _mm512_cvtepi32_epi8(_mm512_srli_epi32(_mm512_loadu_si512(values + v), 8 * p)));
  }
  void set(const T* values, const float*) { set(values); }
  void set(const Table& outer, const u8* inner) {  // v -> outer[inner[v]]
    for (unsigned p = 0; p < sizeof(T); p++) {
      const ByteTable bytes(outer.plane[p]);
      for (int v = 0; v < 256; v += 64)
        _mm512_store_si512(plane[p] + v, bytes[_mm512_loadu_si512(inner + v)]);
    }
  }
};

// Unpacking byte planes works inside each of a register's four 16-byte lanes. This is the order in which source bytes
// must enter, so that `planes` planes unpack to outputs in order.
struct Order {
  alignas(64) u8 byte[64];
};

constexpr Order unpack_order(int planes) {
  Order order = {};
  const int run = 16 / planes;  // outputs a lane and register
  for (int lane = 0; lane < 4; lane++)
    for (int i = 0; i < 16; i++)
      order.byte[lane * 16 + i] = (u8)(planes == 1 ? lane * 16 + i : (i / run) * (4 * run) + lane * run + i % run);
  return order;
}

template <class T>
struct LookUp {
  static constexpr Order order = unpack_order(sizeof(T));
  ByteTable plane[sizeof(T)];

  explicit LookUp(const Table<T>& table) {
    for (unsigned p = 0; p < sizeof(T); p++) plane[p] = ByteTable(table.plane[p]);
  }

  // `index`: n source bytes in the order above.
  template <bool STREAM>
  AE_FN void write(__m512i index, T* dst, int n) const {
    const __mmask64 upper = _mm512_movepi8_mask(index);
    __m512i bytes[4], out[4];
    for (unsigned p = 0; p < sizeof(T); p++) bytes[p] = plane[p].at(index, upper);
    if constexpr (sizeof(T) == 1) out[0] = bytes[0];
    if constexpr (sizeof(T) == 2) {
      out[0] = _mm512_unpacklo_epi8(bytes[0], bytes[1]);
      out[1] = _mm512_unpackhi_epi8(bytes[0], bytes[1]);
    }
    if constexpr (sizeof(T) == 4) {
      const __m512i ab0 = _mm512_unpacklo_epi8(bytes[0], bytes[1]), ab1 = _mm512_unpackhi_epi8(bytes[0], bytes[1]);
      const __m512i cd0 = _mm512_unpacklo_epi8(bytes[2], bytes[3]), cd1 = _mm512_unpackhi_epi8(bytes[2], bytes[3]);
      out[0] = _mm512_unpacklo_epi16(ab0, cd0);
      out[1] = _mm512_unpackhi_epi16(ab0, cd0);
      out[2] = _mm512_unpacklo_epi16(ab1, cd1);
      out[3] = _mm512_unpackhi_epi16(ab1, cd1);
    }
    constexpr int each = 64 / sizeof(T);
    for (unsigned p = 0; p < sizeof(T); p++) {
      if (STREAM) _mm512_stream_si512((__m512i*)(dst + each * p), out[p]);
      else if (n == 64) _mm512_storeu_si512(dst + each * p, out[p]);
      else _mm512_mask_storeu_epi8(dst + each * p, first_bytes(max_of(0, (n - each * (int)p) * (int)sizeof(T))), out[p]);
    }
  }

  // Whole blocks of 64, then the rest. `mirror`: what the order in a block is xored with (width - 1 of rows that fill it).
  template <bool STREAM>
  AE_FN void forward(const u8* src, T* dst, i64 n, int mirror) const {
    const LookUp table = *this;  // a copy that no store can reach stays in registers
    const __m512i from = _mm512_xor_si512(_mm512_load_si512(order.byte), _mm512_set1_epi8((char)mirror));
    i64 x = 0;
    for (; x + 64 <= n; x += 64)
      table.template write<STREAM>(_mm512_permutexvar_epi8(from, _mm512_loadu_si512(src + x)), dst + x, 64);
    if (x == n) return;
    const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes((int)(n - x)), src + x);
    table.template write<false>(_mm512_permutexvar_epi8(from, bytes), dst + x, (int)(n - x));
  }

  template <bool STREAM>
  AE_FN void backward(const u8* src, T* dst, int w) const {
    const LookUp table = *this;
    const __m512i from = _mm512_sub_epi8(_mm512_set1_epi8(63), _mm512_load_si512(order.byte));
    int x = 0;
    for (; x + 64 <= w; x += 64)
      table.template write<STREAM>(_mm512_permutexvar_epi8(from, _mm512_loadu_si512(src + w - x - 64)), dst + x, 64);
    if (x == w) return;
    const int n = w - x;  // the last bytes of a row end before 63
    const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes(n), src);
    table.template write<false>(_mm512_permutexvar_epi8(_mm512_sub_epi8(from, _mm512_set1_epi8((char)(64 - n))), bytes), dst + x, n);
  }

  template <bool STREAM>
  void run(const Rows<T>& r) const {
    const bool fills_blocks = r.w <= 64 && (r.w & (r.w - 1)) == 0;
    if (!r.has_gaps() && (!r.flip || fills_blocks))
      return forward<STREAM>(r.src, r.dst, (i64)r.w * r.h, r.flip ? r.w - 1 : 0);
    for (int y = 0; y < r.h; y++) {
      if (r.flip) backward<STREAM>(r.src + y * r.src_stride, r.dst + y * r.dst_stride, r.w);
      else forward<STREAM>(r.src + y * r.src_stride, r.dst + y * r.dst_stride, r.w, 0);
    }
  }
};

// `stream`: past the caches. It needs rows that begin at multiples of 64 bytes.
template <class T>
inline void look_up(const Table<T>& table, const Rows<T>& rows, bool stream) {
  const bool aligned = (size_t)rows.dst % 64 == 0 && (rows.h == 1 || rows.dst_stride * sizeof(T) % 64 == 0);
  if (stream && aligned) LookUp<T>(table).template run<true>(rows);
  else LookUp<T>(table).template run<false>(rows);
}

inline const u8* bytes_of(const Table<u8>& table) { return table.plane[0]; }

// Copies a line in cache past the caches.
inline void stream_line(const void* src, void* dst, size_t bytes) {
  if ((size_t)dst % 64 || bytes % 64) {
    memcpy(dst, src, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += 64)
    _mm512_stream_si512((__m512i*)((u8*)dst + i), _mm512_loadu_si512((const u8*)src + i));
}

inline void end_stream() { _mm_sfence(); }

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

// Rows of a plane, shifted: out(x, y) = src(x + left, y + top) where that lies inside in_w x in_h, else `fill`.
inline void shift_rows(const u8* src, ptrdiff_t stride, int in_w, int in_h, int left, int top, u8 fill, u8* dst, int w,
                       int h) {
  const __m512i fills = _mm512_set1_epi8((char)fill);
  const int first = clamp(-top, 0, h), last = clamp(in_h - top, first, h);
  for (int x = 0; x < w; x += 64) {
    const int from = clamp(-left - x, 0, 64), to = clamp(in_w - left - x, 0, 64);
    const __mmask64 inside = first_bytes(to) & ~first_bytes(from), valid = first_bytes(w - x);
    for (int y = 0; y < first; y++) _mm512_mask_storeu_epi8(dst + (ptrdiff_t)y * w + x, valid, fills);
    for (int y = first; y < last; y++) {
      const u8* const line = src + (y + top) * stride + left + x;
      _mm512_mask_storeu_epi8(dst + (ptrdiff_t)y * w + x, valid, _mm512_mask_loadu_epi8(fills, inside, line));
    }
    for (int y = last; y < h; y++) _mm512_mask_storeu_epi8(dst + (ptrdiff_t)y * w + x, valid, fills);
  }
}

template <class T>
AE_FN __m512i block_of(T value) {
  u32 bits = 0;
  memcpy(&bits, &value, sizeof value);
  return sizeof(T) == 1 ? _mm512_set1_epi8((char)bits) : sizeof(T) == 2 ? _mm512_set1_epi16((short)bits) : _mm512_set1_epi32((int)bits);
}

template <class T>
inline void fill_values(T* dst, int n, T value) {
  const __m512i block = block_of(value);
  const int bytes = n * (int)sizeof(T);
  int i = 0;
  for (; i + 64 <= bytes; i += 64) _mm512_storeu_si512((u8*)dst + i, block);
  if (i < bytes) _mm512_mask_storeu_epi8((u8*)dst + i, first_bytes(bytes - i), block);
}

#else

inline void store_values(float* to, Floats v) { memcpy(to, &v, sizeof v); }

// ((byte / 255) - mean) / std in the steps of augengine/plan.py, which are torchvision's.
inline Floats normalised(const u8* bytes, const float* mean_std) {
#ifdef __AVX2__
  const Ints v = (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)bytes));
#else
  Ints v;
  for (int i = 0; i < LANES; i++) v[i] = bytes[i];
#endif
  return (to_float(v) * (float)(1.0 / 255.0) - mean_std[0]) / mean_std[1];
}

template <class T>
struct Table {
  T values[256];
  const float* mean_std = nullptr;  // where computing a value gives the same bits, and is faster than looking it up

  void set(const T* from) {
    memcpy(values, from, sizeof values);
    mean_std = nullptr;
  }
  void set(const T* from, const float* normalisation) {
    set(from);
    if constexpr (sizeof(T) == 4) {
      bool same = LANES >= 8;  // four lanes divide no faster than a table is read
      for (int v = 0; same && v < 256; v += LANES) {
        u8 bytes[LANES];
        float found[LANES];
        for (int i = 0; i < LANES; i++) bytes[i] = (u8)(v + i);
        store_values(found, normalised(bytes, normalisation));
        same = memcmp(found, values + v, sizeof found) == 0;
      }
      mean_std = same ? normalisation : nullptr;
    }
  }
  void set(const Table& outer, const u8* inner) {
    mean_std = nullptr;
    for (int v = 0; v < 256; v++) values[v] = outer.values[inner[v]];
  }
};

inline const u8* bytes_of(const Table<u8>& table) { return table.values; }

template <class T>
inline void look_up_line(const T* __restrict table, const u8* __restrict src, T* __restrict dst, i64 n, bool flip) {
  if (flip) for (i64 x = 0; x < n; x++) dst[x] = table[src[n - 1 - x]];
  else for (i64 x = 0; x < n; x++) dst[x] = table[src[x]];
}

#ifdef __AVX2__

// Sixteen entries at a time by shuffles, xored so that those up to the byte's own sixteen leave its entry alone. A
// shuffle gives 0 where the index is negative; so each half of the table has a chain of its own.
inline void look_up_bytes(const u8* table, const u8* src, u8* dst, i64 n) {
  __m256i part[16];
  for (int i = 15; i >= 0; i--) {
    part[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(table + 16 * i)));
    if (i % 8) part[i] = _mm256_xor_si256(part[i], _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(table + 16 * i - 16))));
  }
  const __m256i sixteen = _mm256_set1_epi8(16);
  for (i64 x = 0; x < n; x += 32) {
    const __m256i v = _mm256_loadu_si256((const __m256i*)(src + x));
    __m256i low_index = v, high_index = _mm256_xor_si256(v, _mm256_set1_epi8((char)128));
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int i = 0; i < 8; i++) {
      low = _mm256_xor_si256(low, _mm256_shuffle_epi8(part[i], low_index));
      high = _mm256_xor_si256(high, _mm256_shuffle_epi8(part[8 + i], high_index));
      low_index = _mm256_sub_epi8(low_index, sixteen);
      high_index = _mm256_sub_epi8(high_index, sixteen);
    }
    _mm256_storeu_si256((__m256i*)(dst + x), _mm256_blendv_epi8(low, high, v));
  }
}

inline void look_up_line(const Table<u8>& table, const u8* src, u8* dst, i64 n, bool flip) {
  const i64 whole = flip || n < 256 ? 0 : n / 32 * 32;
  if (whole) look_up_bytes(table.values, src, dst, whole);
  look_up_line(table.values, src + whole, dst + whole, n - whole, flip);
}

#else

inline void look_up_line(const Table<u8>& table, const u8* src, u8* dst, i64 n, bool flip) {
  look_up_line(table.values, src, dst, n, flip);
}

#endif

inline void look_up_line(const Table<u16>& table, const u8* src, u16* dst, i64 n, bool flip) {
  look_up_line(table.values, src, dst, n, flip);
}

inline Floats backwards(Floats v) {
  Ints order;
  for (int i = 0; i < LANES; i++) order[i] = LANES - 1 - i;
  return __builtin_shuffle(v, order);
}

inline void look_up_line(const Table<float>& table, const u8* src, float* dst, i64 n, bool flip) {
  i64 x = 0;  // how many values are computed
  if (table.mean_std && flip)
    for (; x + LANES <= n; x += LANES) store_values(dst + x, backwards(normalised(src + n - x - LANES, table.mean_std)));
  else if (table.mean_std)
    for (; x + LANES <= n; x += LANES) store_values(dst + x, normalised(src + x, table.mean_std));
  look_up_line(table.values, flip ? src : src + x, dst + x, n - x, flip);
}

template <class T>
inline void look_up(const Table<T>& table, const Rows<T>& r, bool) {
  if (!r.flip && !r.has_gaps()) return look_up_line(table, r.src, r.dst, (i64)r.w * r.h, false);
  for (int y = 0; y < r.h; y++) look_up_line(table, r.src + y * r.src_stride, r.dst + y * r.dst_stride, r.w, r.flip);
}

inline void stream_line(const void* src, void* dst, size_t bytes) { memcpy(dst, src, bytes); }
inline void end_stream() {}

inline void split_rgb(const u8* __restrict src, u8* __restrict r, u8* __restrict g, u8* __restrict b, int w) {
  for (int x = 0; x < w; x++) {
    r[x] = src[3 * x];
    g[x] = src[3 * x + 1];
    b[x] = src[3 * x + 2];
  }
}

inline void shift_rows(const u8* src, ptrdiff_t stride, int in_w, int in_h, int left, int top, u8 fill, u8* dst, int w,
                       int h) {
  const int x0 = clamp(-left, 0, w), x1 = clamp(in_w - left, x0, w);
  for (int y = 0; y < h; y++, dst += w) {
    if (y + top < 0 || y + top >= in_h || x1 == x0) {
      memset(dst, fill, w);
      continue;
    }
    memset(dst, fill, x0);
    memcpy(dst + x0, src + (y + top) * stride + x0 + left, x1 - x0);
    memset(dst + x1, fill, w - x1);
  }
}

template <class T>
inline void fill_values(T* dst, int n, T value) {
  for (int x = 0; x < n; x++) dst[x] = value;
}

#endif

inline Table<u8> identity_table() {
  u8 values[256];
  for (int v = 0; v < 256; v++) values[v] = (u8)v;
  Table<u8> table;
  table.set(values);
  return table;
}

}}  // namespace
