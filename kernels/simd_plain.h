// Tables over rows of bytes where there are no byte permutes: with AVX2 by shuffles or arithmetic, else one by one.
// Included by simd.h.
#pragma once

namespace ae { namespace AE_ISA {

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

// `h` rows of n values, `stride` apart.
template <class T>
inline void fill_rows(T* dst, ptrdiff_t stride, int n, int h, T value) {
  for (int y = 0; y < h; y++)
    for (int x = 0; x < n; x++) dst[y * stride + x] = value;
}

}}  // namespace
