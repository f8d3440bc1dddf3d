// Samplers of erasing and mixing.
#pragma once
#include "draft.h"
#include "mix.h"

namespace ae { namespace AE_ISA {

enum EraseFill : int { ERASE_CONSTANT, ERASE_CHANNELS, ERASE_PIXELS };

// p, scale lo, hi, ratio lo, hi (unless `ratio uniform`, their logarithms), ratio uniform, fill (EraseFill), value * 3:
// ten tries; none fits: nothing
inline void sample_erase(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  for (int attempt = 0; attempt < 10; attempt++) {
    const double area = (double)d.h * d.w * uniform(s, v[1], v[2]);
    const double drawn = uniform(s, v[3], v[4]), ratio = v[5] != 0.0 ? drawn : exponential(drawn);
    const double h = round_even(sqrt(area * ratio)), w = round_even(sqrt(area / ratio));
    if (!(h < d.h && w < d.w)) continue;
    const int fill = (int)v[6];
    Call& call = d.add(fill == ERASE_PIXELS ? OP_erase_noise : OP_erase);
    call.args[0] = below(s, d.h - (int)h + 1);
    call.args[1] = below(s, d.w - (int)w + 1);
    call.args[2] = h;
    call.args[3] = w;
    if (fill == ERASE_PIXELS) for (int i = 0; i < 2; i++) call.args[4 + i] = draw(s);
    else for (int i = 0; i < 3; i++) call.args[4 + i] = fill == ERASE_CHANNELS ? (double)(float)normal(s) : v[7 + i];
    return;
  }
}

// p, holes, length, inside, value * 3: squares about a uniform centre, cut at the border, or wholly inside
inline void sample_cutout(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  const int length = (int)v[2];
  const auto side = [&](int n, double* start, double* size) {
    const int from = v[3] != 0.0 ? below(s, max_of(0, n - length) + 1) : below(s, n) - length / 2;
    *start = max_of(from, 0);
    *size = min_of(from + length, n) - *start;
  };
  for (int hole = 0; hole < (int)v[1]; hole++) {
    Call& call = d.add(OP_erase);
    side(d.h, &call.args[0], &call.args[2]);
    side(d.w, &call.args[1], &call.args[3]);
    for (int i = 0; i < 3; i++) call.args[4 + i] = v[4 + i];
  }
}

// A mix's call; the partners are filled in by assign_partners.
inline Call& add_mix(Draft& d, int op) {
  Call& call = d.add(op);
  for (int i = 0; i < PARTNERS[op]; i++) call.args[i] = -1;
  return call;
}

// p, alpha: lam ~ Beta(alpha, alpha)
inline void sample_mixup(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  add_mix(d, OP_mixup).args[1] = (double)(float)beta_draw(s, v[1]);
}

// p, alpha: torchvision's box, of area 1 - lam before it is cut at the border
inline void sample_cutmix(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  const double r = 0.5 * sqrt(1.0 - (double)(float)beta_draw(s, v[1]));
  const int x = below(s, d.w), y = below(s, d.h), half_w = (int)(r * d.w), half_h = (int)(r * d.h);
  Call& call = add_mix(d, OP_cutmix);
  call.args[1] = max_of(y - half_h, 0);
  call.args[2] = max_of(x - half_w, 0);
  call.args[3] = min_of(y + half_h, d.h) - call.args[1];
  call.args[4] = min_of(x + half_w, d.w) - call.args[2];
}

// p, beta: the boundary from two Beta(beta, beta) draws, then each patch at a uniform place of its image
inline void sample_ricap(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  Call& call = add_mix(d, OP_ricap);
  call.args[3] = round_even(d.w * beta_draw(s, v[1]));
  call.args[4] = round_even(d.h * beta_draw(s, v[1]));
  for (int i = 0; i < MAX_PATCHES; i++) {
    const Patch p = ricap(call.args, i, d.h, d.w);
    call.args[5 + 2 * i] = below(s, d.w - p.width + 1);
    call.args[6 + 2 * i] = below(s, d.h - p.height + 1);
  }
}

}}  // namespace
