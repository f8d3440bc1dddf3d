// Stencil ops.
#pragma once
#include "color.h"

namespace ae { namespace AE_ISA {

// Pillow's SMOOTH: (sum of nine + 4 * centre + 6) / 13 in integers equals its float32 evaluation everywhere.
AE_FN u8 adjust_sharpness(const Window& p, const double* args) {
  if (!p.inside) return p.v[4];
  // 16 bits suffice, and let a vector hold twice as many
  const u16 sum = (u16)(p.v[0] + p.v[1] + p.v[2] + p.v[3] + 5 * p.v[4] + p.v[5] + p.v[6] + p.v[7] + p.v[8] + 6);
  return blend((u16)(sum / 13), p.v[4], (float)args[0]);
}

}}  // namespace
