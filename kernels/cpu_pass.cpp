// The fused pass on the CPU, compiled once per instruction set (AE_ISA). A row of the program is walked once: table ops
// compose into one pending 256-entry table a channel, flips stay pending until something reads coordinates, and the
// output pass folds the table into the normalisation. Only what needs neighbours or coordinates writes bytes between,
// into two planes-of-bytes buffers that stay in cache.
#include <stdlib.h>

#include <new>

#include "dispatch.h"
#include "finish.h"
#include "geometry_ops.h"
#include "job.h"
#include "passes.h"
#include "statistics.h"

namespace ae { namespace AE_ISA { namespace {

void run_call(Canvas& c, int channels, const Call& call, Arena arena) {
  const double* args = call.args;
  StatsStorage s;
  const auto fill = [](u8* table, auto op) { for (int v = 0; v < 256; v++) table[v] = op((u8)v); };
  switch (call.op) {
#define AE_CASE(name)                                                                                            \
  case OP_##name:                                                                                                \
    return compose(c, channels, [&](int k, u8* t) { fill(t, [&](u8 v) { return name(v, k, args); }); });
    AE_CHANNEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) \
  case OP_##name: return run_pixel(c, channels, [args](auto p) -> decltype(name(p, args)) { return name(p, args); });
    AE_PIXEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name)                                         \
  case OP_##name:                                             \
    materialise_small(c, channels);                           \
    return compose(c, channels, [&](int k, u8* t) {           \
      channel_stats(c, k, s);                                 \
      fill(t, [&](u8 v) { return name(v, s.stats, args); });  \
    });
    AE_HISTOGRAM_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name)                                         \
  case OP_##name:                                             \
    materialise_table(c, channels);                           \
    return compose(c, channels, [&](int k, u8* t) {           \
      range_stats(c, k, s);                                   \
      fill(t, [&](u8 v) { return name(v, s.stats, args); });  \
    });
    AE_RANGE_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name)                                                                                             \
  case OP_##name:                                                                                                 \
    materialise_table(c, channels);                                                                               \
    luma_stats(c, channels, s);                                                                                   \
    return compose(c, channels, [&](int, u8* t) { fill(t, [&](u8 v) { return name(v, s.stats, args); }); });
    AE_LUMA_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) \
  case OP_##name: return run_stencil(c, channels, [args](const auto& w) { return name(w, args); });
    AE_WINDOW_OPS(AE_CASE)
#undef AE_CASE
  }
  if (is_convolution(call)) return run_convolution(c, channels, convolution(call), arena);
  if (is_chain(call)) return run_chain(c, channels, call);
  if (is_region(call)) return run_region_on_bytes(c, channels, region(call));
}

u8* reserve(Memory& block, size_t bytes) {
  if (block.size < bytes) {
    free(block.data);
    block.data = (u8*)aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    block.size = block.data ? bytes : 0;
  }
  return block.data;
}

// A call of a row, and its map where it moves pixels.
struct Step {
  const Call* call;
  Geometry map;
};

// The calls of a row that work on its bytes, and what memory they need.
struct Steps {
  Step* step;
  int count;
  size_t image, work, chain;  // bytes: of the largest image on the way, of a call's working memory, of a chain's image

  // h, w: the image's size, before and after.
  void add(const Call& call, int channels, int& h, int& w) {
    // Made in its place: a copy would wait for the stores of all its parts.
    Step& s = *new (step + count++) Step{&call, is_map(call) ? geometry_of(call, h, w) : Geometry()};
    if (is_map(call)) {
      if (s.map.type == GEOMETRY_RESAMPLE) widen(work, resample_scratch(s.map, channels));
      h = s.map.out_h;
      w = s.map.out_w;
      widen(image, (size_t)h * w * channels);
      if (s.map.type == GEOMETRY_CROP && count > 1) join_crops(step[count - 2].map, s.map);
      return;
    }
    if (is_chain(call)) widen(chain, (size_t)h * w * channels);
    if (is_convolution(call)) widen(work, convolution_bytes(convolution(call), w));
  }

 private:
  static void widen(size_t& have, size_t bytes) { have = bytes > have ? bytes : have; }

  // A crop out of what another crop gave, such as RandomCrop's padding, is one crop.
  void join_crops(Geometry& first, const Geometry& second) {
    if (first.type != GEOMETRY_CROP || !is_inside(second, first.box_h, first.box_w)) return;
    first.top += second.top;
    first.left += second.left;
    first.box_h = first.out_h = second.box_h;
    first.box_w = first.out_w = second.box_w;
    count--;
  }
};

bool steps_of(const Job& job, int row, Memory& memory, Steps& steps) {
  const Source& s = job.sources[row];
  steps = {(Step*)reserve(memory, sizeof(Step) * (job.slots + 1)), 0, (size_t)(s.h * s.w * job.channels), 0, 0};
  if (!steps.step) return false;
  const Call* calls = calls_of(job, row);
  int h = (int)s.h, w = (int)s.w;
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0 || calls[i].position > job.finish_position || is_mix(calls[i])) continue;
    steps.add(calls[i], job.channels, h, w);
  }
  return true;
}

