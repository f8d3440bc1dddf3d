// Elementary functions from basic arithmetic, so that every device gives the same bits.
#pragma once
#include "platform.h"

namespace ae { namespace AE_ISA {

// 2^n for -1022 <= n <= 1023.
AE_FN double power_of_two(int n) {
  union { double d; u64 u; } bits;
  bits.u = (u64)(n + 1023) << 52;
  return bits.d;
}

// ln(v) for normal v > 0, good to 1e-13.
AE_FN double natural_log(double v) {
  union { double d; u64 u; } bits;
  bits.d = v;
  int exponent = (int)(bits.u >> 52) - 1022;
  bits.u = (bits.u & 0x000fffffffffffffull) | 0x3fe0000000000000ull;  // in [0.5, 1)
  if (bits.d < 0.70710678118654752) { bits.d *= 2.0; exponent--; }
  const double s = (bits.d - 1.0) / (bits.d + 1.0), t = s * s;
  double series = 0.0;
  for (int odd = 17; odd >= 1; odd -= 2) series = series * t + 1.0 / odd;
  return 2.0 * s * series + exponent * 0.69314718055994531;
}

// e^v, good to two units in the last place: Taylor's series behind a reduction.
AE_FN double exponential(double v) {
  if (!(v < 709.782712893384)) return v != v ? v : 1.0 / 0.0;
  if (v < -745.2) return 0.0;
  const int n = (int)floor(v * 1.4426950408889634 + 0.5);
  const double r = (v - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;  // ln 2, its first 33 bits exact
  double series = 1.0;
  for (int i = 13; i >= 2; i--) series = 1.0 + series * r / i;
  const int half = n / 2;  // each factor is normal
  return (1.0 + r * series) * power_of_two(half) * power_of_two(n - half);
}

}}  // namespace
