// Nearest affine maps by the byte permutes of AVX-512 VBMI. Included by gather.h.
#pragma once

namespace ae { namespace AE_ISA { namespace {

// Eight by eight outputs read from at most 16 x 16 inputs, by permutes.
enum : int { TILE = 8, REACH = 16 };

i64 low_of(i64 a, i64 b) { return a < b ? a : b; }

// How far a tile's reads lie apart, in 16.16.
i64 spread(int a, int b) { return (TILE - 1) * ((a < 0 ? -(i64)a : a) + (b < 0 ? -(i64)b : b)); }

bool fits_tiles(const Planes& in, const Planes& out, const FixedMap& m) {
  if (in.w < REACH || in.h < REACH) return false;
  for (int row = 0; row < 6; row += 3) {
    const i64 right = (i64)m.f[row] * (out.w + TILE), down = (i64)m.f[row + 1] * (out.h + TILE);
    const i64 lo = m.f[row + 2] + low_of(right, 0) + low_of(down, 0), hi = m.f[row + 2] - low_of(-right, 0) - low_of(-down, 0);
    if (lo < -(1ll << 31) || hi >= (1ll << 31) || spread(m.f[row], m.f[row + 1]) >= (i64)(REACH - 1) << 16) return false;
  }
  return true;
}

// One coordinate of a tile's 64 reads: offsets from the first in 16.16, whole part and fraction apart, so that 32 fit
// a register. A sum of fractions that wraps carries one.
struct TileOffsets {
  __m512i whole[2], fraction[2];
  int before, spread;  // from the first output's read: how far back the others reach, and from there forth

  TileOffsets(int along, int down) {
    alignas(64) short wholes[64];
    alignas(64) u16 fractions[64];
    for (int i = 0; i < 64; i++) {
      const int offset = along * (i % TILE) + down * (i / TILE);
      wholes[i] = (short)(offset >> 16);
      fractions[i] = (u16)offset;
    }
    for (int q = 0; q < 2; q++) {
      whole[q] = _mm512_load_si512(wholes + 32 * q);
      fraction[q] = _mm512_load_si512(fractions + 32 * q);
    }
    before = (int)(low_of(0, (TILE - 1) * (i64)along) + low_of(0, (TILE - 1) * (i64)down));
    spread = (int)ae::AE_ISA::spread(along, down);
  }

