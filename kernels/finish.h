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

const Call* calls_of(const Job& job, int row) { return (const Call*)job.calls + (size_t)row * job.slots; }

// Columns [x0, x1) of a line.
struct Span {
  int x0, x1;
};

// Applies a row's regions of the positions between `behind` and `before` to a line of finished values. Positions, not
// the row's own mix, part what comes before a mix from what comes after: a partner need not mix itself.
void erase_line(const Job& job, int row, int k, int y, int behind, int before, float* line) {
  const Call* calls = calls_of(job, row);
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0 || !is_region(calls[i]) || calls[i].position <= behind || calls[i].position >= before) continue;
    const Region r = region(calls[i]);
    if (y < r.top || y >= r.top + r.height) continue;
    for (int x = max_of(r.left, 0); x < min_of(r.left + r.width, job.out_w); x++) line[x] = value_in(r, k, x, y);
  }
}

void store_line(const Job& job, int row, int k, int y, Span span, const float* line) {
  const ptrdiff_t at = row * job.stride_n + k * job.stride_c + y * job.stride_y;
  const ptrdiff_t step = job.stride_x;
  if (job.dtype == DTYPE_FLOAT32) {
    float* out = (float*)job.out + at;
    if (step == 1) memcpy(out + span.x0, line + span.x0, sizeof(float) * (span.x1 - span.x0));
    else for (int x = span.x0; x < span.x1; x++) out[x * step] = line[x];
  } else if (job.dtype == DTYPE_UINT8) {
    u8* out = (u8*)job.out + at;
    for (int x = span.x0; x < span.x1; x++) out[x * step] = clip_byte(line[x]);
  } else {
    u16* out = (u16*)job.out + at;
    for (int x = span.x0; x < span.x1; x++)
      out[x * step] = job.dtype == DTYPE_FLOAT16 ? to_float16(line[x]) : to_bfloat16(line[x]);
  }
}

bool has_finishing_calls(const Job& job, int row) {
  const Call* calls = calls_of(job, row);
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && (calls[i].position > job.finish_position || is_mix(calls[i]))) return true;
  return false;
}

const Call* mix_of(const Job& job, int row) {
  const Call* calls = calls_of(job, row);
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

// A row's finished values, line by line, up to a position in the pipeline.
struct Lines {
  const Job& job;
  int row;
  const Canvas& canvas;
  float* line;
  PlaneTable<float> tables[3];

  Lines(const Job& job, int row, const Canvas& canvas, const Finish& f, float* line)
      : job(job), row(row), canvas(canvas), line(line),
        tables{PlaneTable<float>(f.table[0]), PlaneTable<float>(f.table[job.channels > 1 ? 1 : 0]),
               PlaneTable<float>(f.table[job.channels > 1 ? 2 : 0])} {}

  const float* at(int k, int y, int before) const {
    look_up(tables[k], source_row(canvas, k, y), line, job.out_w, canvas.flip_x);
    erase_line(job, row, k, y, job.finish_position, before, line);
    return line;
  }
};

// Writes one patch of a mix from its source, which is `from`.
void finish_patch(const Job& job, const Patch& p, int before, const Lines& own, const Lines& from, float* mixed) {
  const Span span = {p.left, p.left + p.width};
  for (int k = 0; k < job.channels; k++)
    for (int y = p.top; y < p.top + p.height; y++) {
      const float* other = from.at(k, y + p.dy, before);
      const float* mine = p.blends ? own.at(k, y, before) : other;
      if (p.blends) for (int x = span.x0; x < span.x1; x++) mixed[x] = blended(p, mine[x], other[x + p.dx]);
      else for (int x = span.x0; x < span.x1; x++) mixed[x] = other[x + p.dx];
      store_line(job, own.row, k, y, span, mixed);
    }
}

// Regions behind the mix, over what is written already.
void finish_regions(const Job& job, int row, int behind, float* line) {
  const Call* calls = calls_of(job, row);
  for (int i = 0; i < job.slots; i++) {
    if (calls[i].op < 0 || !is_region(calls[i]) || calls[i].position <= behind) continue;
    const Region r = region(calls[i]);
    const Span span = {max_of(r.left, 0), min_of(r.left + r.width, job.out_w)};
    for (int k = 0; k < job.channels; k++)
      for (int y = max_of(r.top, 0); y < min_of(r.top + r.height, job.out_h); y++) {
        for (int x = span.x0; x < span.x1; x++) line[x] = value_in(r, k, x, y);
        if (span.x0 < span.x1) store_line(job, row, k, y, span, line);
      }
  }
}

// Finishes a row; `canvas_of(source)` draws another row of the batch.
template <class CanvasOf>
void finish_row(const Job& job, int row, const Canvas& canvas, CanvasOf canvas_of, Arena arena) {
  Finish* f = arena.take<Finish>(2);
  float* line[3];
  for (float*& l : line) l = arena.take<float>(job.out_w);
  fold_table(job, canvas, f[0]);
  if (job.stride_x == 1 && !has_finishing_calls(job, row)) return finish_plain(job, row, canvas, f[0]);
  const Lines own(job, row, canvas, f[0], line[0]);
  const Call* mix = mix_of(job, row);
  const int before = mix ? mix->position : INT_MAX;
  i64 covered = 0;
  for (int i = 0; mix && i < MAX_PATCHES; i++) {
    const Patch p = patch(*mix, i, job.out_h, job.out_w);
    if (!is_empty(p)) covered += (i64)p.height * p.width;
  }
  if (covered < (i64)job.out_h * job.out_w)
    for (int k = 0; k < job.channels; k++)
      for (int y = 0; y < job.out_h; y++) store_line(job, row, k, y, {0, job.out_w}, own.at(k, y, before));
  for (int i = 0; mix && i < MAX_PATCHES; i++) {
    const Patch p = patch(*mix, i, job.out_h, job.out_w);
    if (is_empty(p)) continue;
    const bool is_own = p.source < 0 || p.source == row;
    const Canvas& source = is_own ? canvas : canvas_of(p.source);
    fold_table(job, source, f[1]);
    const Lines from(job, is_own ? row : p.source, source, f[1], line[1]);
    finish_patch(job, p, before, own, from, line[2]);
  }
  if (mix) finish_regions(job, row, before, line[0]);
}

size_t finish_bytes(const Job& job) { return 2 * sizeof(Finish) + 3 * sizeof(float) * (size_t)job.out_w + 5 * 64; }

}}}  // namespace
