// Samplers: each draws one transform's calls for one sample from its own counter stream. Every draw is in double and in a
// fixed order, on every device the same, and tests/sampling_twin.py draws the same in Python.
//
// A pipeline's spec is a row of doubles: for each transform (sampler, position, slots, per group, n, value * n). The
// values' meaning stands at the sampler that reads them; augengine/transforms/ and policies/ write them. `per group`:
// drawn from the counters of the group of consecutive samples, so that they all get the same.
#pragma once
#ifndef __CUDACC__
#include <stdlib.h>
#include <string.h>
#endif

#include "sample_finish.h"
#include "sample_image.h"
#include "sample_policy.h"

namespace ae { namespace AE_ISA {

#define AE_SAMPLERS(X)                                                                                       \
  X(call) X(jitter) X(resized_crop) X(resize) X(resize_shorter) X(center_crop) X(random_crop) X(affine)        \
  X(perspective) X(erase) X(cutout) X(lighting) X(mixup) X(cutmix) X(ricap) X(maybe) X(choice) X(order)        \
  X(policy) X(augment) X(augmix)
enum SamplerCode : int {
#define AE_CODE(name) SAMPLER_##name,
  AE_SAMPLERS(AE_CODE)
#undef AE_CODE
};

// Transforms of transforms: a nested one is (sampler, slots, n, value * n) and draws from the same stream.
inline void sample_nested(const double* v, Stream& s, Draft& d);

inline const double* behind_nested(const double* v) { return v + 3 + (int)v[2]; }

// p, count, nested * count
inline void sample_maybe(const double* v, Stream& s, Draft& d) {
  if (!passes(s, v[0])) return;
  const double* nested = v + 2;
  for (int i = 0; i < (int)v[1]; i++, nested = behind_nested(nested)) sample_nested(nested, s, d);
}

// count, cumulative probability * count, nested * count
inline void sample_choice(const double* v, Stream& s, Draft& d) {
  const int count = (int)v[0];
  const double u = uniform(s);
  const double* nested = v + 1 + count;
  for (int i = 0; i < count - 1 && u >= v[1 + i]; i++) nested = behind_nested(nested);
  sample_nested(nested, s, d);
}

// count, nested * count: all of them, in random order
inline void sample_order(const double* v, Stream& s, Draft& d) {
  const int count = (int)v[0];
  int order[64];
  shuffle(s, order, count);
  for (int i = 0; i < count; i++) {
    const double* nested = v + 1;
    for (int k = 0; k < order[i]; k++) nested = behind_nested(nested);
    sample_nested(nested, s, d);
  }
}

// Kernels for one pipeline have only the samplers that it draws with.
#ifndef AE_DRAWN_SAMPLERS
#define AE_DRAWN_SAMPLERS AE_SAMPLERS
#endif

inline void sample_one(int sampler, const double* v, Stream& s, Draft& d) {
  switch (sampler) {
#define AE_CASE(name) \
  case SAMPLER_##name: return sample_##name(v, s, d);
    AE_DRAWN_SAMPLERS(AE_CASE)
#undef AE_CASE
  }
}

inline void sample_nested(const double* v, Stream& s, Draft& d) { sample_one((int)v[0], v + 3, s, d); }

enum : int { HEAD_SAMPLER, HEAD_POSITION, HEAD_SLOTS, HEAD_PER_GROUP, HEAD_COUNT, HEAD };

inline const double* behind_transform(const double* v) { return v + HEAD + (int)v[HEAD_COUNT]; }

// What group a row stands in is told by the group's first sample. A group's draws are keyed by that sample, at
// positions of their own, so that no sample's draws are touched.
enum : int { GROUP_DRAWS = 0x4000, GROUP_PARTNERS = 0x8000 };

struct Samples {
  Call* calls;
  int slots, size, group;
  const u64* ids;
  const int* sizes;  // (h, w) of each, `sizes_apart` ints from one to the next
  int sizes_apart;
  u64 seed;
  u32 epoch;
};

// Rows are drawn a few at a time, transform by transform: the first blocks of their streams depend on nothing drawn
// before, so that the machine computes them side by side. A thread on a GPU draws one.
#ifdef __CUDACC__
enum : int { ROWS_AT_A_TIME = 1 };
#else
enum : int { ROWS_AT_A_TIME = 32 };
#endif

inline void sample_rows(const Samples& b, const double* spec, int n_transforms, int start, int count) {
  Draft drafts[ROWS_AT_A_TIME];
  Stream streams[ROWS_AT_A_TIME];
  Call* const calls = b.calls + (size_t)start * b.slots;
  memset((void*)calls, 0, sizeof(Call) * count * b.slots);
  for (int i = 0; i < count; i++) {
    const int* const size = b.sizes + (size_t)b.sizes_apart * (start + i);
    drafts[i] = {calls + (size_t)i * b.slots, b.ids[start + i], size[0], size[1], 0};
  }
  for (int t = 0; t < n_transforms; t++, spec = behind_transform(spec)) {
    const int position = (int)spec[HEAD_POSITION], slots = (int)spec[HEAD_SLOTS];
    const bool per_group = spec[HEAD_PER_GROUP] != 0.0;
    for (int i = 0; i < count; i++) {
      const u64 id = per_group ? b.ids[(start + i) / b.group * b.group] : drafts[i].id;
      begin(streams[i], b.seed, b.epoch, id, per_group ? position + GROUP_DRAWS : position);
      philox(streams[i]);
      for (int k = 0; k < slots; k++) {
        drafts[i].next[k].op = -1;
        drafts[i].next[k].position = position;
      }
    }
    for (int i = 0; i < count; i++) {
      Draft& d = drafts[i];
      Call* const end = d.next + slots;
      d.position = position;
      sample_one((int)spec[HEAD_SAMPLER], spec + HEAD, streams[i], d);
      d.next = end;
    }
  }
}

inline bool is_mix_op(int op) { return op >= 0 && PARTNERS[op] > 0; }

// Partners for the mixes of one position: inside each group of consecutive rows, a keyed random cycle through all its
// rows; a row's partners are those that follow it there. Alone in its group, a sample stays as it is.
inline void assign_partners(const Samples& b, int position) {
  int* order = (int*)malloc(sizeof(int) * b.group);
  for (int start = 0; start < b.size; start += b.group) {
    const int n = min_of(b.group, b.size - start);
    Stream s;
    begin(s, b.seed, b.epoch, b.ids[start], position + GROUP_PARTNERS);
    shuffle(s, order, n);
    for (int i = 0; i < n; i++) {
      Call* row = b.calls + (size_t)(start + order[i]) * b.slots;
      for (int k = 0; k < b.slots; k++) {
        if (!is_mix_op(row[k].op) || row[k].position != position) continue;
        for (int p = 0; p < PARTNERS[row[k].op]; p++) row[k].args[p] = start + order[(i + 1 + p) % n];
        if (n == 1) row[k].op = -1;
      }
    }
  }
  free(order);
}

}}  // namespace