  // Where the outputs read, from the whole part of `start` on.
  AE_FN __m512i at(int start, int q) const {
    const __m512i sum = _mm512_add_epi16(_mm512_set1_epi16((short)start), fraction[q]);
    const __mmask32 carries = _mm512_cmplt_epu16_mask(sum, fraction[q]);
    return _mm512_mask_sub_epi16(whole[q], carries, whole[q], _mm512_set1_epi16(-1));
  }
  int first(int start) const { return (start + before) >> 16; }
  int last(int start) const { return (int)(((i64)start + before + spread) >> 16); }
};

// Which of 32 reads, given from `base` on, lie in a side of the image.
AE_FN __mmask32 inside_of(__m512i reads, int base, int side) {
  const int from = clamp(-base, -64, 64), to = clamp(side - base, -64, 64);
  return _mm512_cmplt_epu16_mask(_mm512_sub_epi16(reads, _mm512_set1_epi16((short)from)), _mm512_set1_epi16((short)(to - from)));
}

// Sixteen columns of four rows.
AE_FN __m512i four_rows(const u8* src, ptrdiff_t stride) {
  __m128i r[4];
  for (int j = 0; j < 4; j++) r[j] = _mm_loadu_si128((const __m128i*)(src + j * stride));
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(r[0]), r[1], 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(r[2]), r[3], 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Bytes of 16 columns of 4 * QUADS rows; the index is 16 * row + column.
template <int QUADS>
AE_FN __m512i pick(const u8* src, ptrdiff_t stride, __m512i index) {
  __m512i rows[4];
  for (int i = 0; i < QUADS; i++) rows[i] = four_rows(src + 4 * i * stride, stride);
  const __m512i upper = _mm512_permutex2var_epi8(rows[0], index, rows[1]);
  if constexpr (QUADS == 2) return upper;
  const __m512i lower = QUADS == 3 ? _mm512_permutexvar_epi8(index, rows[2]) : _mm512_permutex2var_epi8(rows[2], index, rows[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), upper, lower);
}

AE_FN void store_tile(const Planes& out, int k, int x, int y, __m512i v) {
  if (x + TILE <= out.w && y + TILE <= out.h) {
    u8* dst = out.row(k, y) + x;
    const __m128i pair[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1), _mm512_extracti32x4_epi32(v, 2),
                             _mm512_extracti32x4_epi32(v, 3)};
    for (int q = 0; q < 4; q++, dst += 2 * out.stride) {
      _mm_storel_pi((__m64*)dst, _mm_castsi128_ps(pair[q]));
      _mm_storeh_pi((__m64*)(dst + out.stride), _mm_castsi128_ps(pair[q]));
    }
    return;
  }
  alignas(64) u8 bytes[64];
  _mm512_store_si512(bytes, v);
  for (int j = 0; j < min_of(TILE, out.h - y); j++) memcpy(out.row(k, y + j) + x, bytes + TILE * j, min_of(TILE, out.w - x));
}

constexpr Order even_bytes() {
  Order order = {};
  for (int i = 0; i < 64; i++) order.byte[i] = (u8)(2 * i);
  return order;
}

template <int QUADS>
void gather_tiles_of(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  static constexpr Order order = even_bytes();
  const __m512i evens = _mm512_load_si512(order.byte);
  const TileOffsets across(m.f[0], m.f[1]), down(m.f[3], m.f[4]);
  // Rows further on are asked for early: a walk that turns is not foreseen. Eight outputs down read about that far down.
  const bool large = (i64)in.w * in.h > 1 << 14;
  const int further = (int)((i64)m.f[4] * TILE >> 16) + (m.f[4] > 0 ? TILE : -TILE / 2);
  __m512i fill[3];
  for (int k = 0; k < channels; k++) fill[k] = _mm512_set1_epi8((char)m.fill[k]);
  for (int y = 0; y < out.h; y += TILE)
    for (int x = 0; x < out.w; x += TILE) {
      const int sx = (int)((u32)m.f[2] + (u32)x * (u32)m.f[0] + (u32)y * (u32)m.f[1]);  // a product alone may overflow
      const int sy = (int)((u32)m.f[5] + (u32)x * (u32)m.f[3] + (u32)y * (u32)m.f[4]);
      const int lo_x = across.first(sx), hi_x = across.last(sx), lo_y = down.first(sy), hi_y = down.last(sy);
      if (hi_x < 0 || hi_y < 0 || lo_x >= in.w || lo_y >= in.h) {
        for (int k = 0; k < channels; k++) store_tile(out, k, x, y, fill[k]);
        continue;
      }
      const int column = clamp(lo_x, 0, in.w - REACH), row = clamp(lo_y, 0, in.h - 4 * QUADS);
      const int base_x = sx >> 16, base_y = sy >> 16;
      const __m512i start = _mm512_set1_epi16((short)(16 * (base_y - row) + base_x - column));
      __m512i reads_x[2], reads_y[2], index[2];
      for (int q = 0; q < 2; q++) {
        reads_x[q] = across.at(sx, q);
        reads_y[q] = down.at(sy, q);
        index[q] = _mm512_add_epi16(_mm512_add_epi16(_mm512_slli_epi16(reads_y[q], 4), reads_x[q]), start);
      }
      const __m512i at = _mm512_permutex2var_epi8(index[0], evens, index[1]);
      __mmask64 inside = ~0ull;
      if (lo_x < 0 || lo_y < 0 || hi_x >= in.w || hi_y >= in.h) {
        const auto half = [&](int q) {
          return (u64)(inside_of(reads_x[q], base_x, in.w) & inside_of(reads_y[q], base_y, in.h));
        };
        inside = half(0) | half(1) << 32;
      }
      for (int k = 0; k < channels; k++) {
        for (int j = 0; j < TILE && large; j++)
          __builtin_prefetch(in.row(k, clamp(row + further, 0, in.h - TILE) + j) + column);
        const __m512i v = pick<QUADS>(in.row(k, row) + column, in.stride, at);
        store_tile(out, k, x, y, _mm512_mask_blend_epi8(inside, fill[k], v));
      }
    }
}

bool gather_tiles(const Planes& in, const Planes& out, int channels, const FixedMap& m) {
  if (!fits_tiles(in, out, m)) return false;
  const int rows = (int)(spread(m.f[3], m.f[4]) >> 16) + 2;  // that a tile reads, at most
  if (rows <= 8) gather_tiles_of<2>(in, out, channels, m);
  else if (rows <= 12) gather_tiles_of<3>(in, out, channels, m);
  else gather_tiles_of<4>(in, out, channels, m);
  return true;
}

}}}  // namespace
