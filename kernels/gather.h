// Nearest affine maps in 16.16 integers on the CPU.
#pragma once
#include "canvas.h"

namespace ae { namespace AE_ISA { namespace {

// Six numbers in 16.16: x = (f[0] x + f[1] y + f[2]) >> 16, y likewise. What lies outside gets `fill`.
struct FixedMap {
  int f[6], fill[3];
};

// The map onto the image before its pending mirrorings: w - 1 - (s >> 16) is ((w << 16) - 1 - s) >> 16.
FixedMap fixed_map(const Geometry& g, const int* fill, const Canvas& c) {
  FixedMap m = {{}, {fill[0], fill[1], fill[2]}};
  for (int i = 0; i < 6; i++) m.f[i] = g.f[i];
  const auto mirror = [&](int* f, int side) {
    for (int i = 0; i < 3; i++) f[i] = (int)((i == 2 ? ((u32)side << 16) - 1u : 0u) - (u32)f[i]);
  };
  if (c.flip_x) mirror(m.f, c.image.w);
  if (c.flip_y) mirror(m.f + 3, c.image.h);
  return m;
}

// The same map where the mirrorings stay pending, behind it: its outputs are mirrored too.
FixedMap before_mirrorings(FixedMap m, const Canvas& c, int out_w, int out_h) {
  const auto mirror = [](int& factor, int& start, int side) {
    start = (int)((u32)start + (u32)factor * (u32)(side - 1));
    factor = (int)(0u - (u32)factor);
  };
  for (int i = 0; i < 6; i += 3) {
    if (c.flip_x) mirror(m.f[i], m.f[i + 2], out_w);
    if (c.flip_y) mirror(m.f[i + 1], m.f[i + 2], out_h);
  }
  return m;
}

// One row after the other. What of a row lies inside the image is one piece, because the map is straight.
void gather_rows(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  for (int y = 0; y < out.h; y++) {
    const u32 sx = (u32)m.f[2] + (u32)y * (u32)m.f[1], sy = (u32)m.f[5] + (u32)y * (u32)m.f[4];
    const auto column = [&](int x) { return (int)(sx + (u32)x * (u32)m.f[0]) >> 16; };
    const auto line = [&](int x) { return (int)(sy + (u32)x * (u32)m.f[3]) >> 16; };
    const auto inside = [&](int x) { return (u32)column(x) < (u32)in.w && (u32)line(x) < (u32)in.h; };
    int x0 = 0, x1 = out.w;
    while (x0 < x1 && !inside(x0)) x0++;
    while (x1 > x0 && !inside(x1 - 1)) x1--;
    u8* dst[3];
    for (int k = 0; k < channels; k++) {
      dst[k] = out.row(k, y);
      memset(dst[k], m.fill[k], x0);
      memset(dst[k] + x1, m.fill[k], out.w - x1);
    }
    if (channels == 1) {
      for (int x = x0; x < x1; x++) dst[0][x] = in.p[0][line(x) * in.stride + column(x)];
      continue;
    }
    const u8 *const r = in.p[0], *const g = in.p[1], *const b = in.p[2];
    for (int x = x0; x < x1; x++) {
      const ptrdiff_t at = line(x) * in.stride + column(x);
      dst[0][x] = r[at];
      dst[1][x] = g[at];
      dst[2][x] = b[at];
    }
  }
}

// Rows that are only shifted, such as those of a horizontal shear.
bool is_shift_of_rows(const FixedMap& m) { return m.f[0] == 65536 && m.f[3] == 0; }

void gather_shifted(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  for (int y = 0; y < out.h; y++) {
    const int left = (int)((u32)m.f[2] + (u32)y * (u32)m.f[1]) >> 16;
    const int top = (int)((u32)m.f[5] + (u32)y * (u32)m.f[4]) >> 16;
    for (int k = 0; k < channels; k++)
      shift_rows(in.p[k], in.stride, in.w, in.h, left, top, (u8)m.fill[k], out.row(k, y), out.w, 1);
  }
}

#ifdef AE_VBMI
}}}  // namespace
#include "gather_vbmi.h"
namespace ae { namespace AE_ISA { namespace {
#else
bool gather_tiles(const Planes&, const Planes&, int, const FixedMap&) { return false; }
#endif

// Leaves mirrorings pending where rows are only shifted.
void gather(Canvas& c, const Planes& out, int channels, const FixedMap& m) {
  const FixedMap inner = before_mirrorings(m, c, out.w, out.h);
  if (is_shift_of_rows(inner)) return gather_shifted(c.image, out, channels, inner);
  if (!gather_tiles(c.image, out, channels, m)) gather_rows(c.image, out, channels, m);
  c.flip_x = c.flip_y = false;
}

}}}  // namespace
