// The fused pass on the CPU, compiled once per instruction set (AE_ISA). A row of the program is walked once: table ops
// compose into one pending 256-entry table a channel, flips stay pending until something reads coordinates, and the
// output pass folds the table into the normalisation. Only what needs neighbours or coordinates writes bytes between,
// into two planes-of-bytes buffers that stay in cache.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "color.h"
#include "filter.h"
#include "geometry.h"
#include "half.h"
#include "job.h"
#include "mix.h"
#include "region.h"
#include "resample.h"

namespace ae { namespace AE_ISA { namespace {

// Bump allocation from the thread's scratch.
struct Arena {
  u8* next;
  template <class T>
  T* take(size_t n) {
    T* p = (T*)next;
    next += (n * sizeof(T) + 63) & ~(size_t)63;
    return p;
  }
};

// The current image: planes of bytes, the table still to be applied to them, and the mirrorings still to be done.
struct Canvas {
  Planes image;
  u8* buffers[2];
  int free;  // which buffer the image does not lie in
  u8 lut[3][256];
  bool lut_pending, flip_x, flip_y;

  Planes other() const { return {{buffers[free], buffers[free], buffers[free]}, 0, 0, 0}; }
};

void clear_lut(Canvas& c) {
  for (int k = 0; k < 3; k++)
    for (int v = 0; v < 256; v++) c.lut[k][v] = (u8)v;
  c.lut_pending = false;
}

void compose(Canvas& c, int channel, const u8* table) {
  for (int v = 0; v < 256; v++) c.lut[channel][v] = table[c.lut[channel][v]];
  c.lut_pending = true;
}

// The next buffer as h x w planes; becomes the image after `adopt`.
Planes target(const Canvas& c, int channels, int h, int w) {
  Planes p = {{nullptr, nullptr, nullptr}, w, h, w};
  for (int k = 0; k < channels; k++) p.p[k] = c.buffers[c.free] + (size_t)k * h * w;
  return p;
}

void adopt(Canvas& c, const Planes& image) {
  c.image = image;
  c.free ^= 1;
}

// Writes the pending table and mirrorings into bytes.
void materialise(Canvas& c, int channels) {
  if (!c.lut_pending && !c.flip_x && !c.flip_y) return;
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < in.h; y++)
      look_up(c.lut[k], in.row(k, c.flip_y ? in.h - 1 - y : y), out.row(k, y), in.w, c.flip_x);
  adopt(c, out);
  clear_lut(c);
  c.flip_x = c.flip_y = false;
}

struct StatsStorage {
  u32 histogram[256], below[256];
  Stats stats;
};

void finish_stats(StatsStorage& s) {
  Stats& t = s.stats;
  t = {s.histogram, s.below, 255, 0, 0, 0};
  for (int v = 0; v < 256; v++) {
    s.below[v] = t.count;
    if (s.histogram[v]) {
      t.lo = min_of(t.lo, v);
      t.hi = v;
    }
    t.count += s.histogram[v];
    t.sum += (u64)s.histogram[v] * v;
  }
}

// Four tables, because neighbouring pixels are often equal and one counter would wait for itself.
void count_bytes(const Planes& in, int channel, u32* histogram) {
  u32 part[4][256];
  memset(part, 0, sizeof part);
  for (int y = 0; y < in.h; y++) {
    const u8* src = in.row(channel, y);
    int x = 0;
    for (; x + 4 <= in.w; x += 4)
      for (int i = 0; i < 4; i++) part[i][src[x + i]]++;
    for (; x < in.w; x++) part[0][src[x]]++;
  }
  for (int v = 0; v < 256; v++) histogram[v] = part[0][v] + part[1][v] + part[2][v] + part[3][v];
}

void channel_stats(const Canvas& c, int channel, StatsStorage& s) {
  u32 raw[256];
  count_bytes(c.image, channel, raw);
  memset(s.histogram, 0, sizeof s.histogram);
  for (int v = 0; v < 256; v++) s.histogram[c.lut[channel][v]] += raw[v];
  finish_stats(s);
}

// Only count and sum: what an op on luma may read.
void luma_stats(const Canvas& c, int channels, StatsStorage& s) {
  const Planes& in = c.image;
  if (channels == 1) return channel_stats(c, 0, s);
  s.stats = {s.histogram, s.below, 0, 0, (u32)in.h * (u32)in.w, 0};
  int table[3][256];
  const int weight[3] = {19595, 38470, 7471};
  for (int k = 0; k < 3; k++)
    for (int v = 0; v < 256; v++) table[k][v] = weight[k] * c.lut[k][v] + (k == 0 ? 32768 : 0);
  for (int y = 0; y < in.h; y++) {
    const u8 *r = in.row(0, y), *g = in.row(1, y), *b = in.row(2, y);
    u32 sum = 0;  // a row is under 2^16 pixels
    if (c.lut_pending) for (int x = 0; x < in.w; x++) sum += (table[0][r[x]] + table[1][g[x]] + table[2][b[x]]) >> 16;
    else for (int x = 0; x < in.w; x++) sum += luma(r[x], g[x], b[x]);
    s.stats.sum += sum;
  }
}

// ---- one function per signature

template <class Function>
void run_table(Canvas& c, int channel, Function op) {
  u8 table[256];
  for (int v = 0; v < 256; v++) table[v] = op((u8)v);
  compose(c, channel, table);
}

template <class Function>
void run_pixel(Canvas& c, int channels, Function op) {
  if (channels == 1) return;
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  for (int y = 0; y < in.h; y++) {
    for (int k = 0; k < 3; k++) {
      if (c.lut_pending) look_up(c.lut[k], in.row(k, y), out.row(k, y), in.w, false);
      else memcpy(out.row(k, y), in.row(k, y), in.w);
    }
    u8 *__restrict r = out.row(0, y), *__restrict g = out.row(1, y), *__restrict b = out.row(2, y);
    for (int x = 0; x < in.w; x++) {
      const Rgb p = op(Rgb{r[x], g[x], b[x]});
      r[x] = p.r; g[x] = p.g; b[x] = p.b;
    }
  }
  adopt(c, out);
  clear_lut(c);
}

// Stencils are symmetric, so pending mirrorings stay pending.
template <class Function>
void run_stencil(Canvas& c, int channels, Function op) {
  const bool flip_x = c.flip_x, flip_y = c.flip_y;
  c.flip_x = c.flip_y = false;
  materialise(c, channels);
  c.flip_x = flip_x;
  c.flip_y = flip_y;
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < in.h; y++) {
      const bool inside = y > 0 && y < in.h - 1 && in.w > 2;
      const u8* here = in.row(k, y);
      const u8 *__restrict up = inside ? in.row(k, y - 1) : here, *__restrict mid = here,
               *__restrict down = inside ? in.row(k, y + 1) : here;
      u8* __restrict dst = out.row(k, y);
      const auto frame = [&](int x) { return op(Window{{0, 0, 0, 0, mid[x], 0, 0, 0, 0}, false}); };
      if (!inside) {
        for (int x = 0; x < in.w; x++) dst[x] = frame(x);
        continue;
      }
      dst[0] = frame(0);
      for (int x = 1; x < in.w - 1; x++)
        dst[x] = op(Window{{up[x - 1], up[x], up[x + 1], mid[x - 1], mid[x], mid[x + 1], down[x - 1], down[x], down[x + 1]}, true});
      dst[in.w - 1] = frame(in.w - 1);
    }
  adopt(c, out);
}

// ---- geometry

void run_crop(Canvas& c, int channels, const Geometry& g) {
  const Planes in = c.image;
  const bool inside = g.top >= 0 && g.left >= 0 && g.top + g.box_h <= in.h && g.left + g.box_w <= in.w;
  if (inside) {  // a view: the pending mirrorings were settled by the caller
    for (int k = 0; k < channels; k++) c.image.p[k] = in.p[k] + g.top * in.stride + g.left;
    c.image.h = g.box_h;
    c.image.w = g.box_w;
    return;
  }
  materialise(c, channels);  // the padding is 0 after the table
  const Planes from = c.image, out = target(c, channels, g.box_h, g.box_w);
  const int x0 = clamp(-g.left, 0, g.box_w), x1 = clamp(from.w - g.left, x0, g.box_w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < g.box_h; y++) {
      u8* dst = out.row(k, y);
      const int sy = y + g.top;
      memset(dst, 0, g.box_w);
      if (sy >= 0 && sy < from.h) memcpy(dst + x0, from.row(k, sy) + x0 + g.left, x1 - x0);
    }
  adopt(c, out);
}

void run_transpose(Canvas& c, int channels, const Geometry& g) {
  materialise(c, channels);
  const Planes in = c.image, out = target(c, channels, g.out_h, g.out_w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < g.out_h; y++)
      for (int x = 0; x < g.out_w; x++) {
        const Point p = oriented(g, x, y);
        out.row(k, y)[x] = in.row(k, p.y)[p.x];
      }
  adopt(c, out);
}

void affine_nearest(Canvas& c, int channels, const Geometry& g, const Planes& out) {
  const Planes in = c.image;
  for (int y = 0; y < g.out_h; y++) {
    u32 sx = (u32)g.f[2] + (u32)y * (u32)g.f[1], sy = (u32)g.f[5] + (u32)y * (u32)g.f[4];
    for (int x = 0; x < g.out_w; x++, sx += (u32)g.f[0], sy += (u32)g.f[3]) {
      int px = (int)sx >> 16, py = (int)sy >> 16;
      const bool inside = (u32)px < (u32)in.w && (u32)py < (u32)in.h;
      if (c.flip_x) px = in.w - 1 - px;
      if (c.flip_y) py = in.h - 1 - py;
      const ptrdiff_t at = inside ? py * in.stride + px : 0;
      for (int k = 0; k < channels; k++) out.row(k, y)[x] = inside ? c.lut[k][in.p[k][at]] : (u8)g.fill[k];
    }
  }
}

void affine_general(const Canvas& c, int channels, const Geometry& g, const Planes& out) {
  const Planes in = c.image;
  for (int y = 0; y < g.out_h; y++)
    for (int x = 0; x < g.out_w; x++)
      for (int k = 0; k < channels; k++) {
        const u8 fill = (u8)g.fill[k];
        if (g.interpolation != NEAREST) {
          out.row(k, y)[x] = affine_smooth(g, x, y, fill, [&](int px, int py) { return (double)in.row(k, py)[px]; });
          continue;
        }
        const Point p = affine_walked(g, x, y);
        const bool inside = p.x >= 0 && p.x < in.w && p.y >= 0 && p.y < in.h;
        out.row(k, y)[x] = inside ? in.row(k, p.y)[p.x] : fill;
      }
}

void run_affine(Canvas& c, int channels, const Geometry& g) {
  const bool absorbs_pending = g.interpolation == NEAREST && g.fixed;
  if (!absorbs_pending) materialise(c, channels);
  const Planes out = target(c, channels, g.out_h, g.out_w);
  if (absorbs_pending) affine_nearest(c, channels, g, out);
  else affine_general(c, channels, g, out);
  adopt(c, out);
  clear_lut(c);
  c.flip_x = c.flip_y = false;
}

void run_geometry(Canvas& c, int channels, const Geometry& g, bool pillow13, Arena arena) {
  if (g.type == GEOMETRY_COPY) return;
  if (g.type == GEOMETRY_ORIENT && !g.transpose) {
    c.flip_x ^= (bool)g.flip_x;
    c.flip_y ^= (bool)g.flip_y;
    return;
  }
  if (g.type == GEOMETRY_ORIENT) return run_transpose(c, channels, g);
  if (g.type == GEOMETRY_AFFINE) return run_affine(c, channels, g);
  if (c.flip_x || c.flip_y) materialise(c, channels);
  if (g.type == GEOMETRY_CROP) return run_crop(c, channels, g);
  run_crop(c, channels, g);   // a view of the box, which lies inside
  materialise(c, channels);   // the table comes before the interpolation
  const Planes out = target(c, channels, g.out_h, g.out_w);
  resample(c.image, out, channels, g, pillow13, arena.next);
  adopt(c, out);
}

void run_region_on_bytes(Canvas& c, int channels, const Region& r) {
  c.lut_pending = true;  // forces a copy of the source, which is never written
  materialise(c, channels);
  for (int k = 0; k < channels; k++)
    for (int y = max_of(r.top, 0); y < min_of(r.top + r.height, c.image.h); y++)
      for (int x = max_of(r.left, 0); x < min_of(r.left + r.width, c.image.w); x++)
        c.image.row(k, y)[x] = clip_byte(r.value[k]);
}

// ---- a row

Region region_of(const Call& call) {
  switch (call.op) {
#define AE_CASE(name) \
  case OP_##name: return name(call.args);
    AE_REGION_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

bool is_region(int op) {
#define AE_CASE(name) || op == OP_##name
  return false AE_REGION_OPS(AE_CASE);
#undef AE_CASE
}

bool is_mix(int op) {
#define AE_CASE(name) || op == OP_##name
  return false AE_MIX_OPS(AE_CASE);
#undef AE_CASE
}

float mixed(const Call& call, float own, float partner) {
  switch (call.op) {
#define AE_CASE(name) \
  case OP_##name: return name(own, partner, call.args);
    AE_MIX_OPS(AE_CASE)
#undef AE_CASE
  }
  return own;
}

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
  if (is_region(call.op)) return run_region_on_bytes(c, channels, region_of(call));
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
    if (calls[i].op < 0 || calls[i].position > job.finish_position || is_mix(calls[i].op)) continue;
    Call call = calls[i];
    if (i == cropped) call.args[0] = call.args[1] = 0.0;  // the rectangle is all that was copied
    run_call(c, job.channels, call, job.pillow13, arena);
  }
}

// ---- the finish: table, mirrorings, regions, mix, cast, layout

struct Finish {
  float table[3][256];
  u16 half[3][256];
};

void fold_table(const Job& job, const Canvas& c, Finish& f) {
  for (int k = 0; k < job.channels; k++)
    for (int v = 0; v < 256; v++) f.table[k][v] = job.table[k * 256 + c.lut[k][v]];
  if (job.dtype == DTYPE_FLOAT16 || job.dtype == DTYPE_BFLOAT16)
    for (int k = 0; k < job.channels; k++)
      for (int v = 0; v < 256; v++)
        f.half[k][v] = job.dtype == DTYPE_FLOAT16 ? to_float16(f.table[k][v]) : to_bfloat16(f.table[k][v]);
}

const u8* source_row(const Canvas& c, int k, int y) { return c.image.row(k, c.flip_y ? c.image.h - 1 - y : y); }

// Applies the finishing calls of one row, up to a mix or after it, to a line of floats.
void erase_line(const Job& job, int row, int k, int y, bool after_mix, float* line) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  bool passed_mix = false;
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0) continue;
    if (is_mix(calls[i].op)) passed_mix = true;
    if (!is_region(calls[i].op) || calls[i].position <= job.finish_position || passed_mix != after_mix) continue;
    const Region r = region_of(calls[i]);
    if (y < r.top || y >= r.top + r.height) continue;
    for (int x = max_of(r.left, 0); x < min_of(r.left + r.width, job.out_w); x++) line[x] = r.value[k];
  }
}

