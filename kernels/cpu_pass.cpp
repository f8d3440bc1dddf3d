// The fused pass on the CPU, compiled once per instruction set (AE_ISA). A row of the program is walked once: table ops
// compose into one pending 256-entry table a channel, flips stay pending until something reads coordinates, and the
// output pass folds the table into the normalisation. Only what needs neighbours or coordinates writes bytes between,
// into two planes-of-bytes buffers that stay in cache.
#include <stdlib.h>

#include "dispatch.h"
#include "finish.h"
#include "geometry_ops.h"
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
    for (int k = 0; k < channels; k++) run_table(c, k, [&](u8 v) { return name(v, k, args); });             \
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
    AE_WINDOW_OPS(AE_CASE)
#undef AE_CASE
  }
  if (is_convolution(call)) return run_convolution(c, channels, convolution(call), arena);
  if (is_chain(call)) return run_chain(c, channels, call);
  if (is_region(call)) return run_region_on_bytes(c, channels, region(call));
  const Geometry g = geometry_of(call, c.image.h, c.image.w);
  run_geometry(c, channels, g, pillow13, arena);
}

// How many bytes a row needs: each of its buffers, working memory, and what a chain keeps.
struct Need {
  size_t buffer, work, chain;

  void widen(const Need& n) {
    buffer = n.buffer > buffer ? n.buffer : buffer;
    work = n.work > work ? n.work : work;
    chain = n.chain > chain ? n.chain : chain;
  }
};

Need need_of(const Job& job, int row) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  int h = job.sources[row].h, w = job.sources[row].w;
  Need need = {(size_t)h * w * job.channels + 64, 0, 0};
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0) continue;
    const Geometry g = geometry_of(calls[i], h, w);
    const size_t pixels = (size_t)g.out_h * g.out_w * job.channels;
    Need call = {pixels + 64, 0, is_chain(calls[i]) ? pixels : 0};
    if (g.type == GEOMETRY_RESAMPLE) call.work = resample_scratch(g, job.channels);
    if (is_convolution(calls[i])) call.work = convolution_bytes(convolution(calls[i]), w);
    need.widen(call);
    h = g.out_h;
    w = g.out_w;
  }
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
  Need need = {0, 0, 0};
  for (int i = 0; i < count; i++) {
    need.widen(need_of(job, rows[i]));
    const Call* mix = mix_of(job, rows[i]);
    for (int j = 0; mix && j < PARTNERS[mix->op]; j++) need.widen(need_of(job, (int)mix->args[j]));
  }
  const size_t chain = need.chain * (1 + sizeof(float)) + 128;
  const size_t bytes = 4 * (need.buffer + 64) + 2 * (chain + sizeof(Canvas)) + finish_bytes(job) + need.work + 1024;
  if (!reserve(scratch, bytes)) return false;
  Arena arena = {scratch.data};
  Canvas* canvas = arena.take<Canvas>(2);
  for (int i = 0; i < 4; i++) canvas[i / 2].buffers[i % 2] = arena.take<u8>(need.buffer);
  for (int i = 0; i < 2; i++) {
    canvas[i].origin = arena.take<u8>(need.chain);
    canvas[i].sum = arena.take<float>(need.chain);
  }
  const Arena finish = {arena.take<u8>(finish_bytes(job))};  // apart: partners are drawn while a row is finished
  int drawn[2] = {-1, -1};  // which row each canvas holds
  int own = 0;
  for (int i = 0; i < count; i++) {
    const int row = rows[i];
    if (drawn[own] != row) own = drawn[own ^ 1] == row ? own ^ 1 : own;
    if (drawn[own] != row) draw_canvas(job, row, canvas[own], arena);
    drawn[own] = row;
    const auto canvas_of = [&](int partner) -> const Canvas& {
      if (drawn[own ^ 1] != partner) draw_canvas(job, partner, canvas[own ^ 1], arena);
      drawn[own ^ 1] = partner;
      return canvas[own ^ 1];
    };
    finish_row(job, row, canvas[own], canvas_of, finish);
  }
  return true;
}

}}  // namespace
