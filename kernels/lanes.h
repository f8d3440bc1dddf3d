// Several ints at once, as wide as the instruction set's vectors, so that an op written for `Int` runs on one pixel or on
// LANES of them with the same arithmetic.
#pragma once
#include "platform.h"

#ifndef __CUDACC__
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#endif

namespace ae { namespace AE_ISA {

AE_FN float to_float(int v) { return (float)v; }
AE_FN int clip_int(float v) { return v <= 0.0f ? 0 : v >= 255.0f ? 255 : (int)v; }  // truncates

}}  // namespace

#ifndef __CUDACC__

namespace ae { namespace AE_ISA {

#if defined(__AVX512BW__)
enum : int { LANES = 16 };
#elif defined(__AVX2__)
enum : int { LANES = 8 };
#else
enum : int { LANES = 4 };
#endif

typedef int Ints __attribute__((vector_size(4 * LANES)));
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef u8 Bytes __attribute__((vector_size(LANES)));

AE_FN Floats to_float(Ints v) { return __builtin_convertvector(v, Floats); }

// LANES bytes from or to anywhere. A stored value is 0 to 255.
AE_FN void load(const u8* from, Ints& v) {
#if defined(__AVX512BW__)
  v = (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from));
#elif defined(__AVX2__)
  v = (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from));
#else
  Bytes bytes;
  memcpy(&bytes, from, LANES);
  v = __builtin_convertvector(bytes, Ints);
#endif
}
AE_FN void load(const u8* from, int& v) { v = *from; }

AE_FN void store(u8* to, Ints v) {
#if defined(__AVX512BW__)
  _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)v));
#elif defined(__AVX2__)
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  _mm_storel_epi64((__m128i*)to, _mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(v, Bytes);
  memcpy(to, &bytes, LANES);
#endif
}
AE_FN void store(u8* to, int v) { *to = (u8)v; }

AE_FN Ints clip_int(Floats v) {
#if defined(__AVX512BW__)
  const __m512 bounded = _mm512_min_ps(_mm512_max_ps((__m512)v, _mm512_setzero_ps()), _mm512_set1_ps(255.0f));
  return (Ints)_mm512_cvttps_epi32(bounded);
#elif defined(__AVX2__)
  const __m256 bounded = _mm256_min_ps(_mm256_max_ps((__m256)v, _mm256_setzero_ps()), _mm256_set1_ps(255.0f));
  return (Ints)_mm256_cvttps_epi32(bounded);
#else
  const Floats low = Floats{} + 0.0f, high = Floats{} + 255.0f;
  v = v > low ? v : low;
  return __builtin_convertvector(v < high ? v : high, Ints);
#endif
}

// Calls visit(x, Int()) for x in [0, n): LANES at a time, the last ones once more where n is no multiple, or one by one
// where there are fewer. So what is visited must not be read again after it was written.
template <class Visit>
AE_FN void each_lane(int n, Visit visit) {
  if (n < LANES) {
    for (int x = 0; x < n; x++) visit(x, int());
    return;
  }
  for (int x = 0; x + LANES <= n; x += LANES) visit(x, Ints());
  if (n % LANES) visit(n - LANES, Ints());
}

}}  // namespace
#endif
