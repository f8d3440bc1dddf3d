// The host's part of small.h: constants made once for a pipeline and an image size, and the batch's head.
#pragma once
#include <string.h>

#include <vector>

#include "dtype.h"
#include "sampling.h"
#include "small.h"
#include "step.h"
#include "view.h"

namespace ae { namespace AE_ISA {

struct SmallConstants {
  std::vector<u8> bytes;  // the spec, the normalisation table in the batch's dtype, and geometries
  i64 values, geometries;
};

// Whether seeing it suffices (absorb).
inline bool is_seen(const Geometry& g) {
  Map map;
  return g.type == GEOMETRY_COPY || g.type == GEOMETRY_ORIENT || is_map_in_16_16(g, map);
}

// Makes the geometries of a policy's op at each level and sign; false where it draws from no such list, or where one
// must be written.
inline bool make_geometries(double* e, int h, int w, std::vector<Geometry>& made) {
  if (e[ENTRY_OP] < 0 || !is_map({(int)e[ENTRY_OP], 0, {}})) return true;
  const int draw = (int)e[ENTRY_DRAW], top = (int)e[ENTRY_LEVEL];
  if (e[ENTRY_ARG] < 0 || e[ENTRY_MIXED] >= 0 || (draw != DRAW_FIXED && draw != DRAW_UNIFORM) || top != e[ENTRY_LEVEL])
    return false;
  e[ENTRY_GEOMETRY] = (double)made.size() + 1;
  const Draft draft = {nullptr, 0, h, w, 0};
  for (int level = 0; level <= top; level++)
    for (const double sign : {1.0, -1.0}) {
      Call call = {(int)e[ENTRY_OP], 0, {}};
      set_arguments(e, call);
      set_level(e, level_value(e, level, draft) * sign, call);
      made.push_back(geometry_of(call, h, w));
      const bool is_drawn = (draw == DRAW_UNIFORM ? level < top : level == top) && (sign > 0 || e[ENTRY_SIGNED] != 0.0);
      if (is_drawn && !is_seen(made.back())) return false;
    }
  return true;
}

// `sizes`: (h, w) of the image before each transform. False where the pipeline can't be drawn on a device.
inline bool make_constants(std::vector<double> spec, int transforms, const int* sizes, const float* table, int channels,
                           int dtype, SmallConstants& out) {
  std::vector<Geometry> made;
  double* v = spec.data();
  for (int t = 0; t < transforms; t++, v += HEAD + (int)v[HEAD_COUNT]) {
    const int sampler = (int)v[HEAD_SAMPLER];
    double* const own = v + HEAD;
    const int entries = sampler == SAMPLER_policy ? (int)own[0] * (int)own[1] : sampler == SAMPLER_augment ? (int)own[1] : 0;
    for (int i = 0; i < entries; i++)
      if (!make_geometries(own + 2 + (size_t)i * ENTRY, sizes[2 * t], sizes[2 * t + 1], made)) return false;
  }
  const size_t spec_bytes = spec.size() * sizeof(double), n = (size_t)channels * 256;
  out.values = (spec_bytes + 15) & ~(i64)15;
  out.geometries = (out.values + n * bytes_of_output(dtype) + 15) & ~(i64)15;
  out.bytes.assign(out.geometries + made.size() * sizeof(Geometry), 0);
  if (spec_bytes) memcpy(out.bytes.data(), spec.data(), spec_bytes);
  for (size_t i = 0; i < n; i++) store_output(dtype, table[i], out.bytes.data() + out.values, i);
  if (!made.empty()) memcpy(out.bytes.data() + out.geometries, made.data(), made.size() * sizeof(Geometry));
  return true;
}

// Lays out the workspace of `count` rows: the head, ids of the host's behind it, and what `draw` writes. Gives its size.
inline i64 lay_out(SmallBatch& b, int count) {
  i64 end = sizeof(SmallBatch);
  const auto take = [&](i64 bytes) {
    const i64 at = (end + 63) & ~(i64)63;
    end = at + bytes;
    return at;
  };
  b.own_ids = take(b.ids ? 0 : count * (i64)sizeof(u64));
  const i64 calls = (i64)count * b.slots;
  b.calls = take(calls * sizeof(Call));
  b.maps = take(calls * sizeof(Geometry));
  b.regions = take(calls * sizeof(Region));
  b.counts = take(count * sizeof(int));
  return end;
}

}}  // namespace
