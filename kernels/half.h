// float32 to the 16-bit formats, rounding to nearest even, in integers: equal to torch's conversion for every value.
#pragma once
#include "platform.h"

namespace ae { namespace AE_ISA {

AE_FN u32 bits_of(float v) {
  union { float f; u32 u; } b;
  b.f = v;
  return b.u;
}

AE_FN u16 to_bfloat16(float v) {
  const u32 b = bits_of(v);
  if ((b & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

AE_FN u16 to_float16(float v) {
  const u32 b = bits_of(v), sign = (b >> 16) & 0x8000u, a = b & 0x7fffffffu;
  if (a > 0x7f800000u) return (u16)(sign | 0x7e00u);
  if (a >= 0x477ff000u) return (u16)(sign | 0x7c00u);  // rounds to infinity
  if (a >= 0x38800000u) return (u16)(sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13));
  if (a < 0x33000000u) return (u16)sign;  // rounds to zero
  const u32 shift = 126u - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u;  // subnormal
  const u32 result = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
  return (u16)(sign | (result + (rest > tie || (rest == tie && (result & 1u)))));
}

}}  // namespace
