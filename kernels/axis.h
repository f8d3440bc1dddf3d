// One axis of a resize on the CPU: planes of bytes, and the coefficients that each output takes.
#pragma once
#include <stddef.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "geometry.h"
#include "simd.h"

namespace ae { namespace AE_ISA {

struct Planes {
  u8* p[3];
  ptrdiff_t stride;
  int h, w;
  u8* row(int channel, int y) const { return p[channel] + y * stride; }
};

// The coefficients of one axis: output i reads taps[i * width ...] from input first[i] on; unused ones are 0.
struct Axis {
  int* first;
  int* taps;
  int width, used;  // width is a multiple of 4; no output has more than `used` taps, often fewer than could be
};

inline int padded_taps(int interpolation, int in, int out) { return (max_taps(interpolation, in, out) + 3) & ~3; }

inline size_t axis_ints(int interpolation, int in, int out) {
  return (size_t)out * (1 + padded_taps(interpolation, in, out)) + 16;
}

enum : int { BUNDLE = LANES / 2 };
typedef double Doubles __attribute__((vector_size(8 * BUNDLE)));
typedef i64 LongInts __attribute__((vector_size(8 * BUNDLE)));
typedef int HalfInts __attribute__((vector_size(4 * BUNDLE)));

AE_FN HalfInts truncated(Doubles v) { return __builtin_convertvector(v, HalfInts); }

// axis_taps() of the bilinear filter, several outputs at a time by the same operations: filter_weight() is 0 beyond its
// support, and 0 leaves a sum as it is.
inline void bilinear_taps(int in, int out, Axis& a) {
  const double scale = (double)in / out, stretch = scale > 1.0 ? scale : 1.0, inverse = 1.0 / stretch;
  Doubles middle;
  for (int l = 0; l < BUNDLE; l++) middle[l] = l + 0.5;
  for (int i = 0; i < out; i += BUNDLE) {
    const Doubles center = (i + middle) * scale;
    HalfInts lo = truncated(center - stretch + 0.5), hi = truncated(center + stretch + 0.5);
    lo = lo < 0 ? 0 : lo;
    const HalfInts count = (hi > in ? in : hi) - lo;
    const int n = min_of(BUNDLE, out - i);
    int longest = 1;
    for (int l = 0; l < n; l++) longest = max_of(longest, count[l]);
    const auto weight = [&](int j) {
      Doubles x = (__builtin_convertvector(lo + j, Doubles) - center + 0.5) * inverse;
      x = x < 0.0 ? -x : x;
      return j < __builtin_convertvector(count, LongInts) && x < 1.0 ? 1.0 - x : 0.0;
    };
    Doubles sum = {};
    for (int j = 0; j < longest; j++) sum += weight(j);
    for (int j = 0; j < longest; j++) {
      const HalfInts taps = truncated(weight(j) / sum * 4194304.0 + 0.5);
      for (int l = 0; l < n; l++) a.taps[(size_t)(i + l) * a.width + j] = taps[l];
    }
    for (int l = 0; l < n; l++) a.first[i + l] = lo[l];
    a.used = max_of(a.used, longest);
  }
}

inline Axis make_axis(int interpolation, int in, int out, int* memory) {
  Axis a = {memory, memory + out, padded_taps(interpolation, in, out), 1};
  memset(a.taps, 0, sizeof(int) * (size_t)a.width * out);
  if (interpolation == NEAREST) {
    nearest_axis(in, out, [&](int i, int first, int tap) { a.first[i] = first; a.taps[(size_t)i * a.width] = tap; });
    return a;
  }
  if (interpolation == BILINEAR) {
    bilinear_taps(in, out, a);
    return a;
  }
  for (int i = 0; i < out; i++)
    a.used = max_of(a.used, axis_taps(interpolation, in, out, i, a.first + i, a.taps + (size_t)i * a.width));
  return a;
}

#ifdef __AVX2__
// The sum of n products, n a multiple of 4.
inline int dot(const u8* from, const int* taps, int n) {
  const auto products = [&](int j) {
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(from + j)));
    return _mm256_mullo_epi32(bytes, _mm256_loadu_si256((const __m256i*)(taps + j)));
  };
  __m256i eight = _mm256_setzero_si256();
  int j = 0;
  for (; j + 8 <= n; j += 8) eight = _mm256_add_epi32(eight, products(j));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  if (j < n) {
    const __m128i bytes = _mm_cvtepu8_epi32(_mm_loadu_si32(from + j));
    four = _mm_add_epi32(four, _mm_mullo_epi32(bytes, _mm_loadu_si128((const __m128i*)(taps + j))));
  }
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
#endif

// Outputs x0 to x1 of a row, one by one.
inline void resample_span(const Planes& in, const Planes& out, int k, int y, int x0, int x1, const Axis& axis) {
  const u8* const row = in.row(k, y);
  u8* const dst = out.row(k, y);
  const int* const first = axis.first;
  const int width = axis.width, used = axis.used, w = in.w;
  const int* taps = axis.taps + (size_t)x0 * width;
  int x = x0;
#ifdef __AVX2__
  const int padded = (used + 3) & ~3;  // the taps behind the used ones are 0
  for (; x < x1 && first[x] + padded <= w; x++, taps += width) dst[x] = round_taps(dot(row + first[x], taps, padded));
#endif
  for (; x < x1; x++, taps += width) {
    const int count = min_of(used, w - first[x]);
    int sum = 0;
    for (int j = 0; j < count; j++) sum += row[first[x] + j] * taps[j];
    dst[x] = round_taps(sum);
  }
}

}}  // namespace
