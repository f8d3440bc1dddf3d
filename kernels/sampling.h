// Samplers: each draws one transform's calls for one sample from its own counter stream. Host only; every draw is in
// double and in a fixed order, and tests/sampling_twin.py draws the same in Python.
//
// A pipeline's spec is a row of doubles: for each transform (sampler, position, slots, n, value * n). The values'
// meaning stands at the sampler that reads them; augengine/transforms/ writes them.
#pragma once
#include "op.h"
#include "philox.h"

namespace ae { namespace AE_ISA {

#define AE_SAMPLERS(X) X(call) X(jitter) X(resized_crop) X(resize) X(resize_shorter) X(center_crop) X(erase) X(mixup)
enum SamplerCode : int {
#define AE_CODE(name) SAMPLER_##name,
  AE_SAMPLERS(AE_CODE)
#undef AE_CODE
};

// One sample's row while it is drawn.
struct Draft {
  Call* next;
  int position, h, w;  // h, w: the size of the image at this point of the pipeline

  Call& add(int op) {
    Call& call = *next++;
    call.op = op;
    call.position = position;
    for (double& a : call.args) a = 0.0;
    return call;
  }
};

inline bool passes(Stream& s, double p) { return p >= 1.0 || uniform(s) < p; }

// p, op, n, (lo, hi) * n: with probability p the op, each argument uniform in [lo, hi]
inline void sample_call(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  Call& call = d.add((int)v[1]);
  for (int i = 0; i < (int)v[2]; i++) {
    const double lo = v[3 + 2 * i], hi = v[4 + 2 * i];
    call.args[i] = lo == hi ? lo : uniform(s, lo, hi);
  }
}

// n, (op, lo, hi) * n: every op once, in random order, its factor uniform
inline void sample_jitter(const double* v, Stream& s, Draft& d) {
  int order[8], n = (int)v[0];
  double factor[8];
  for (int i = 0; i < n; i++) order[i] = i;
  for (int i = 0; i < n - 1; i++) {
    const int j = i + below(s, n - i), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  for (int i = 0; i < n; i++) factor[i] = uniform(s, v[2 + 3 * i], v[3 + 3 * i]);
  for (int i = 0; i < n; i++) d.add((int)v[1 + 3 * order[i]]).args[0] = factor[order[i]];
}

inline double round_even(double v) { return nearbyint(v); }

inline void add_resized_crop(Draft& d, int top, int left, int h, int w, const double* size_and_interpolation) {
  Call& call = d.add(OP_resized_crop);
  const double args[4] = {(double)top, (double)left, (double)h, (double)w};
  for (int i = 0; i < 4; i++) call.args[i] = args[i];
  for (int i = 0; i < 3; i++) call.args[4 + i] = size_and_interpolation[i];
  d.h = (int)size_and_interpolation[0];
  d.w = (int)size_and_interpolation[1];
}

// out h, out w, interpolation, scale lo, hi, ratio lo, hi: torchvision's ten tries, then the central fallback
inline void sample_resized_crop(const double* v, Stream& s, Draft& d) {
  for (int attempt = 0; attempt < 10; attempt++) {
    const double target = (double)d.h * d.w * uniform(s, v[3], v[4]);
    const double ratio = exp(uniform(s, log(v[5]), log(v[6])));
    const double w = round_even(sqrt(target * ratio)), h = round_even(sqrt(target / ratio));
    if (w > 0 && w <= d.w && h > 0 && h <= d.h) {
      const int top = below(s, d.h - (int)h + 1), left = below(s, d.w - (int)w + 1);
      return add_resized_crop(d, top, left, (int)h, (int)w, v);
    }
  }
  int h = d.h, w = d.w;
  const double ratio = (double)w / h;
  if (ratio < v[5]) h = min_of(d.h, max_of(1, (int)round_even(w / v[5])));
  else if (ratio > v[6]) w = min_of(d.w, max_of(1, (int)round_even(h * v[6])));
  add_resized_crop(d, (d.h - h) / 2, (d.w - w) / 2, h, w, v);
}

inline void add_resize(Draft& d, int h, int w, double interpolation) {
  Call& call = d.add(OP_resize);
  call.args[0] = d.h = h;
  call.args[1] = d.w = w;
  call.args[2] = interpolation;
}

// out h, out w, interpolation
inline void sample_resize(const double* v, Stream&, Draft& d) { add_resize(d, (int)v[0], (int)v[1], v[2]); }

// size, max size (0: none), interpolation: the shorter side becomes size, the other follows
inline void sample_resize_shorter(const double* v, Stream&, Draft& d) {
  const int shorter = min_of(d.h, d.w), longer = max_of(d.h, d.w);
  int new_short = (int)v[0], new_long = max_of(1, (int)((double)((i64)v[0] * longer) / shorter));
  if (v[1] > 0 && new_long > v[1]) {
    new_short = max_of(1, (int)((double)((i64)v[1] * new_short) / new_long));
    new_long = (int)v[1];
  }
  const bool wide = d.w > d.h;
  add_resize(d, wide ? new_short : new_long, wide ? new_long : new_short, v[2]);
}

// h, w: the middle; what an image lacks is 0
inline void sample_center_crop(const double* v, Stream&, Draft& d) {
  const int h = (int)v[0], w = (int)v[1];
  // torchvision pads an image that is too small first, by floor on top and left, and rounds the crop half to even
  const int pad_top = max_of(0, h - d.h) / 2, pad_left = max_of(0, w - d.w) / 2;
  const int padded_h = max_of(d.h, h), padded_w = max_of(d.w, w);
  Call& call = d.add(OP_crop);
  call.args[0] = round_even((padded_h - h) / 2.0) - pad_top;
  call.args[1] = round_even((padded_w - w) / 2.0) - pad_left;
  call.args[2] = d.h = h;
  call.args[3] = d.w = w;
}

// p, scale lo, hi, ratio lo, hi, value * 3: torchvision's ten tries; none fits: nothing
inline void sample_erase(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  for (int attempt = 0; attempt < 10; attempt++) {
    const double area = (double)d.h * d.w * uniform(s, v[1], v[2]);
    const double ratio = exp(uniform(s, log(v[3]), log(v[4])));
    const double h = round_even(sqrt(area * ratio)), w = round_even(sqrt(area / ratio));
    if (!(h < d.h && w < d.w)) continue;
    Call& call = d.add(OP_erase);
    call.args[0] = below(s, d.h - (int)h + 1);
    call.args[1] = below(s, d.w - (int)w + 1);
    call.args[2] = h;
    call.args[3] = w;
    for (int i = 0; i < 3; i++) call.args[4 + i] = v[5 + i];
    return;
  }
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

// p, alpha: lam ~ Beta(alpha, alpha); the partner is filled in by assign_partners
inline void sample_mixup(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  Call& call = d.add(OP_mixup);
  call.args[0] = -1;
  call.args[1] = (double)(float)beta_draw(s, v[1]);
}

inline bool needs_partner(int sampler) { return sampler == SAMPLER_mixup; }

inline void sample_row(const double* spec, int n_transforms, u64 seed, u32 epoch, u64 id, int h, int w, Call* row) {
  Draft d = {row, 0, h, w};
  for (int t = 0; t < n_transforms; t++) {
    Stream s = stream_of(seed, epoch, id, (int)spec[1]);
    Call* const end = d.next + (int)spec[2];
    d.position = (int)spec[1];
    switch ((int)spec[0]) {
#define AE_CASE(name) \
  case SAMPLER_##name: sample_##name(spec + 4, s, d); break;
      AE_SAMPLERS(AE_CASE)
#undef AE_CASE
    }
    while (d.next < end) d.add(-1);
    spec += 4 + (int)spec[3];
  }
}

// Partners for one mix transform: inside each group of consecutive rows, a keyed random cycle through all its rows.
// The group is keyed by its first sample, at position + 0x8000 so that no sample's own draws are touched.
inline void assign_partners(Call* calls, int slots, int batch, int position, u64 seed, u32 epoch, const u64* ids, int group) {
  int* order = (int*)malloc(sizeof(int) * group);
  for (int start = 0; start < batch; start += group) {
    const int n = min_of(group, batch - start);
    Stream s = stream_of(seed, epoch, ids[start], position + 0x8000);
    for (int i = 0; i < n; i++) order[i] = i;
    for (int i = 0; i < n - 1; i++) {
      const int j = i + below(s, n - i), kept = order[i];
      order[i] = order[j];
      order[j] = kept;
    }
    for (int i = 0; i < n; i++) {
      Call* row = calls + (size_t)(start + order[i]) * slots;
      for (int k = 0; k < slots; k++)
        if (row[k].op >= 0 && row[k].position == position) {
          row[k].args[0] = start + order[(i + 1) % n];
          if (n == 1) row[k].args[1] = 1.0;  // alone in its group, a sample stays as it is
        }
    }
  }
  free(order);
}

}}  // namespace
