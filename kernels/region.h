// Region ops, and the normal noise that one of them writes.
#pragma once
#include "elementary.h"
#include "op.h"
#include "philox.h"

namespace ae { namespace AE_ISA {

AE_FN Region erase(const double* a) {
  return {(int)a[0], (int)a[1], (int)a[2], (int)a[3], {(float)a[4], (float)a[5], (float)a[6]}, false, {0, 0}};
}

AE_FN Region erase_noise(const double* a) {
  return {(int)a[0], (int)a[1], (int)a[2], (int)a[3], {0, 0, 0}, true, {(u32)a[4], (u32)a[5]}};
}

AE_FN bool contains(const Region& r, int x, int y) {
  return x >= r.left && x < r.left + r.width && y >= r.top && y < r.top + r.height;
}

// The inverse of the normal distribution for 2^-33 <= p <= 1 - 2^-33: AS 241's PPND7 (Wichura 1988), about 7 digits.
AE_FN double normal_quantile(double p) {
  const double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
           (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0);
  }
  const double r = sqrt(-natural_log(q < 0.0 ? p : 1.0 - p)) - 1.6;  // its third branch begins beyond 2^-33
  const double z = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) /
                   ((0.12021132975 * r + 0.73700164250) * r + 1.0);
  return q < 0.0 ? -z : z;
}

AE_FN float normal_noise(const u32* key, int x, int y, int channel) {
  Stream s = {{key[0], key[1]}, {(u32)x, (u32)y, (u32)channel, 0u}, {}, 0};
  return (float)normal_quantile(((double)draw(s) + 0.5) / 4294967296.0);
}

// Whether there are regions, and noise, in kernels that have only a pipeline's ops.
#define AE_ANY(name) || true
#define AE_NOISE(name) || OP_##name == OP_erase_noise
constexpr bool HAS_REGIONS = false AE_RECTANGLE_OPS(AE_ANY), HAS_NOISE = false AE_RECTANGLE_OPS(AE_NOISE);
#undef AE_ANY
#undef AE_NOISE

// What stands at (x, y) of a channel inside the rectangle.
AE_FN float value_in(const Region& r, int channel, int x, int y) {
  return HAS_NOISE && r.noise ? normal_noise(r.key, x, y, channel) : r.value[channel];
}

}}  // namespace
