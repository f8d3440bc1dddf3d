// Resampling coefficients: Pillow's filters as 22-bit integers, one axis at a time, bytes between the two passes.
#pragma once
#include "op.h"

namespace ae { namespace AE_ISA {

enum Interpolation : int { NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS };

AE_FN double filter_support(int interpolation) {
  return interpolation == BOX ? 0.5 : interpolation == BICUBIC ? 2.0 : interpolation == LANCZOS ? 3.0 : 1.0;
}

AE_FN double sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * 3.14159265358979323846;
  return sin(x) / x;
}

AE_FN double filter_weight(int interpolation, double x) {
  if (interpolation == BOX) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  if (interpolation == LANCZOS) return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
  x = x < 0.0 ? -x : x;
  if (interpolation == BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
  if (interpolation == HAMMING) {
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x = x * 3.14159265358979323846;
    return sin(x) / x * ((double)0.54f + (double)0.46f * cos(x));
  }
  const double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

// How many taps an output value can have at most.
AE_FN int max_taps(int interpolation, int in, int out) {
  if (interpolation == NEAREST) return 1;
  const double scale = (double)in / out;
  return 2 * (int)ceil(filter_support(interpolation) * (scale > 1.0 ? scale : 1.0)) + 1;
}

// Coefficients of output value i of an axis: writes the first input index to `first`, returns the number of taps.
AE_FN int axis_taps(int interpolation, int in, int out, int i, int* first, int* taps) {
  const double scale = (double)in / out, stretch = scale > 1.0 ? scale : 1.0;
  const double support = filter_support(interpolation) * stretch, inverse = 1.0 / stretch;
  const double center = (i + 0.5) * scale;
  const int lo = max_of(0, (int)(center - support + 0.5)), hi = min_of(in, (int)(center + support + 0.5));
  double sum = 0.0;
  for (int j = 0; j < hi - lo; j++) sum += filter_weight(interpolation, (j + lo - center + 0.5) * inverse);
  for (int j = 0; j < hi - lo; j++) {
    double weight = filter_weight(interpolation, (j + lo - center + 0.5) * inverse);
    if (sum != 0.0) weight /= sum;
    taps[j] = (int)(weight * 4194304.0 + (weight < 0.0 ? -0.5 : 0.5));
  }
  *first = lo;
  return hi - lo;
}

// Nearest reads one pixel whose position Pillow finds by repeated addition: one sequential walk along the axis.
template <class Write>
AE_FN void nearest_axis(int in, int out, Write write) {
  const double step = (double)in / out;
  double at = step * 0.5;
  for (int i = 0; i < out; i++, at += step) write(i, min_of((int)at, in - 1), (int)at < in ? 4194304 : 0);
}

AE_FN u8 round_taps(int sum) { return (u8)clamp((sum + (1 << 21)) >> 22, 0, 255); }

}}  // namespace
