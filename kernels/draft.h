// A row while it is drawn, and the distributions that samplers draw from; everything in double.
#pragma once
#include "geometry_ops.h"
#include "philox.h"

namespace ae { namespace AE_ISA {

// One sample's row while it is drawn. Calls not made yet are nothing, with arguments of 0.
struct Draft {
  Call* next;
  u64 id;
  int h, w, position;  // h, w: the size of the image at this point of the pipeline

  Call& add(int op) {
    Call& call = *next++;
    call.op = op;
    call.position = position;
    return call;
  }

  void take_back() {
    *--next = {};
    next->op = -1;
    next->position = position;
  }
};

inline void shuffle(Stream& s, int* order, int n) {
  for (int i = 0; i < n; i++) order[i] = i;
  for (int i = 0; i < n - 1; i++) {
    const int j = i + below(s, n - i), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}

inline bool passes(Stream& s, double p) { return (p >= 1.0 ? 0.0 : uniform(s)) < p; }

inline double round_even(double v) { return nearbyint(v); }

inline void resized(Draft& d, const Call& call) {
  const Geometry g = geometry_of(call, d.h, d.w);
  d.h = g.out_h;
  d.w = g.out_w;
}

inline double normal(Stream& s) {  // Box and Muller
  const double radius = sqrt(-2.0 * log(((double)draw(s) + 0.5) / 4294967296.0));
  return radius * cos(2.0 * 3.14159265358979323846 * uniform(s));
}

// The logarithm of a Gamma(shape, 1) draw (Marsaglia and Tsang 2000), which stays finite for tiny shapes.
inline double log_gamma_draw(Stream& s, double shape) {
  double boost = 0.0;
  if (shape < 1.0) {
    boost = log(((double)draw(s) + 0.5) / 4294967296.0) / shape;
    if (boost < -1e290) boost = -1e290;  // differences of logarithms stay finite
    shape += 1.0;
  }
  const double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
  for (;;) {
    const double x = normal(s), t = 1.0 + c * x, v = t * t * t;
    if (t <= 0.0) continue;
    if (log(((double)draw(s) + 0.5) / 4294967296.0) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + boost;
  }
}

inline double beta_draw(Stream& s, double alpha) {
  const double a = log_gamma_draw(s, alpha), b = log_gamma_draw(s, alpha);
  return 1.0 / (1.0 + exp(b - a));
}

}}  // namespace
