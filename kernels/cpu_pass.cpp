// The fused pass on the CPU, compiled once per instruction set (AE_ISA). A row of the program is walked once: table ops
// compose into one pending 256-entry table a channel, flips stay pending until something reads coordinates, and the
// output pass folds the table into the normalisation. Only what needs neighbours or coordinates writes bytes between,
// into two planes-of-bytes buffers that stay in cache.
#include <stdlib.h>

#include "dispatch.h"
#include "finish.h"
#include "job.h"
#include "passes.h"
#include "statistics.h"

namespace ae { namespace AE_ISA { namespace {

void run_call(Canvas& c, int channels, const Call& call, bool pillow13, Arena arena) {
  const double* args = call.args;
  StatsStorage s;
  switch (call.op) {
#define AE_CASE(name)                                                                                       \
  case OP_##name:                                                                                           \
    for (int k = 0; k < channels; k++) run_table(c, k, [&](u8 v) { return name(v, args); });                \
    return;
    AE_CHANNEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) \
  case OP_##name: return run_pixel(c, channels, [args](Rgb p) { return name(p, args); });
    AE_PIXEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name)                                                     \
  case OP_##name:                                                         \
    for (int k = 0; k < channels; k++) {                                  \
      channel_stats(c, k, s);                                             \
      run_table(c, k, [&](u8 v) { return name(v, s.stats, args); });      \
    }                                                                     \
    return;
    AE_HISTOGRAM_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name)                                                                                        \
  case OP_##name:                                                                                            \
    luma_stats(c, channels, s);                                                                              \
    for (int k = 0; k < channels; k++) run_table(c, k, [&](u8 v) { return name(v, s.stats, args); });        \
    return;
    AE_LUMA_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) \
  case OP_##name: return run_stencil(c, channels, [args](const Window& w) { return name(w, args); });
    AE_STENCIL_OPS(AE_CASE)
#undef AE_CASE
  }
  if (is_region(call)) return run_region_on_bytes(c, channels, region(call));
  const Geometry g = geometry_of(call, c.image.h, c.image.w);
  run_geometry(c, channels, g, pillow13, arena);
}

// How many bytes a row's buffers and resampling need.
struct Need {
  size_t buffer, resample;
};

Need need_of(const Job& job, int row) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  int h = job.sources[row].h, w = job.sources[row].w;
  Need need = {(size_t)h * w, 0};
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0) continue;
    const Geometry g = geometry_of(calls[i], h, w);
    if (g.type == GEOMETRY_RESAMPLE) {
      const size_t bytes = resample_scratch(g, job.channels);
      need.resample = bytes > need.resample ? bytes : need.resample;
    }
    h = g.out_h;
    w = g.out_w;
    need.buffer = (size_t)h * w > need.buffer ? (size_t)h * w : need.buffer;
  }
  need.buffer = need.buffer * job.channels + 64;
  return need;
}

// Interleaved or otherwise strided images become planes; only the rectangle that the first crop reads is copied.
int gather_source(const Job& job, const Source& s, const Call* calls, Canvas& c) {
  int first = 0;
  while (first < job.slots && calls[first].op < 0) first++;
  Geometry g = first < job.slots ? geometry_of(calls[first], s.h, s.w) : same_size(GEOMETRY_COPY, s.h, s.w);
  const bool crops = g.type == GEOMETRY_RESAMPLE && calls[first].op == OP_resized_crop;
  const int top = crops ? g.top : 0, left = crops ? g.left : 0;
  const int h = crops ? g.box_h : s.h, w = crops ? g.box_w : s.w;
  const Planes out = target(c, job.channels, h, w);
  const u8* base = s.data + top * s.stride_y + left * s.stride_x;
  for (int y = 0; y < h; y++) {
    const u8* src = base + y * s.stride_y;
    if (job.channels == 3 && s.stride_c == 1 && s.stride_x == 3) {
      split_rgb(src, out.row(0, y), out.row(1, y), out.row(2, y), w);
      continue;
    }
    for (int k = 0; k < job.channels; k++) {
      u8* dst = out.row(k, y);
      for (int x = 0; x < w; x++) dst[x] = src[k * s.stride_c + x * s.stride_x];
    }
  }
  adopt(c, out);
  return crops ? first : -1;
}

// Everything up to the finish: the row's bytes, with a pending table and mirrorings.
void draw_canvas(const Job& job, int row, Canvas& c, Arena arena) {
  const Source& s = job.sources[row];
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  clear_lut(c);
  c.flip_x = c.flip_y = false;
  c.free = 0;
  int cropped = -1;
  if (s.stride_x == 1 || s.w == 1) {
    c.image = {{nullptr, nullptr, nullptr}, s.stride_y, s.h, s.w};
    for (int k = 0; k < job.channels; k++) c.image.p[k] = (u8*)s.data + k * s.stride_c;
  } else {
    cropped = gather_source(job, s, calls, c);
  }
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0 || calls[i].position > job.finish_position || is_mix(calls[i])) continue;
    Call call = calls[i];
    if (i == cropped) call.args[0] = call.args[1] = 0.0;  // the rectangle is all that was copied
    run_call(c, job.channels, call, job.pillow13, arena);
  }
}

bool reserve(Scratch& scratch, size_t bytes) {
  if (scratch.size >= bytes) return true;
  free(scratch.data);
  scratch.data = (u8*)aligned_alloc(64, (bytes + 63) & ~(size_t)63);
  scratch.size = scratch.data ? bytes : 0;
  return scratch.data != nullptr;
}

}  // namespace

bool run_rows(const Job& job, const int* rows, int count, Scratch& scratch) {
  Need need = {0, 0};
  const auto widen = [&](int row) {
    const Need n = need_of(job, row);
    need.buffer = n.buffer > need.buffer ? n.buffer : need.buffer;
    need.resample = n.resample > need.resample ? n.resample : need.resample;
  };
  for (int i = 0; i < count; i++) {
    widen(rows[i]);
    if (const Call* mix = mix_of(job, rows[i])) widen((int)mix->args[0]);
  }
  const size_t work = need.resample > finish_bytes(job) ? need.resample : finish_bytes(job);
  const size_t bytes = 4 * (need.buffer + 64) + 2 * sizeof(Canvas) + work + 1024;
  if (!reserve(scratch, bytes)) return false;
  Arena arena = {scratch.data};
  Canvas* canvas = arena.take<Canvas>(2);
  for (int i = 0; i < 4; i++) canvas[i / 2].buffers[i % 2] = arena.take<u8>(need.buffer);
  int drawn[2] = {-1, -1};  // which row each canvas holds
  int own = 0;
  for (int i = 0; i < count; i++) {
    const int row = rows[i];
    if (drawn[own] != row) own = drawn[own ^ 1] == row ? own ^ 1 : own;
    if (drawn[own] != row) draw_canvas(job, row, canvas[own], arena);
    drawn[own] = row;
    const Call* mix = mix_of(job, row);
    const int partner = mix ? (int)mix->args[0] : row;
    if (partner != row && drawn[own ^ 1] != partner) {
      draw_canvas(job, partner, canvas[own ^ 1], arena);
      drawn[own ^ 1] = partner;
    }
    finish_row(job, row, canvas[own], &canvas[partner == row ? own : own ^ 1], arena);
  }
  return true;
}

}}  // namespace
