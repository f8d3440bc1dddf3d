// Tables over rows of bytes by the byte permutes of AVX-512 VBMI. Included by simd.h.
#pragma once

namespace ae { namespace AE_ISA {

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
};

// Whole blocks of 64, then the rest. `mirror`: what the order in a block is xored with (width - 1 of rows that fill it).
template <bool STREAM, class T>
AE_FN void look_up_forward(const Table<T>& tables, const u8* src, T* dst, i64 n, int mirror) {
  const LookUp<T> table(tables);  // in registers: no store can reach it
  const __m512i from = _mm512_xor_si512(_mm512_load_si512(table.order.byte), _mm512_set1_epi8((char)mirror));
  i64 x = 0;
  for (; x + 64 <= n; x += 64)
    table.template write<STREAM>(_mm512_permutexvar_epi8(from, _mm512_loadu_si512(src + x)), dst + x, 64);
  if (x == n) return;
  const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes((int)(n - x)), src + x);
  table.template write<false>(_mm512_permutexvar_epi8(from, bytes), dst + x, (int)(n - x));
}

template <bool STREAM, class T>
AE_FN void look_up_backward(const Table<T>& tables, const u8* src, T* dst, int w) {
  const LookUp<T> table(tables);
  const __m512i from = _mm512_sub_epi8(_mm512_set1_epi8(63), _mm512_load_si512(table.order.byte));
  int x = 0;
  for (; x + 64 <= w; x += 64)
    table.template write<STREAM>(_mm512_permutexvar_epi8(from, _mm512_loadu_si512(src + w - x - 64)), dst + x, 64);
  if (x == w) return;
  const int n = w - x;  // the last bytes of a row end before 63
  const __m512i bytes = _mm512_maskz_loadu_epi8(first_bytes(n), src);
  table.template write<false>(_mm512_permutexvar_epi8(_mm512_sub_epi8(from, _mm512_set1_epi8((char)(64 - n))), bytes), dst + x, n);
}

template <bool STREAM, class T>
void look_up_rows(const Table<T>& table, const Rows<T>& r) {
  const bool fills_blocks = r.w <= 64 && (r.w & (r.w - 1)) == 0;
  if (!r.has_gaps() && (!r.flip || fills_blocks))
    return look_up_forward<STREAM>(table, r.src, r.dst, (i64)r.w * r.h, r.flip ? r.w - 1 : 0);
  for (int y = 0; y < r.h; y++) {
    if (r.flip) look_up_backward<STREAM>(table, r.src + y * r.src_stride, r.dst + y * r.dst_stride, r.w);
    else look_up_forward<STREAM>(table, r.src + y * r.src_stride, r.dst + y * r.dst_stride, r.w, 0);
  }
}

// `stream`: past the caches. It needs rows that begin at multiples of 64 bytes.
template <class T>
inline void look_up(const Table<T>& table, const Rows<T>& rows, bool stream) {
  const bool aligned = (size_t)rows.dst % 64 == 0 && (rows.h == 1 || rows.dst_stride * sizeof(T) % 64 == 0);
  if (stream && aligned) look_up_rows<true>(table, rows);
  else look_up_rows<false>(table, rows);
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

// Up to 64 bytes of a row; up to 32 are written by half a register, in half the time.
struct WideRow {
  static AE_FN __m512i load(__m512i fills, __mmask64 inside, const u8* src) { return _mm512_mask_loadu_epi8(fills, inside, src); }
  static AE_FN void store(u8* dst, __mmask64 valid, __m512i v) { _mm512_mask_storeu_epi8(dst, valid, v); }
};
struct NarrowRow {
  static AE_FN __m512i load(__m512i fills, __mmask64 inside, const u8* src) {
    return _mm512_castsi256_si512(_mm256_mask_loadu_epi8(_mm512_castsi512_si256(fills), (__mmask32)inside, src));
  }
  static AE_FN void store(u8* dst, __mmask64 valid, __m512i v) {
    _mm256_mask_storeu_epi8(dst, (__mmask32)valid, _mm512_castsi512_si256(v));
  }
};

// Columns of `h` rows, of which those from `first` to `last` lie in the source.
template <class Row>
AE_FN void shift_columns(const u8* src, ptrdiff_t stride, __mmask64 inside, __m512i fills, u8* dst, int w, __mmask64 valid,
                         int first, int last, int h) {
  for (int y = 0; y < first; y++) Row::store(dst + (ptrdiff_t)y * w, valid, fills);
  for (int y = first; y < last; y++) Row::store(dst + (ptrdiff_t)y * w, valid, Row::load(fills, inside, src + y * stride));
  for (int y = last; y < h; y++) Row::store(dst + (ptrdiff_t)y * w, valid, fills);
}

// Rows of a plane, shifted: out(x, y) = src(x + left, y + top) where that lies inside in_w x in_h, else `fill`.
inline void shift_rows(const u8* src, ptrdiff_t stride, int in_w, int in_h, int left, int top, u8 fill, u8* dst, int w,
                       int h) {
  const __m512i fills = _mm512_set1_epi8((char)fill);
  const int first = clamp(-top, 0, h), last = clamp(in_h - top, first, h);
  src += top * stride + left;
  for (int x = 0; x < w; x += 64) {
    const int from = clamp(-left - x, 0, 64), to = clamp(in_w - left - x, 0, 64);
    const __mmask64 inside = first_bytes(to) & ~first_bytes(from), valid = first_bytes(w - x);
    if (w - x <= 32) shift_columns<NarrowRow>(src + x, stride, inside, fills, dst + x, w, valid, first, last, h);
    else shift_columns<WideRow>(src + x, stride, inside, fills, dst + x, w, valid, first, last, h);
  }
}

template <class T>
AE_FN __m512i block_of(T value) {
  u32 bits = 0;
  memcpy(&bits, &value, sizeof value);
  return sizeof(T) == 1 ? _mm512_set1_epi8((char)bits) : sizeof(T) == 2 ? _mm512_set1_epi16((short)bits) : _mm512_set1_epi32((int)bits);
}

// `h` rows of n values, `stride` apart.
template <class T>
inline void fill_rows(T* dst, ptrdiff_t stride, int n, int h, T value) {
  const __m512i block = block_of(value);
  const int bytes = n * (int)sizeof(T), whole = bytes & ~63;
  const __mmask64 rest = first_bytes(bytes - whole);
  for (int y = 0; y < h; y++) {
    u8* const row = (u8*)(dst + y * stride);
    for (int i = 0; i < whole; i += 64) _mm512_storeu_si512(row + i, block);
    if (rest) _mm512_mask_storeu_epi8(row + whole, rest, block);
  }
}

}}  // namespace
