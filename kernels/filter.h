// Stencil ops: 3x3 windows, and separable kernels of any size whose weights the host makes.
#pragma once
#include "color.h"

namespace ae { namespace AE_ISA {

// Pillow's SMOOTH: (sum of nine + 4 * centre + 6) / 13 in integers equals its float32 evaluation everywhere.
// And sum * 5042 >> 16 equals sum / 13 for every sum there is.
template <class Int>
AE_FN Int adjust_sharpness(const WindowOf<Int>& p, const double* args) {
  if (!p.inside) return p.centre();
  const Int sum = p.template weighted<1, 1, 1, 1, 5, 1, 1, 1, 1>() + 6;
  return blend<Int>(high_half(sum, 5042), p.centre(), (float)args[0]);
}

}}  // namespace

#ifndef __CUDACC__

namespace ae { namespace AE_ISA {

// torch's 1-D kernel in its float32 steps: softmax of -(x / sigma)^2 over linspace(-lim, lim). Its exp() is known to
// an ulp only, so a weight may differ from torch's by one.
inline void gaussian_weights(int size, double sigma, float* weights) {
  const float limit = (float)((size - 1) / (2.0 * sqrt(2.0)));
  const float step = size > 1 ? (float)((limit + limit) / (float)(size - 1)) : 0.0f;
  double sum = 0.0;
  for (int i = 0; i < size; i++) {
    const double x = i < size / 2 ? -limit + (double)step * i : limit - (double)step * (size - 1 - i);
    const float scaled = (float)x / (float)sigma;
    weights[i] = (float)exp(-(double)(scaled * scaled));
    sum += weights[i];
  }
  for (int i = 0; i < size; i++) weights[i] = (float)(weights[i] / sum);
}

inline Convolution gaussian_blur(const double* args) {
  Convolution c;
  c.w = (int)args[0];
  c.h = (int)args[1];
  const double sigma_x = args[2] == args[2] ? args[2] : 0.15 * c.w + 0.35;
  const double sigma_y = args[3] == args[3] ? args[3] : 0.15 * c.h + 0.35;
  gaussian_weights(c.w, sigma_x, c.x);
  gaussian_weights(c.h, sigma_y, c.y);
  return c;
}

}}  // namespace
#endif
