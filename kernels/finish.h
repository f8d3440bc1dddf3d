// The last CPU pass: pending table and mirrorings, normalisation, regions, mix, cast and layout, into the output.
#pragma once
#include <limits.h>
#include <string.h>

#include "canvas.h"
#include "dispatch.h"
#include "half.h"
#include "job.h"

namespace ae { namespace AE_ISA { namespace {

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

// Applies a row's regions of the positions between `behind` and `before` to a line of finished values. Positions, not
// the row's own mix, part what comes before a mix from what comes after: a partner need not mix itself.
void erase_line(const Job& job, int row, int k, int y, int behind, int before, float* line) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0 || !is_region(calls[i]) || calls[i].position <= behind || calls[i].position >= before) continue;
    const Region r = region(calls[i]);
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
    if (calls[i].op >= 0 && (calls[i].position > job.finish_position || is_mix(calls[i]))) return true;
  return false;
}

const Call* mix_of(const Job& job, int row) {
  const Call* calls = (const Call*)job.calls + (size_t)row * job.slots;
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && is_mix(calls[i])) return calls + i;
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
      erase_line(job, row, k, y, job.finish_position, mix ? mix->position : INT_MAX, line);
      if (mix) {
        look_up(partner_values, source_row(*partner, k, y), other, job.out_w, partner->flip_x);
        erase_line(job, (int)mix->args[0], k, y, job.finish_position, mix->position, other);
        for (int x = 0; x < job.out_w; x++) line[x] = mixed(*mix, line[x], other[x]);
        erase_line(job, row, k, y, mix->position, INT_MAX, line);
      }
      store_line(job, row, k, y, line);
    }
  }
}

size_t finish_bytes(const Job& job) { return 2 * sizeof(Finish) + 2 * sizeof(float) * (size_t)job.out_w + 4 * 64; }

}}}  // namespace
