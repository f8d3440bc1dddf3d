// What differs between g++ and NVRTC. Every header here compiles under both without system headers,
// and lives in a namespace of its own for each CPU instruction set, so that the linker never merges an
// inline function compiled for AVX-512 into the baseline.
#pragma once

#ifdef __CUDACC__
#define AE_FN __host__ __device__ __forceinline__
#define AE_NOT_UNROLLED _Pragma("unroll 1")
#else
#include <math.h>
#define AE_FN inline __attribute__((always_inline))
#define AE_NOT_UNROLLED
#endif

#ifndef AE_ISA
#define AE_ISA baseline
#endif

namespace ae { namespace AE_ISA {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

AE_FN int min_of(int a, int b) { return a < b ? a : b; }
AE_FN int max_of(int a, int b) { return a > b ? a : b; }
AE_FN int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }
// a * b + c rounded once. Everything else is compiled without contraction, so a multiply-add is fused only here.
AE_FN float fused(float a, float b, float c) {
#ifdef __CUDACC__
  return fmaf(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

AE_FN float round_even(float v) { return (v + 12582912.0f) - 12582912.0f; }  // for |v| < 2^22
AE_FN u8 clip_byte(float v) { return v <= 0.0f ? 0 : v >= 255.0f ? 255 : (u8)v; }  // truncates

}}  // namespace
