// Several ints at once, as wide as the instruction set's vectors, so that an op written for `Int` runs on one pixel or
// on LANES of them with the same arithmetic.
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
AE_FN int high_half(int v, int factor) { return (v * factor) >> 16; }  // both of 15 bits

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
typedef u32 UInts __attribute__((vector_size(4 * LANES)));
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

AE_FN Ints byte_of(Ints word, int k) {
  const UInts shifted = (UInts)word >> (8 * k);
  return (Ints)(k == 3 ? shifted : shifted & 255);
}

#if defined(__AVX2__)
AE_FN __m128i transposed_4x4() { return _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); }
#endif

// From or to anywhere. Lanes are clipped to bytes as they are stored; an int must be one already.
AE_FN void load(const u8* from, Quads& v) {
  const Ints word = load_word(from);
  for (int k = 0; k < 4; k++) v.part[k] = byte_of(word, k);
}
AE_FN void load(const u8* from, int& v) { v = *from; }

AE_FN void store(u8* to, const Quads& v) {
#if defined(__AVX512BW__)
  const __m512i pairs = _mm512_packs_epi32((__m512i)v.part[0], (__m512i)v.part[1]);
  const __m512i bytes = _mm512_packus_epi16(pairs, _mm512_packs_epi32((__m512i)v.part[2], (__m512i)v.part[3]));
  _mm512_storeu_si512(to, _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(transposed_4x4())));
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_packs_epi32((__m256i)v.part[0], (__m256i)v.part[1]);
  const __m256i bytes = _mm256_packus_epi16(pairs, _mm256_packs_epi32((__m256i)v.part[2], (__m256i)v.part[3]));
  _mm256_storeu_si256((__m256i*)to, _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(transposed_4x4())));
#else
  Ints word = {};
  for (int k = 0; k < 4; k++) {
    const Ints positive = v.part[k] & ~(v.part[k] >> 31), over = (255 - positive) >> 31;
    word |= ((positive | over) & 255) << (8 * k);
  }
  memcpy(to, &word, sizeof word);
#endif
}
AE_FN void store(u8* to, int v) { *to = (u8)v; }

// A weighted sum of each lane's four bytes in each of three words. A word's four weights are packed into one int.
// No two neighbouring ones of all three words may exceed 127 together.
AE_FN Ints weighted_sum(const Ints* word, const int* weights) {
#if defined(__AVX512VNNI__)
  __m512i sum = _mm512_setzero_si512();
  for (int j = 0; j < 3; j++) sum = _mm512_dpbusd_epi32(sum, (__m512i)word[j], _mm512_set1_epi32(weights[j]));
  return (Ints)sum;
#elif defined(__AVX2__)
  __m256i pairs = _mm256_setzero_si256();
  for (int j = 0; j < 3; j++)
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16((__m256i)word[j], _mm256_set1_epi32(weights[j])));
  return (Ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
  Ints sum = {};
  for (int j = 0; j < 3; j++)
    for (int k = 0; k < 4; k++) sum += (signed char)(weights[j] >> (8 * k)) * byte_of(word[j], k);
  return sum;
#endif
}

AE_FN Ints high_half(Ints v, int factor) {
#if defined(__AVX512BW__)
  return (Ints)_mm512_mulhi_epu16((__m512i)v, _mm512_set1_epi32(factor));
#elif defined(__AVX2__)
  return (Ints)_mm256_mulhi_epu16((__m256i)v, _mm256_set1_epi32(factor));
#else
  return (v * factor) >> 16;
#endif
}

// Lanes are only truncated here, and clipped as they are stored.
AE_FN Ints clip_int(Floats v) { return __builtin_convertvector(v, Ints); }

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
