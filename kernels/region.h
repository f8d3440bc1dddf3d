// Region ops.
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

AE_FN Region erase(const double* a) {
  return {(int)a[0], (int)a[1], (int)a[2], (int)a[3], {(float)a[4], (float)a[5], (float)a[6]}};
}

AE_FN bool contains(const Region& r, int x, int y) {
  return x >= r.left && x < r.left + r.width && y >= r.top && y < r.top + r.height;
}

}}  // namespace
