// Samplers of policies: AutoAugment, RandAugment and TrivialAugment, AugMix.
#pragma once
#include "draft.h"
#include "mix.h"

namespace ae { namespace AE_ISA {

// An op at a level, ENTRY doubles. Level i of n gives a value by the rule, between `from` and `to`; behind it stand the
// op's arguments, of which one becomes base +- value * scale. ENTRY_GEOMETRY is 0, or where the geometries of all
// levels and signs were made beforehand (small_host.h), which is the first of them, from 1 on.
enum : int { ENTRY_OP, ENTRY_P, ENTRY_SIGNED, ENTRY_ARG, ENTRY_BASE, ENTRY_SCALE, ENTRY_RULE, ENTRY_FROM, ENTRY_TO,
             ENTRY_SIDE, ENTRY_FORM, ENTRY_DRAW, ENTRY_LEVEL, ENTRY_SPREAD, ENTRY_MAX, ENTRY_LEVELS, ENTRY_MIXED,
             ENTRY_GEOMETRY, ENTRY_ARGS, ENTRY = ENTRY_ARGS + AE_MAX_ARGS };
enum : int { GEOMETRY_ARG = AE_MAX_ARGS - 1 };  // an argument that no map has; then it tells which geometry
enum LevelRule : int { RULE_LINSPACE, RULE_STEPS, RULE_LINEAR };         // torch.linspace; whole steps; plain
enum LevelSide : int { SIDE_NONE, SIDE_WIDTH, SIDE_HEIGHT };             // `from` and `to` are fractions of it
// as it is; truncated; degrees(atan(value)); for two arguments; the side of a square at a drawn place
enum LevelForm : int { FORM_PLAIN, FORM_WHOLE, FORM_SHEAR, FORM_TWICE, FORM_SQUARE };
// LEVEL; 0 .. LEVEL - 1; normal about LEVEL; uniform in [0, LEVEL]
enum LevelDraw : int { DRAW_FIXED, DRAW_UNIFORM, DRAW_NORMAL, DRAW_CONTINUOUS };

// torch.linspace(from, to, n)[i] on a CPU with fused multiply-adds: float32, one rounding
inline double linspace(double from, double to, int n, int i) {
  const float lo = (float)from, hi = (float)to;
  const float step = (hi - lo) / (float)(n - 1);
  const bool first_half = i < n / 2;
  return (double)(float)((double)(first_half ? lo : hi) + (double)step * (first_half ? i : i - (n - 1)));
}

inline double level_value(const double* e, double level, const Draft& d) {
  const double side = e[ENTRY_SIDE] == SIDE_WIDTH ? d.w : e[ENTRY_SIDE] == SIDE_HEIGHT ? d.h : 1.0;
  const double from = e[ENTRY_FROM], to = e[ENTRY_TO], top = e[ENTRY_LEVELS] - 1;
  const int rule = (int)e[ENTRY_RULE];
  if (rule == RULE_LINSPACE && level == floor(level))
    return linspace(from * side, to * side, (int)e[ENTRY_LEVELS], (int)level);
  if (rule == RULE_STEPS) {
    const double steps = nearbyint((double)((float)level / (float)(top / fabs(to - from))));
    return to < from ? from - steps : from + steps;
  }
  return (from + (to - from) * (level / top)) * side;
}

inline double draw_level(const double* e, Stream& s) {
  switch ((int)e[ENTRY_DRAW]) {
    case DRAW_CONTINUOUS: return uniform(s, 0.0, e[ENTRY_LEVEL]);
    case DRAW_UNIFORM: return below(s, (int)e[ENTRY_LEVEL]);
    case DRAW_NORMAL: {
      const double level = e[ENTRY_LEVEL] + e[ENTRY_SPREAD] * normal(s);
      return level < 0.0 ? 0.0 : level > e[ENTRY_MAX] ? e[ENTRY_MAX] : level;
    }
  }
  return e[ENTRY_LEVEL];
}

// A square about a uniform centre, cut at the border, as the first four arguments of an erase; false where it is empty.
inline bool place_square(double side, Stream& s, Draft& d, double* args) {
  const int half = (int)side / 2, n[2] = {d.h, d.w};
  for (int i = 0; i < 2; i++) {
    const int center = below(s, n[i]), from = max_of(center - half, 0);
    args[i] = from;
    args[2 + i] = min_of(center + half, n[i]) - from;
  }
  return half > 0;
}

// -1 where a draw is under 0.5, else 1; not drawn where it has no sign. No branch: nothing foresees what an entry needs.
inline double sign_if(bool has_sign, Stream& s) {
  if (s.left == 0) philox(s);
  const int negative = has_sign & (s.words[4 - s.left] < 0x80000000u);
  s.left -= has_sign;
  return 1 - 2 * negative;
}

inline void set_arguments(const double* e, Call& call) {
  for (int i = 0; i < AE_MAX_ARGS; i++) call.args[i] = e[ENTRY_ARGS + i];
}

inline void set_level(const double* e, double value, Call& call) {
  const int form = (int)e[ENTRY_FORM], arg = (int)e[ENTRY_ARG];
  if (form == FORM_SHEAR) value = atan(value) * (180.0 / 3.14159265358979323846);
  if (form == FORM_WHOLE) value = trunc(value);
  call.args[arg] = e[ENTRY_BASE] + value * e[ENTRY_SCALE];
  if (form == FORM_TWICE) call.args[arg + 1] = call.args[arg];
}

inline void sample_entry(const double* e, Stream& s, Draft& d) {
  if (!passes(s, e[ENTRY_P]) || e[ENTRY_OP] < 0) return;
  Call& call = d.add((int)e[ENTRY_OP]);
  set_arguments(e, call);
  if (e[ENTRY_MIXED] >= 0) call.args[(int)e[ENTRY_MIXED]] = BILINEAR + below(s, 2);  // or bicubic
  if (e[ENTRY_ARG] < 0) return;
  const double level = draw_level(e, s), sign = sign_if(e[ENTRY_SIGNED] != 0.0, s);
  if (e[ENTRY_GEOMETRY] > 0) {
    call.args[GEOMETRY_ARG] = e[ENTRY_GEOMETRY] + 2.0 * level + (sign < 0.0);
    return;
  }
  const double value = level_value(e, level, d) * sign;
  if ((int)e[ENTRY_FORM] != FORM_SQUARE) set_level(e, value, call);
  else if (!place_square(value, s, d, call.args)) d.take_back();
}

// sub-policies, ops a sub-policy, entry * both: one sub-policy, its ops in order
inline void sample_policy(const double* v, Stream& s, Draft& d) {
  const int ops = (int)v[1];
  const double* e = v + 2 + (size_t)below(s, (int)v[0]) * ops * ENTRY;
  for (int i = 0; i < ops; i++) sample_entry(e + i * ENTRY, s, d);
}

// ops to apply, entries, entry * entries: each time any of them
inline void sample_augment(const double* v, Stream& s, Draft& d) {
  for (int i = 0; i < (int)v[0]; i++) sample_entry(v + 2 + (size_t)below(s, (int)v[1]) * ENTRY, s, d);
}

// Weights that follow Dirichlet(alpha, ..., alpha), in float32 as torch has them.
inline void dirichlet(Stream& s, double alpha, int n, float* out) {
  double logs[64], top = 0.0, sum = 0.0;
  for (int i = 0; i < n; i++) {
    logs[i] = log_gamma_draw(s, alpha);
    top = i == 0 || logs[i] > top ? logs[i] : top;
  }
  for (int i = 0; i < n; i++) sum += exp(logs[i] - top);
  for (int i = 0; i < n; i++) out[i] = (float)(exp(logs[i] - top) / sum);
}

inline void add_chain(Draft& d, float weight, int at) {
  Call& call = d.add(OP_chain);
  call.args[0] = weight;
  call.args[1] = at;
}

// chains, depth (or -1: 1 to 3), alpha, entries, entry * entries
inline void sample_augmix(const double* v, Stream& s, Draft& d) {
  const int chains = (int)v[0];
  float own[2], weights[64];
  dirichlet(s, v[2], 2, own);
  dirichlet(s, v[2], chains, weights);
  add_chain(d, own[0], CHAIN_BEGIN);
  for (int i = 0; i < chains; i++) {
    const int depth = v[1] > 0 ? (int)v[1] : 1 + below(s, 3);
    for (int k = 0; k < depth; k++) sample_entry(v + 4 + (size_t)below(s, (int)v[3]) * ENTRY, s, d);
    add_chain(d, weights[i] * own[1], i < chains - 1 ? CHAIN_NEXT : CHAIN_END);
  }
}

}}  // namespace