void store_line(const Job& job, int row, int k, int y, const float* line) {
  const ptrdiff_t at = row * job.stride_n + k * job.stride_c + y * job.stride_y;
  const ptrdiff_t step = job.stride_x;
  if (job.dtype == DTYPE_FLOAT32) {
    float* out = (float*)job.out + at;
    if (step == 1) memcpy(out, line, sizeof(float) * job.out_w);
    else for (int x = 0; x < job.out_w; x++) out[x * step] = line[x];
  } else if (job.dtype == DTYPE_UINT8) {
    u8* out = (u8*)job.out + at;
    for (int x = 0; x < job.out_w; x++) out[x * step] = clip_byte(line[x]);
  } else {
    u16* out = (u16*)job.out + at;
    for (int x = 0; x < job.out_w; x++) out[x * step] = job.dtype == DTYPE_FLOAT16 ? to_float16(line[x]) : to_bfloat16(line[x]);
  }
}

bool has_finishing_calls(const Job& job, int row) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && (calls[i].position > job.finish_position || is_mix(calls[i].op))) return true;
  return false;
}

const Call* mix_of(const Job& job, int row) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && is_mix(calls[i].op)) return calls + i;
  return nullptr;
}

// No erasing, no mixing: straight from bytes to the output.
template <class T>
void finish_plain(const Job& job, int row, const Canvas& c, const T* table, int k) {
  const PlaneTable<T> values(table);
  for (int y = 0; y < job.out_h; y++) {
    T* const out = (T*)job.out + row * job.stride_n + k * job.stride_c + y * job.stride_y;
    look_up(values, source_row(c, k, y), out, job.out_w, c.flip_x);
  }
}

