// The CPU passes: one for each signature of pixel op (op.h), and the geometry. Each leaves its result on the canvas.
#pragma once
#include <string.h>

#include <type_traits>

#include "dispatch.h"
#include "gather.h"

namespace ae { namespace AE_ISA { namespace {

// Where a pixel op is written for one pixel alone, its lanes run one by one.
template <class Op>
RgbOf<Ints> run_on_lanes(Op op, RgbOf<Ints> p) {
  if constexpr (std::is_invocable_v<Op, RgbOf<Ints>>) return op(p);
  RgbOf<Ints> result;
  for (int i = 0; i < LANES; i++) {
    const Rgb one = op(Rgb{p.r[i], p.g[i], p.b[i]});
    result.r[i] = one.r; result.g[i] = one.g; result.b[i] = one.b;
  }
  return result;
}

template <class Op>
AE_FN RgbOf<Quads> run_on_pixels(Op op, RgbOf<Quads> p) {
  for (int k = 0; k < 4; k++) {
    const RgbOf<Ints> v = run_on_lanes(op, RgbOf<Ints>{p.r.part[k], p.g.part[k], p.b.part[k]});
    p.r.part[k] = v.r; p.g.part[k] = v.g; p.b.part[k] = v.b;
  }
  return p;
}

template <class Op>
AE_FN Rgb run_on_pixels(Op op, Rgb p) { return op(p); }

template <class Op>
void run_pixel(Canvas& c, int channels, Op op) {
  if (channels == 1) return;
  materialise_run(c, channels);
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  each_lane(in.w * in.h, [&](int x, auto p) {
    RgbOf<decltype(p)> v;
    load(in.p[0] + x, v.r);
    load(in.p[1] + x, v.g);
    load(in.p[2] + x, v.b);
    v = run_on_pixels(op, v);
    store(out.p[0] + x, v.r);
    store(out.p[1] + x, v.g);
    store(out.p[2] + x, v.b);
  });
  adopt(c, out);
}

// What the windows whose first corners are at `from` become.
template <class Op>
AE_FN void run_on_windows(Op op, const u8* from, int stride, Quads& v) {
  for (int k = 0; k < 4; k++) {
    WindowOf<Ints> window = {{}, k % 2 == 1, true};
    for (int j = 0; j < 3; j++) window.row[j] = load_word(from + j * stride + k / 2 * 2);
    v.part[k] = op(window);
  }
}

template <class Op>
AE_FN void run_on_windows(Op op, const u8* from, int stride, int& v) {
  Window window = {{}, true};
  for (int i = 0; i < 9; i++) window.v[i] = from[i / 3 * stride + i % 3];
  v = op(window);
}

// Stencils are symmetric, so pending mirrorings stay pending. All but the first and the last row is one run; what it
// wrote at their ends, of windows that wrap around, is written again.
template <class Op>
void run_stencil(Canvas& c, int channels, Op op) {
  materialise_run(c, channels);
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  for (int k = 0; k < channels; k++) {
    const auto frame = [&](int x, int y, int n) {
      const u8* const src = in.row(k, y);
      for (int i = x; i < x + n; i++) out.row(k, y)[i] = (u8)op(Window{{0, 0, 0, 0, src[i], 0, 0, 0, 0}, false});
    };
    if (in.h > 2 && in.w > 2)
      each_lane((in.h - 2) * in.w - 2, [&](int x, auto v) {
        run_on_windows(op, in.p[k] + x, in.w, v);
        store(out.row(k, 1) + 1 + x, v);
      });
    for (int y = 0; y < in.h; y++) {
      if (y == 0 || y == in.h - 1 || in.w < 3) {
        frame(0, y, in.w);
        continue;
      }
      frame(0, y, 1);
      frame(in.w - 1, y, 1);
    }
  }
  adopt(c, out);
}

// The rectangle of a crop as the image before its pending mirrorings has it.
Geometry before_mirrorings(const Canvas& c, Geometry g) {
  if (c.flip_x) g.left = c.image.w - g.left - g.box_w;
  if (c.flip_y) g.top = c.image.h - g.top - g.box_h;
  return g;
}

bool is_inside(const Geometry& g, int h, int w) {
  return g.top >= 0 && g.left >= 0 && g.top + g.box_h <= h && g.left + g.box_w <= w;
}

void run_crop(Canvas& c, int channels, const Geometry& asked) {
  const Geometry g = before_mirrorings(c, asked);
  if (is_inside(g, c.image.h, c.image.w)) {  // a view
    for (int k = 0; k < channels; k++) c.image.p[k] += g.top * c.image.stride + g.left;
    c.image.h = g.box_h;
    c.image.w = g.box_w;
    return;
  }
  int fill[3];
  fill_before_tables(c, channels, g.fill, fill);
  const Planes from = c.image, out = target(c, channels, g.box_h, g.box_w);
  for (int k = 0; k < channels; k++)
    shift_rows(from.p[k], from.stride, from.w, from.h, g.left, g.top, (u8)fill[k], out.p[k], out.w, out.h);
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

void affine_nearest(Canvas& c, int channels, const Geometry& g) {
  int fill[3];
  fill_before_tables(c, channels, g.fill, fill);
  const FixedMap map = fixed_map(g, fill, c);
  const Planes out = target(c, channels, g.out_h, g.out_w);
  gather(c, out, channels, map);
  adopt(c, out);
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
  if (g.fixed) return affine_nearest(c, channels, g);
  materialise(c, channels);
  const Planes out = target(c, channels, g.out_h, g.out_w);
  if (g.type == GEOMETRY_AFFINE && g.interpolation == NEAREST) affine_far(c, channels, g, out);
  else affine_smoothly(c, channels, g, out);
  adopt(c, out);
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
  run_crop(c, channels, g);  // of a resize, a view: the box lies inside
  if (g.type == GEOMETRY_CROP) return;
  materialise(c, channels);  // mirroring does not commute with rounding, nor a table with interpolation
  const Planes out = target(c, channels, g.out_h, g.out_w);
  resample(c.image, out, channels, g, pillow13, arena.next);
  adopt(c, out);
}

void run_region_on_bytes(Canvas& c, int channels, const Region& r) {
  pend_copy(c);  // the source is never written
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
