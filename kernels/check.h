// What a program row must satisfy before it is run: programs come from users and from JSON, and the passes rely on this.
#pragma once
#include <stdexcept>
#include <string>

#include "dispatch.h"
#include "geometry.h"

namespace ae { namespace baseline {

constexpr int MAX_SIDE = 32767;    // as in augengine/ops/registry.py
constexpr int NEVER = 2147483647;  // the finish position of a plan without Normalize or mix, as in augengine/plan.py

struct Limits {
  int slots, batch, finish_position, out_h, out_w;
};

inline std::string size_text(int h, int w) { return std::to_string(h) + "x" + std::to_string(w); }

// Where a call may stand: in order, bytes before the finish, one mix, and that at the finish or behind it.
inline const char* misplaced(const Call& call, int last_position, bool mixed, int finish_position) {
  if (call.position < last_position) return "stands behind a later position";
  if (call.position > finish_position && !is_region(call) && !is_mix(call))
    return "works on bytes, and stands behind Normalize or a mix";
  if (!is_mix(call)) return nullptr;
  if (mixed) return "mixes a second time";
  return finish_position != NEVER && call.position < finish_position ? "mixes, and stands before Normalize" : nullptr;
}

// What a call must not do to an h x w image. Empty: it is sound.
inline std::string unsound(const Call& call, const Geometry& g, int h, int w, int batch) {
  const bool inside = g.top >= 0 && g.left >= 0 && g.top + g.box_h <= h && g.left + g.box_w <= w;
  if (g.type == GEOMETRY_RESAMPLE && !inside)
    return "resizes " + size_text(g.box_h, g.box_w) + " from (" + std::to_string(g.top) + ", " +
           std::to_string(g.left) + "), which reaches outside the " + size_text(h, w) + " image";
  if (g.out_h < 1 || g.out_w < 1 || g.out_h > MAX_SIDE || g.out_w > MAX_SIDE)
    return "gives " + size_text(g.out_h, g.out_w) + ", where a side has 1 to " + std::to_string(MAX_SIDE) + " pixels";
  if (is_mix(call) && !(call.args[0] >= 0 && call.args[0] < batch))
    return "mixes with row " + std::to_string((long long)call.args[0]) + " of a batch of " + std::to_string(batch);
  return "";
}

inline void check_row(const Call* calls, int row, int h, int w, const Limits& limits) {
  int last_position = 0;
  bool mixed = false;
  for (int i = 0; i < limits.slots; i++) {
    const Call& call = calls[i];
    if (call.op < 0) continue;
    const char* place = misplaced(call, last_position, mixed, limits.finish_position);
    const Geometry g = geometry_of(call, h, w);
    const std::string what = place ? place : unsound(call, g, h, w, limits.batch);
    if (!what.empty())
      throw std::invalid_argument("program row " + std::to_string(row) + ": its call at position " +
                                  std::to_string(call.position) + " " + what);
    last_position = call.position;
    mixed |= is_mix(call);
    h = g.out_h;
    w = g.out_w;
  }
  if (h != limits.out_h || w != limits.out_w)
    throw std::invalid_argument("program row " + std::to_string(row) + ": ends as " + size_text(h, w) +
                                " where the batch is " + size_text(limits.out_h, limits.out_w) +
                                "; add RandomResizedCrop, or Resize and CenterCrop, to give all images one size");
}

}}  // namespace
