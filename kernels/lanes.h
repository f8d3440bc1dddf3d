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

// Four times as many bytes as there are lanes: byte 4 i + k stands in lane i of part k.
struct Quads {
  Ints part[4];
};

AE_FN Floats to_float(Ints v) { return __builtin_convertvector(v, Floats); }

AE_FN Ints load_word(const u8* from) {
  Ints word;
  memcpy(&word, from, sizeof word);
  return word;
}

AE_FN Ints byte_of(Ints word, int k) { return (word >> (8 * k)) & 255; }

// From or to anywhere. A stored value is 0 to 255.
AE_FN void load(const u8* from, Quads& v) {
  const Ints word = load_word(from);
  for (int k = 0; k < 4; k++) v.part[k] = byte_of(word, k);
}
AE_FN void load(const u8* from, int& v) { v = *from; }

AE_FN void store(u8* to, const Quads& v) {
  const Ints word = v.part[0] | v.part[1] << 8 | v.part[2] << 16 | v.part[3] << 24;
  memcpy(to, &word, sizeof word);
}
AE_FN void store(u8* to, int v) { *to = (u8)v; }

// sum + a weighted sum of each lane's four bytes. No weight and no two neighbouring ones together exceed 127.
template <int W0, int W1, int W2, int W3>
AE_FN Ints add_weighted(Ints sum, Ints word) {
  constexpr int weights = (W0 & 255) | (W1 & 255) << 8 | (W2 & 255) << 16 | (int)((unsigned)W3 << 24);
#if defined(__AVX512VNNI__)
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)word, _mm512_set1_epi32(weights));
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)word, _mm256_set1_epi32(weights));
  return sum + (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
  return sum + W0 * byte_of(word, 0) + W1 * byte_of(word, 1) + W2 * byte_of(word, 2) + W3 * byte_of(word, 3);
#endif
}

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

// Calls visit(x, Int()) for x in [0, n): a Quads at a time, the last ones once more where n is no multiple, or one by
// one where there are fewer. So what is visited must not be read again after it was written.
template <class Visit>
AE_FN void each_lane(int n, Visit visit) {
  enum : int { STEP = sizeof(Ints) };
  if (n < STEP) {
    for (int x = 0; x < n; x++) visit(x, int());
    return;
  }
  for (int x = 0; x < n; x += STEP) visit(min_of(x, n - STEP), Quads());
}

}}  // namespace
#endif
