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

// Eight by eight outputs read from at most 16 x 16 inputs, by permutes.
enum : int { TILE = 8, REACH = 16 };

i64 low_of(i64 a, i64 b) { return a < b ? a : b; }

// How far a tile's reads lie apart, in 16.16.
i64 spread(int a, int b) { return (TILE - 1) * ((a < 0 ? -(i64)a : a) + (b < 0 ? -(i64)b : b)); }

bool fits_tiles(const Planes& in, const Planes& out, const FixedMap& m) {
  if (in.w < REACH) return false;
  for (int row = 0; row < 6; row += 3) {
    const i64 right = (i64)m.f[row] * (out.w + TILE), down = (i64)m.f[row + 1] * (out.h + TILE);
    const i64 lo = m.f[row + 2] + low_of(right, 0) + low_of(down, 0), hi = m.f[row + 2] - low_of(-right, 0) - low_of(-down, 0);
    if (lo < -(1ll << 31) || hi >= (1ll << 31) || spread(m.f[row], m.f[row + 1]) >= (i64)(REACH - 1) << 16) return false;
  }
  return true;
}

struct TileRead {
  __m512i index;      // 16 * row + column of each output, from the tile's first row and column on
  __mmask64 inside;
  int row, column, rows;
};

// Four registers of offsets: of 16 outputs each, two rows of the tile.
struct TileOffsets {
  __m512i at[4];

  TileOffsets(int along, int down) {
    alignas(64) int offset[16];
    for (int q = 0; q < 4; q++) {
      for (int i = 0; i < 16; i++) offset[i] = along * (i % TILE) + down * (2 * q + i / TILE);
      at[q] = _mm512_load_si512(offset);
    }
  }
};

inline __m512i sixteen_bytes_each(__m128i a, __m128i b, __m128i c, __m128i d) {
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

inline __m512i four_rows(const Planes& in, int k, int row, int column) {
  __m128i r[4];
  for (int j = 0; j < 4; j++) r[j] = _mm_loadu_si128((const __m128i*)(in.row(k, min_of(row + j, in.h - 1)) + column));
  return sixteen_bytes_each(r[0], r[1], r[2], r[3]);
}

inline void store_tile(const Planes& out, int k, int x, int y, __m512i v) {
  if (x + TILE <= out.w && y + TILE <= out.h) {
    u8* dst = out.row(k, y) + x;
    const __m128i pair[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1), _mm512_extracti32x4_epi32(v, 2),
                             _mm512_extracti32x4_epi32(v, 3)};
    for (int q = 0; q < 4; q++, dst += 2 * out.stride) {
      const i64 upper = _mm_cvtsi128_si64(pair[q]), lower = _mm_extract_epi64(pair[q], 1);
      memcpy(dst, &upper, TILE);
      memcpy(dst + out.stride, &lower, TILE);
    }
    return;
  }
  alignas(64) u8 bytes[64];
  _mm512_store_si512(bytes, v);
  for (int j = 0; j < min_of(TILE, out.h - y); j++) memcpy(out.row(k, y + j) + x, bytes + TILE * j, min_of(TILE, out.w - x));
}

void gather_tiles(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  const TileOffsets along_x(m.f[0], m.f[1]), along_y(m.f[3], m.f[4]);
  const int before_x = (int)low_of(0, (TILE - 1) * (i64)m.f[0]) + (int)low_of(0, (TILE - 1) * (i64)m.f[1]);
  const int before_y = (int)low_of(0, (TILE - 1) * (i64)m.f[3]) + (int)low_of(0, (TILE - 1) * (i64)m.f[4]);
  const int spread_x = (int)spread(m.f[0], m.f[1]), spread_y = (int)spread(m.f[3], m.f[4]);
  const __m512i width = _mm512_set1_epi32(in.w), height = _mm512_set1_epi32(in.h);
  __m512i fill[3];
  for (int k = 0; k < channels; k++) fill[k] = _mm512_set1_epi8((char)m.fill[k]);
  for (int y = 0; y < out.h; y += TILE)
    for (int x = 0; x < out.w; x += TILE) {
      const int sx = (int)((u32)m.f[2] + (u32)x * (u32)m.f[0] + (u32)y * (u32)m.f[1]);  // a product alone may overflow
      const int sy = (int)((u32)m.f[5] + (u32)x * (u32)m.f[3] + (u32)y * (u32)m.f[4]);
      const int lo_x = (sx + before_x) >> 16, hi_x = (int)(((i64)sx + before_x + spread_x) >> 16);
      const int lo_y = (sy + before_y) >> 16, hi_y = (int)(((i64)sy + before_y + spread_y) >> 16);
      if (hi_x < 0 || hi_y < 0 || lo_x >= in.w || lo_y >= in.h) {
        for (int k = 0; k < channels; k++) store_tile(out, k, x, y, fill[k]);
        continue;
      }
      const int column = clamp(lo_x, 0, in.w - REACH), row = clamp(lo_y, 0, in.h - 1);
      const bool all_inside = lo_x >= 0 && lo_y >= 0 && hi_x < in.w && hi_y < in.h;
      const __m512i start = _mm512_set1_epi32(16 * row + column);
      __m128i index[4];
      __mmask64 inside = 0;
      for (int q = 0; q < 4; q++) {
        const __m512i px = _mm512_srai_epi32(_mm512_add_epi32(_mm512_set1_epi32(sx), along_x.at[q]), 16);
        const __m512i py = _mm512_srai_epi32(_mm512_add_epi32(_mm512_set1_epi32(sy), along_y.at[q]), 16);
        index[q] = _mm512_cvtepi32_epi8(_mm512_sub_epi32(_mm512_add_epi32(_mm512_slli_epi32(py, 4), px), start));
        if (!all_inside)
          inside |= (__mmask64)_mm512_mask_cmplt_epu32_mask(_mm512_cmplt_epu32_mask(px, width), py, height) << (16 * q);
      }
      const __m512i at = sixteen_bytes_each(index[0], index[1], index[2], index[3]);
      const bool tall = hi_y - row >= 8;
      for (int k = 0; k < channels; k++) {
        __m512i v = _mm512_permutex2var_epi8(four_rows(in, k, row, column), at, four_rows(in, k, row + 4, column));
        if (tall) {
          const __m512i last = hi_y - row >= 12 ? four_rows(in, k, row + 12, column) : v;
          const __m512i lower = _mm512_permutex2var_epi8(four_rows(in, k, row + 8, column), at, last);
          v = _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), v, lower);
        }
        store_tile(out, k, x, y, all_inside ? v : _mm512_mask_blend_epi8(inside, fill[k], v));
      }
    }
}

void gather(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  if (is_shift_of_rows(m)) gather_shifted(in, out, channels, m);
  else if (fits_tiles(in, out, m)) gather_tiles(in, out, channels, m);
  else gather_rows(in, out, channels, m);
}

#else

void gather(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  if (is_shift_of_rows(m)) gather_shifted(in, out, channels, m);
  else gather_rows(in, out, channels, m);
}

#endif

}}}  // namespace
