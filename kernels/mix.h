// Mix ops, on finished float values. args[0] is the partner's row.
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

AE_FN float mixup(float own, float partner, const double* args) {
  const float lam = (float)args[1], rest = (float)(1.0 - args[1]);
  return partner * rest + own * lam;
}

}}  // namespace