// Interleaved or otherwise strided images become planes; only the rectangle that a first resize reads is copied.
void gather_source(const Job& job, const Source& s, Steps& steps, Canvas& c) {
  int top = 0, left = 0, h = (int)s.h, w = (int)s.w;
  if (steps.count > 0 && steps.step[0].map.type == GEOMETRY_RESAMPLE) {
    Geometry& g = steps.step[0].map;
    top = g.top; left = g.left; h = g.box_h; w = g.box_w;
    g.top = g.left = 0;
  }
  const Planes out = target(c, job.channels, h, w);
  const u8* base = s.data() + top * s.stride_y + left * s.stride_x;
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
}

// Lays out a canvas for these steps in the block's memory; null where there is none.
Canvas* lay_out(Memory& block, const Steps& steps, Arena& work) {
  const size_t image = (steps.image + 127) & ~(size_t)63;
  const size_t bytes = sizeof(Canvas) + 2 * image + steps.chain * (1 + sizeof(float)) + steps.work + 8 * 64;
  if (!reserve(block, bytes)) return nullptr;
  Arena arena = {block.data};
  Canvas& c = *arena.take<Canvas>(1);
  for (u8*& buffer : c.buffers) buffer = arena.take<u8>(image);
  c.origin = arena.take<u8>(steps.chain);
  c.sum = arena.take<float>(steps.chain);
  c.free = 0;
  c.lut_pending = c.flip_x = c.flip_y = false;
  work = arena;
  return &c;
}

// Asks for a small image's bytes while the row before is run, a few lines at a time: the machine waits where more are
// asked for at once than it can have under way. A large image's own rows are foreseen by the machine.
struct Ahead {
  enum : int { LINE = 64, FEW = 12, SMALL = 4096 };
  const u8* plane[3];
  int planes = 0;
  ptrdiff_t bytes = 0, at = 0;  // of a plane, and how many of them were asked for

  void begin(const Job& job, int row) {
    const Source& s = job.sources[row];
    const bool interleaved = s.stride_c == 1 && s.stride_x == job.channels;
    at = 0;
    bytes = s.h * s.stride_y;
    planes = interleaved ? 1 : job.channels;
    if (s.stride_y != s.w * s.stride_x || !(interleaved || s.stride_x == 1) || s.h * s.w > SMALL) planes = 0;
    for (int k = 0; k < planes; k++) plane[k] = s.data() + k * s.stride_c;
  }

  void ask(int lines) {
    for (; lines > 0 && planes > 0; lines--) {
      __builtin_prefetch(plane[planes - 1] + at, 0, 2);
      if ((at += LINE) < bytes) continue;
      at = 0;
      planes--;
    }
  }
};

// Everything up to the finish: the row's bytes, with a pending table and mirrorings. Null where memory is lacking.
Canvas* draw_canvas(const Job& job, int row, Memory& block, Memory& steps_memory, Ahead& ahead) {
  Steps steps;
  Arena work;
  if (!steps_of(job, row, steps_memory, steps)) return nullptr;
  Canvas* const c = lay_out(block, steps, work);
  if (!c) return nullptr;
  const Source& s = job.sources[row];
  if (s.stride_x == 1 || s.w == 1) {
    c->image = {{nullptr, nullptr, nullptr}, s.stride_y, (int)s.h, (int)s.w};
    for (int k = 0; k < job.channels; k++) c->image.p[k] = (u8*)s.data() + k * s.stride_c;
  } else {
    gather_source(job, s, steps, *c);
  }
  for (int i = 0; i < steps.count; i++) {
    const Step& step = steps.step[i];
    ahead.ask(Ahead::FEW);
    if (is_map(*step.call)) run_geometry(*c, job.channels, step.map, job.pillow13, work);
    else run_call(*c, job.channels, *step.call, work);
  }
  return c;
}

}  // namespace

bool run_rows(const Job& job, int start, int count, Scratch& scratch) {
  Arena arena = {reserve(scratch.finish, finish_bytes(job))};
  if (!arena.next) return false;
  FinishTables& tables = *arena.take<FinishTables>(1);
  set_tables(tables, job);
  int drawn[2] = {-1, -1};  // which row each canvas holds
  Canvas* canvas[2] = {nullptr, nullptr};
  Ahead ahead;
  const auto draw = [&](int i, int row) {
    canvas[i] = draw_canvas(job, row, scratch.canvas[i], scratch.steps, ahead);
    drawn[i] = canvas[i] ? row : -1;
    return canvas[i] != nullptr;
  };
  int own = 0;
  bool fits = true;
  const auto row_at = [&](int i) { return job.order ? job.order[start + i] : start + i; };
  for (int i = 0; i < count && fits; i++) {
    const int row = row_at(i);
    if (i + 1 < count) ahead.begin(job, row_at(i + 1));
    ahead.ask(Ahead::FEW);
    if (drawn[own] != row && drawn[own ^ 1] == row) own ^= 1;
    fits = drawn[own] == row || draw(own, row);
    const auto canvas_of = [&](int partner) {
      if (drawn[own ^ 1] != partner) fits = draw(own ^ 1, partner);
      return canvas[own ^ 1];
    };
    ahead.ask(INT_MAX);
    fits = fits && finish_row(job, row, *canvas[own], tables, canvas_of, arena);
  }
  if (job.stream) end_stream();
  return fits;
}

}}  // namespace
