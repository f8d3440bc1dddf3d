// The last CPU pass: pending table and mirrorings, normalisation, regions, mix, cast and layout, into the output.
#pragma once
#include <limits.h>
#include <string.h>

#include "canvas.h"
#include "dispatch.h"
#include "half.h"
#include "job.h"

namespace ae { namespace AE_ISA { namespace {

// The finished value of a byte: in the output's dtype, and in float32 for what mixes.
struct FinishTables {
  Table<u8> bytes[3];
  Table<u16> halves[3];
  Table<float> floats[3];

  Table<u8>* of(u8) { return bytes; }
  Table<u16>* of(u16) { return halves; }
  Table<float>* of(float) { return floats; }
};

template <class T>
void set_tables(FinishTables& t, const T* values, int channels) {
  for (int k = 0; k < channels; k++) t.of(T())[k].set(values + 256 * k);
}

void set_tables(FinishTables& t, const Job& job) {
  set_tables(t, job.table, job.channels);
  if (job.dtype == DTYPE_UINT8) set_tables(t, (const u8*)job.values, job.channels);
  else if (job.dtype != DTYPE_FLOAT32) set_tables(t, (const u16*)job.values, job.channels);
}

// The finished value behind a canvas's pending table.
template <class T>
const Table<T>& folded(FinishTables& tables, const Canvas& c, int k, Table<T>& memory) {
  const Table<T>& table = tables.of(T())[k];
  if (!c.lut_pending) return table;
  memory.set(table, bytes_of(c.lut[k]));
  return memory;
}

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

const Call* mix_of(const Job& job, int row) {
  const Call* calls = calls_of(job, row);
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && is_mix(calls[i])) return calls + i;
  return nullptr;
}

void to_output(int, float v, float& out) { out = v; }
void to_output(int, float v, u8& out) { out = clip_byte(v); }
void to_output(int dtype, float v, u16& out) { out = dtype == DTYPE_FLOAT16 ? to_float16(v) : to_bfloat16(v); }

// A row that mixes nothing: straight from bytes to the output. What is streamed is written once, so that lines which a
// region touches are made in cache first.
template <class T>
struct PlainFinish {
  const Job& job;
  const Canvas& canvas;
  const Region* regions;
  int count;
  T* line;

  bool touches(const Region& r, int y) const { return y >= r.top && y < r.top + r.height && r.width > 0; }

  // The first line from y on that is touched, or that is not.
  int next(int y, bool touched) const {
    for (; y < job.out_h; y++) {
      bool any = false;
      for (int i = 0; i < count; i++) any |= touches(regions[i], y);
      if (any == touched) break;
    }
    return y;
  }

  // Writes the regions over rows [from, to) of channel k; `out` is row `from`.
  void erase(int k, int from, int to, T* out) const {
    for (int i = 0; i < count; i++) {
      const Region& r = regions[i];
      const int x0 = max_of(r.left, 0), x1 = min_of(r.left + r.width, job.out_w);
      T value;
      to_output(job.dtype, r.value[k], value);
      for (int y = max_of(r.top, from); y < min_of(r.top + r.height, to); y++) {
        T* const line = out + (y - from) * job.stride_y;
        if (r.noise) for (int x = x0; x < x1; x++) to_output(job.dtype, value_in(r, k, x, y), line[x]);
        else fill_values(line + x0, x1 - x0, value);
      }
    }
  }

  Rows<T> lines(int k, int y, int height, T* dst, ptrdiff_t stride) const {
    Rows<T> rows = rows_of(canvas, k, dst, stride);
    rows.src += y * rows.src_stride;
    rows.h = height;
    return rows;
  }

  void plane(const Table<T>& table, int k, T* out) const {
    if (!job.stream || count == 0) {
      look_up(table, lines(k, 0, job.out_h, out, job.stride_y), job.stream);
      return erase(k, 0, job.out_h, out);
    }
    for (int y = 0; y < job.out_h;) {
      const int touched = next(y, true);
      if (touched > y) look_up(table, lines(k, y, touched - y, out + y * job.stride_y, job.stride_y), true);
      const int after = next(touched, false);
      for (y = touched; y < after; y++) {
        look_up(table, lines(k, y, 1, line, 0), false);
        erase(k, y, y + 1, line);
        stream_line(line, out + y * job.stride_y, sizeof(T) * job.out_w);
      }
    }
  }

