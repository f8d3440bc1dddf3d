// The CPU passes: one for each signature of pixel op (op.h), and the geometry. Each leaves its result on the canvas.
#pragma once
#include <string.h>

#include "canvas.h"
#include "dispatch.h"

namespace ae { namespace AE_ISA { namespace {

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

void run_crop(Canvas& c, int channels, const Geometry& g) {
  const Planes in = c.image;
  const bool inside = g.top >= 0 && g.left >= 0 && g.top + g.box_h <= in.h && g.left + g.box_w <= in.w;
  if (inside) {  // a view: the pending mirrorings were settled by the caller
    for (int k = 0; k < channels; k++) c.image.p[k] = in.p[k] + g.top * in.stride + g.left;
    c.image.h = g.box_h;
    c.image.w = g.box_w;
    return;
  }
  materialise(c, channels);  // the fill is what it is after the table
  const Planes from = c.image, out = target(c, channels, g.box_h, g.box_w);
  const int x0 = clamp(-g.left, 0, g.box_w), x1 = clamp(from.w - g.left, x0, g.box_w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < g.box_h; y++) {
      u8* dst = out.row(k, y);
      const int sy = y + g.top;
      memset(dst, g.fill[k], g.box_w);
      if (sy >= 0 && sy < from.h) memcpy(dst + x0, from.row(k, sy) + x0 + g.left, x1 - x0);
    }
  adopt(c, out);
}

void run_border(Canvas& c, int channels, const Geometry& g) {
  materialise(c, channels);
  const Planes in = c.image, out = target(c, channels, g.box_h, g.box_w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < g.box_h; y++) {
      const u8* src = in.row(k, crop_point(g, 0, y).y);
      u8* dst = out.row(k, y);
      const int x0 = clamp(-g.left, 0, g.box_w), x1 = clamp(in.w - g.left, x0, g.box_w);
      memcpy(dst + x0, src + x0 + g.left, x1 - x0);
      for (int x = 0; x < x0; x++) dst[x] = src[crop_point(g, x, y).x];
      for (int x = x1; x < g.box_w; x++) dst[x] = src[crop_point(g, x, y).x];
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

void affine_smoothly(const Canvas& c, int channels, const Geometry& g, const Planes& out) {
  const Planes in = c.image;
  for (int y = 0; y < g.out_h; y++)
    for (int x = 0; x < g.out_w; x++)
      for (int k = 0; k < channels; k++)
        out.row(k, y)[x] =
            interpolated(g, x, y, (u8)g.fill[k], [&](int px, int py) { return (double)in.row(k, py)[px]; });
}

// Nearest where 16.16 overflows: Pillow's repeated addition, down the first column and along each row.
void affine_far(const Canvas& c, int channels, const Geometry& g, const Planes& out) {
  const Planes in = c.image;
  Walk row = walk_start(g);
  for (int y = 0; y < g.out_h; y++, row.down(g)) {
    Walk at = row;
    for (int x = 0; x < g.out_w; x++, at.right(g)) {
      const Point p = at.pixel();
      const bool inside = p.x >= 0 && p.x < in.w && p.y >= 0 && p.y < in.h;
      for (int k = 0; k < channels; k++) out.row(k, y)[x] = inside ? in.row(k, p.y)[p.x] : (u8)g.fill[k];
    }
  }
}

void run_affine(Canvas& c, int channels, const Geometry& g) {
  const bool absorbs_pending = g.fixed;
  if (!absorbs_pending) materialise(c, channels);
  const Planes out = target(c, channels, g.out_h, g.out_w);
  if (absorbs_pending) affine_nearest(c, channels, g, out);
  else if (g.type == GEOMETRY_AFFINE && g.interpolation == NEAREST) affine_far(c, channels, g, out);
  else affine_smoothly(c, channels, g, out);
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
  if (g.type == GEOMETRY_AFFINE || g.type == GEOMETRY_PERSPECTIVE) return run_affine(c, channels, g);
  if (g.type == GEOMETRY_BORDER) return run_border(c, channels, g);
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

// The rows that a convolution of output row y reads, as floats, mirrored beyond the sides: row r lies at r % h.
struct ConvolutionLines {
  float* data;
  int width, height, read;  // `read` rows have been converted so far

  void read_to(const Planes& in, int k, int last, int reach) {
    for (; read <= last; read++) {
      float* line = data + (size_t)(read % height) * width;
      const u8* src = in.row(k, read);
      for (int x = 0; x < in.w; x++) line[reach + x] = src[x];
      for (int x = -reach; x < 0; x++) line[reach + x] = src[bordered(x, in.w, PADDING_REFLECT)];
      for (int x = in.w; x < in.w + reach; x++) line[reach + x] = src[bordered(x, in.w, PADDING_REFLECT)];
    }
  }
  const float* row(int y) const { return data + (size_t)(y % height) * width; }
};

inline size_t convolution_bytes(const Convolution& c, int w) {
  return sizeof(float) * ((size_t)c.h * (w + c.w - 1) + (size_t)c.w * c.h) + 2 * 64;
}

// `sums` of up to 64 outputs stay in registers while the taps go by, row by row as torch's float32 does.
void convolve_row(const Convolution& kernel, const float* taps, const ConvolutionLines& lines, int y, int h, u8* dst,
                  int w) {
  enum { BLOCK = 64 };
  for (int x0 = 0; x0 < w; x0 += BLOCK) {
    const int n = min_of(BLOCK, w - x0);
    float sums[BLOCK] = {};
    for (int j = 0; j < kernel.h; j++) {
      const float* line = lines.row(bordered(y + j - kernel.h / 2, h, PADDING_REFLECT)) + x0;
      for (int i = 0; i < kernel.w; i++) {
        const float tap = taps[j * kernel.w + i];
        if (n == BLOCK) for (int x = 0; x < BLOCK; x++) sums[x] = fused(tap, line[i + x], sums[x]);
        else for (int x = 0; x < n; x++) sums[x] = fused(tap, line[i + x], sums[x]);
      }
    }
    for (int x = 0; x < n; x++) dst[x0 + x] = clip_byte(round_even(sums[x]));
  }
}

void run_convolution(Canvas& c, int channels, const Convolution& kernel, Arena arena) {
  materialise(c, channels);
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  const int reach = kernel.w / 2;
  float* taps = arena.take<float>((size_t)kernel.w * kernel.h);
  for (int j = 0; j < kernel.h; j++)
    for (int i = 0; i < kernel.w; i++) taps[j * kernel.w + i] = kernel.y[j] * kernel.x[i];
  ConvolutionLines lines = {nullptr, in.w + 2 * reach, kernel.h, 0};
  lines.data = arena.take<float>((size_t)lines.width * lines.height);
  for (int k = 0; k < channels; k++) {
    lines.read = 0;
    for (int y = 0; y < in.h; y++) {
      lines.read_to(in, k, min_of(in.h - 1, y + kernel.h / 2), reach);
      convolve_row(kernel, taps, lines, y, in.h, out.row(k, y), in.w);
    }
  }
  adopt(c, out);
}

// Sums float32 planes of an h x w image; the chain's own buffers hold the sum and the image that it began with.
void run_chain(Canvas& c, int channels, const Call& call) {
  const int at = (int)call.args[1];
  materialise(c, channels);
  const Planes in = c.image;
  Planes origin = {{}, in.w, in.h, in.w}, out = target(c, channels, in.h, in.w);
  for (int k = 0; k < channels; k++) {
    origin.p[k] = c.origin + (size_t)k * in.h * in.w;
    for (int y = 0; y < in.h; y++) {
      const u8* src = in.row(k, y);
      float* sum = c.sum + ((size_t)k * in.h + y) * in.w;
      for (int x = 0; x < in.w; x++) sum[x] = chained(call, sum[x], src[x]);
      if (at == CHAIN_BEGIN) memcpy(origin.row(k, y), src, in.w);
      if (at == CHAIN_END) for (int x = 0; x < in.w; x++) out.row(k, y)[x] = clip_byte(sum[x]);
    }
  }
  if (at == CHAIN_END) adopt(c, out);
  else c.image = origin;
}

}}}  // namespace