void finish_plain(const Job& job, int row, const Canvas& c, const Finish& f) {
  for (int k = 0; k < job.channels; k++) {
    if (job.dtype == DTYPE_FLOAT32) finish_plain(job, row, c, f.table[k], k);
    else if (job.dtype != DTYPE_UINT8) finish_plain(job, row, c, f.half[k], k);
    else
      for (int y = 0; y < job.out_h; y++) {
        u8* const out = (u8*)job.out + row * job.stride_n + k * job.stride_c + y * job.stride_y;
        look_up(c.lut[k], source_row(c, k, y), out, job.out_w, c.flip_x);
      }
  }
}

void finish_row(const Job& job, int row, const Canvas& own, const Canvas* partner, Arena arena) {
  Finish* f = arena.take<Finish>(2);
  float *line = arena.take<float>(job.out_w), *other = arena.take<float>(job.out_w);
  fold_table(job, own, f[0]);
  if (job.stride_x == 1 && !has_finishing_calls(job, row)) return finish_plain(job, row, own, f[0]);
  const Call* mix = mix_of(job, row);
  if (mix) fold_table(job, *partner, f[1]);
  for (int k = 0; k < job.channels; k++) {
    const PlaneTable<float> values(f[0].table[k]), partner_values(f[mix ? 1 : 0].table[k]);
    for (int y = 0; y < job.out_h; y++) {
      look_up(values, source_row(own, k, y), line, job.out_w, own.flip_x);
      erase_line(job, row, k, y, false, line);
      if (mix) {
        look_up(partner_values, source_row(*partner, k, y), other, job.out_w, partner->flip_x);
        erase_line(job, (int)mix->args[0], k, y, false, other);
        for (int x = 0; x < job.out_w; x++) line[x] = mixed(*mix, line[x], other[x]);
        erase_line(job, row, k, y, true, line);
      }
      store_line(job, row, k, y, line);
    }
  }
}

size_t finish_bytes(const Job& job) { return 2 * sizeof(Finish) + 2 * sizeof(float) * (size_t)job.out_w + 4 * 64; }

void reserve(Scratch& scratch, size_t bytes) {
  if (scratch.size >= bytes) return;
  free(scratch.data);
  scratch.data = (u8*)aligned_alloc(64, (bytes + 63) & ~(size_t)63);
  scratch.size = bytes;
}

}  // namespace

void run_rows(const Job& job, const int* rows, int count, Scratch& scratch) {
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
  reserve(scratch, 4 * (need.buffer + 64) + 2 * sizeof(Canvas) + work + 1024);
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
}

}}  // namespace