  // Pixels of interleaved channels, or otherwise strided.
  void strided(const Table<T>& table, int k, T* out) const {
    for (int y = 0; y < job.out_h; y++) {
      look_up(table, lines(k, y, 1, line, 0), false);
      erase(k, y, y + 1, line);
      T* const dst = out + y * job.stride_y;
      for (int x = 0; x < job.out_w; x++) dst[x * job.stride_x] = line[x];
    }
  }

  void run(FinishTables& tables, T* out) const {
    for (int k = 0; k < job.channels; k++) {
      Table<T> memory;
      const Table<T>& table = folded(tables, canvas, k, memory);
      if (job.stride_x == 1) plane(table, k, out + k * job.stride_c);
      else strided(table, k, out + k * job.stride_c);
    }
  }
};

// A row's regions behind `behind`, in order.
int regions_of(const Job& job, int row, int behind, Region* regions) {
  const Call* calls = calls_of(job, row);
  int count = 0;
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && calls[i].position > behind && is_region(calls[i])) regions[count++] = region(calls[i]);
  return count;
}

template <class T>
void finish_plain(const Job& job, int row, const Canvas& canvas, FinishTables& tables, Arena arena) {
  Region* const regions = arena.take<Region>(job.slots);
  const int count = regions_of(job, row, job.finish_position, regions);
  const PlainFinish<T> finish = {job, canvas, regions, count, arena.take<T>(job.out_w)};
  finish.run(tables, (T*)job.out + row * job.stride_n);
}

// A row's finished values, line by line, up to a position in the pipeline.
struct Lines {
  const Job& job;
  int row;
  const Canvas& canvas;
  float* line;
  Table<float> tables[3];

  Lines(const Job& job, int row, const Canvas& canvas, FinishTables& finish, float* line)
      : job(job), row(row), canvas(canvas), line(line) {
    for (int k = 0; k < job.channels; k++) {
      const Table<float>& table = folded(finish, canvas, k, tables[k]);
      if (&table != &tables[k]) tables[k] = table;
    }
  }

  const float* at(int k, int y, int before) const {
    Rows<float> rows = rows_of(canvas, k, line, 0);
    rows.src += y * rows.src_stride;
    rows.h = 1;
    look_up(tables[k], rows, false);
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

// Finishes a row that mixes; `canvas_of(source)` draws another row of the batch, or gives null where memory is lacking.
template <class CanvasOf>
bool finish_mixed(const Job& job, int row, const Call& mix, const Canvas& canvas, FinishTables& tables,
                  CanvasOf canvas_of, Arena arena) {
  float* line[3];
  for (float*& l : line) l = arena.take<float>(job.out_w);
  const Lines own(job, row, canvas, tables, line[0]);
  i64 covered = 0;
  for (int i = 0; i < MAX_PATCHES; i++) {
    const Patch p = patch(mix, i, job.out_h, job.out_w);
    if (!is_empty(p)) covered += (i64)p.height * p.width;
  }
  if (covered < (i64)job.out_h * job.out_w)
    for (int k = 0; k < job.channels; k++)
      for (int y = 0; y < job.out_h; y++) store_line(job, row, k, y, {0, job.out_w}, own.at(k, y, mix.position));
  for (int i = 0; i < MAX_PATCHES; i++) {
    const Patch p = patch(mix, i, job.out_h, job.out_w);
    if (is_empty(p)) continue;
    const bool is_own = p.source < 0 || p.source == row;
    const Canvas* const source = is_own ? &canvas : canvas_of(p.source);
    if (!source) return false;
    const Lines from(job, is_own ? row : p.source, *source, tables, line[1]);
    finish_patch(job, p, mix.position, own, from, line[2]);
  }
  finish_regions(job, row, mix.position, line[0]);
  return true;
}

template <class CanvasOf>
bool finish_row(const Job& job, int row, const Canvas& canvas, FinishTables& tables, CanvasOf canvas_of, Arena arena) {
  if (const Call* mix = mix_of(job, row)) return finish_mixed(job, row, *mix, canvas, tables, canvas_of, arena);
  if (job.dtype == DTYPE_FLOAT32) finish_plain<float>(job, row, canvas, tables, arena);
  else if (job.dtype == DTYPE_UINT8) finish_plain<u8>(job, row, canvas, tables, arena);
  else finish_plain<u16>(job, row, canvas, tables, arena);
  return true;
}

size_t finish_bytes(const Job& job) {
  return sizeof(FinishTables) + sizeof(Region) * job.slots + 3 * sizeof(float) * (size_t)job.out_w + 6 * 64;
}

}}}  // namespace
