// What a program row must satisfy before it is run: programs come from users and from JSON, and the passes rely on this.
#pragma once
#include <stdexcept>
#include <string>

#include "dispatch.h"
#include "geometry_ops.h"

namespace ae { namespace baseline {

constexpr int MAX_SIDE = 32767;    // as in augengine/ops/registry.py
constexpr int NEVER = 2147483647;  // the finish position of a plan without Normalize or mix, as in augengine/plan.py

struct Limits {
  int slots, batch, finish_position, out_h, out_w;
};

inline std::string size_text(int h, int w) { return std::to_string(h) + "x" + std::to_string(w); }

// Where a call may stand: in order, bytes before the finish, one mix, and that at the finish or behind it.
inline const char* misplaced(const Call& call, int last_position, bool last_mixed, bool mixed, int finish_position) {
  if (call.position < last_position) return "stands behind a later position";
  if (call.position == last_position && (last_mixed || (is_mix(call) && last_position >= 0)))
    return "stands beside a mix, which needs a position of its own";
  if (call.position > finish_position && !is_region(call) && !is_mix(call))
    return "works on bytes, and stands behind Normalize or a mix";
  if (is_region(call) && call.position <= finish_position && region(call).noise)
    return "writes normal noise, which bytes can't hold, and stands before Normalize or a mix";
  if (!is_mix(call)) return nullptr;
  if (mixed) return "mixes a second time";
  return finish_position != NEVER && call.position < finish_position ? "mixes, and stands before Normalize" : nullptr;
}

inline std::string bad_size(const Geometry& g) {
  if (g.out_h >= 1 && g.out_w >= 1 && g.out_h <= MAX_SIDE && g.out_w <= MAX_SIDE) return "";
  return "gives " + size_text(g.out_h, g.out_w) + ", where a side has 1 to " + std::to_string(MAX_SIDE) + " pixels";
}

// What a mix must not do to an h x w batch. Empty: it is sound.
inline std::string unsound_mix(const Call& call, int h, int w, int batch) {
  for (int i = 0; i < PARTNERS[call.op]; i++)
    if (!(call.args[i] >= 0 && call.args[i] < batch))
      return "mixes with row " + std::to_string((long long)call.args[i]) + " of a batch of " + std::to_string(batch);
  for (int i = 0; i < MAX_PATCHES; i++) {
    const Patch p = patch(call, i, h, w);
    if (is_empty(p)) continue;
    const int top = p.top + p.dy, left = p.left + p.dx;
    const bool inside = p.top >= 0 && p.left >= 0 && p.top + p.height <= h && p.left + p.width <= w && top >= 0 &&
                        left >= 0 && top + p.height <= h && left + p.width <= w;
    if (!inside)
      return "mixes " + size_text(p.height, p.width) + ", which reaches outside the " + size_text(h, w) + " image";
  }
  return "";
}

// What a call must not do to an h x w image. Empty: it is sound.
inline std::string unsound(const Call& call, const Geometry& g, int h, int w, int batch) {
  const bool inside = g.top >= 0 && g.left >= 0 && g.top + g.box_h <= h && g.left + g.box_w <= w;
  if (g.type == GEOMETRY_RESAMPLE && !inside)
    return "resizes " + size_text(g.box_h, g.box_w) + " from (" + std::to_string(g.top) + ", " +
           std::to_string(g.left) + "), which reaches outside the " + size_text(h, w) + " image";
  if (is_convolution(call)) {
    for (int i = 0; i < 2; i++)
      if (!(call.args[i] >= 1 && call.args[i] <= MAX_KERNEL)) return "convolves with a kernel of more taps than there can be";
  }
  const std::string bad = bad_size(g);
  return bad.empty() && is_mix(call) ? unsound_mix(call, h, w, batch) : bad;
}

// A chain begins, goes on and ends at one size.
struct ChainCheck {
  bool open;
  int h, w;

  const char* step(const Call& call, int at_h, int at_w) {
    const bool begins = (int)call.args[1] == CHAIN_BEGIN;
    if (begins == open) return begins ? "begins a chain inside another" : "goes on with a chain that has not begun";
    if (begins) { h = at_h; w = at_w; }
    if (h != at_h || w != at_w) return "adds to a chain an image of another size than it began with";
    open = (int)call.args[1] != CHAIN_END;
    return nullptr;
  }
};

inline void check_row(const Call* calls, int row, int h, int w, const Limits& limits) {
  int last_position = -1;
  bool mixed = false, last_mixed = false;
  ChainCheck chain = {};
  for (int i = 0; i < limits.slots; i++) {
    const Call& call = calls[i];
    if (call.op < 0) continue;
    const char* place = misplaced(call, last_position, last_mixed, mixed, limits.finish_position);
    if (!place && is_chain(call)) place = chain.step(call, h, w);
    const Geometry g = is_map(call) ? geometry_of(call, h, w) : same_size(GEOMETRY_COPY, h, w);
    const std::string what = place ? place : unsound(call, g, h, w, limits.batch);
    if (!what.empty())
      throw std::invalid_argument("program row " + std::to_string(row) + ": its call at position " +
                                  std::to_string(call.position) + " " + what);
    last_position = call.position;
    last_mixed = is_mix(call);
    mixed |= last_mixed;
    h = g.out_h;
    w = g.out_w;
  }
  if (chain.open) throw std::invalid_argument("program row " + std::to_string(row) + ": its chain has no end");
  if (h != limits.out_h || w != limits.out_w)
    throw std::invalid_argument("program row " + std::to_string(row) + ": ends as " + size_text(h, w) +
                                " where the batch is " + size_text(limits.out_h, limits.out_w) +
                                "; add RandomResizedCrop, or Resize and CenterCrop, to give all images one size");
}

}}  // namespace
