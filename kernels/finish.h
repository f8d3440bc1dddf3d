// The last CPU pass: pending table and mirrorings, normalisation, regions, mix, cast and layout, into the output.
#pragma once
#include <limits.h>
#include <string.h>

#include "canvas.h"
#include "dispatch.h"
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
void set_tables(FinishTables& t, const T* values, const Job& job) {
  for (int k = 0; k < job.channels; k++) t.of(T())[k].set(values + 256 * k, job.mean_std + 2 * k);
}

void set_tables(FinishTables& t, const Job& job) {
  set_tables(t, job.table, job);
  if (job.dtype == DTYPE_UINT8) set_tables(t, (const u8*)job.values, job);
  else if (job.dtype != DTYPE_FLOAT32) set_tables(t, (const u16*)job.values, job);
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

const Call* mix_of(const Job& job, int row) {
  const Call* calls = calls_of(job, row);
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && is_mix(calls[i])) return calls + i;
  return nullptr;
}

// A row's regions between two positions, in order. Positions, not the row's own mix, part what comes before a mix from
// what comes after: a partner need not mix itself.
struct Regions {
  Region* at;
  int count;
};

Regions regions_of(const Job& job, int row, int behind, int before, Arena& arena) {
  const Call* calls = calls_of(job, row);
  Regions found = {arena.take<Region>(job.slots), 0};
  for (int i = 0; i < job.slots; i++)
    if (calls[i].op >= 0 && calls[i].position > behind && calls[i].position < before && is_region(calls[i]))
      found.at[found.count++] = region(calls[i]);
  return found;
}

// Values of one channel in an area of the batch, `step` apart in a row.
template <class T>
struct Target {
  T* data;
  ptrdiff_t stride, step;
};

template <class T>
Target<T> target_of(const Job& job, int row, int k, int top, int left) {
  T* const data = (T*)job.out + row * job.stride_n + k * job.stride_c + top * job.stride_y + left * job.stride_x;
  return {data, job.stride_y, job.stride_x};
}

// Writes what of the regions lies in `area` of channel k.
template <class T>
void erase(const Regions& regions, int dtype, int k, const Area& area, const Target<T>& to) {
  for (int i = 0; i < regions.count; i++) {
    const Region& r = regions.at[i];
    const int x0 = max_of(r.left, area.left), x1 = min_of(r.left + r.width, area.left + area.width);
    const int y0 = max_of(r.top, area.top), y1 = min_of(r.top + r.height, area.top + area.height);
    if (x0 >= x1 || y0 >= y1) continue;
    T* const corner = to.data + (y0 - area.top) * to.stride + (x0 - area.left) * to.step;
    T value;
    to_output(dtype, r.value[k], value);
    if (to.step == 1 && !r.noise) {
      fill_rows(corner, to.stride, x1 - x0, y1 - y0, value);
      continue;
    }
    for (int y = y0; y < y1; y++) {
      T* const line = corner + (y - y0) * to.stride;
      if (r.noise) for (int x = x0; x < x1; x++) to_output(dtype, value_in(r, k, x, y), line[(x - x0) * to.step]);
      else for (int x = x0; x < x1; x++) line[(x - x0) * to.step] = value;
    }
  }
}

// A row's finished values as T, with its regions up to a position in the pipeline.
template <class T>
struct Finished {
  const Job& job;
  const Canvas& canvas;
  Regions regions;
  const Table<T>* tables[3];
  Table<T> memory[3];

  Finished(const Job& job, const Canvas& canvas, const Regions& regions, FinishTables& finish)
      : job(job), canvas(canvas), regions(regions) {
    for (int k = 0; k < job.channels; k++) tables[k] = &folded(finish, canvas, k, memory[k]);
  }

  // An area of channel k, to rows of `out` that are `stride` apart.
  void write(int k, const Area& a, T* out, ptrdiff_t stride, bool stream) const {
    look_up(*tables[k], rows_of(canvas, k, a, out, stride), stream);
    erase<T>(regions, job.dtype, k, a, {out, stride, 1});
  }

  void write(int k, const Area& a, const Target<T>& to, T* line) const {
    if (to.step == 1 && (!job.stream || regions.count == 0)) return write(k, a, to.data, to.stride, job.stream);
    for (int y = 0; y < a.height; y++) {  // what is streamed is written once, so erased in cache
      write(k, {a.top + y, a.left, 1, a.width}, line, 0, false);
      store(line, to, y, a.width);
    }
  }

  void store(const T* line, const Target<T>& to, int y, int n) const {
    T* const dst = to.data + y * to.stride;
    if (to.step != 1) for (int x = 0; x < n; x++) dst[x * to.step] = line[x];
    else if (job.stream) stream_line(line, dst, sizeof(T) * n);
    else memcpy(dst, line, sizeof(T) * n);
  }
};

enum : int { STRIP = 2048 };  // values that are blended at a time

int strip_rows(int width, int height) { return clamp(STRIP / max_of(width, 1), 1, height); }

// Blends a patch of two rows' float values.
template <class T>
void blend_patch(const Patch& p, int k, const Finished<float>& own, const Finished<float>& from, const Finished<T>& out,
                 const Target<T>& to, Arena arena) {
  const int rows = strip_rows(p.width, p.height), n = rows * p.width;
  float *const mine = arena.take<float>(n), *const other = arena.take<float>(n);
  T* const mixed = arena.take<T>(n);
  for (int y = 0; y < p.height; y += rows) {
    const int height = min_of(rows, p.height - y);
    own.write(k, {p.top + y, p.left, height, p.width}, mine, p.width, false);
    from.write(k, {p.top + p.dy + y, p.left + p.dx, height, p.width}, other, p.width, false);
    for (int i = 0; i < height * p.width; i++) to_output(own.job.dtype, blended(p, mine[i], other[i]), mixed[i]);
    for (int i = 0; i < height; i++) out.store(mixed + i * p.width, to, y + i, p.width);
  }
}

// Finishes a row; `canvas_of(source)` draws another row of the batch, or gives null where memory is lacking.
template <class T, class CanvasOf>
bool finish(const Job& job, int row, const Canvas& canvas, FinishTables& tables, CanvasOf canvas_of, Arena arena) {
  T* const line = arena.take<T>(job.out_w);
  const Call* const mix = mix_of(job, row);
  const int position = mix ? mix->position : INT_MAX;
  const Regions regions = regions_of(job, row, job.finish_position, position, arena);
  const Finished<T> own(job, canvas, regions, tables);
  i64 covered = 0;
  for (int i = 0; mix && i < MAX_PATCHES; i++) {
    const Patch p = patch(*mix, i, job.out_h, job.out_w);
    if (!is_empty(p)) covered += (i64)p.height * p.width;
  }
  if (covered < (i64)job.out_h * job.out_w)
    for (int k = 0; k < job.channels; k++)
      own.write(k, {0, 0, job.out_h, job.out_w}, target_of<T>(job, row, k, 0, 0), line);
  for (int i = 0; mix && i < MAX_PATCHES; i++) {
    const Patch p = patch(*mix, i, job.out_h, job.out_w);
    if (is_empty(p)) continue;
    const bool is_own = p.source < 0 || p.source == row;
    const Canvas* const source = is_own ? &canvas : canvas_of(p.source);
    if (!source) return false;
    Arena rest = arena;
    const Regions theirs = regions_of(job, is_own ? row : p.source, job.finish_position, position, rest);
    if (p.blends) {
      const Finished<float> mine(job, canvas, regions, tables), other(job, *source, theirs, tables);
      for (int k = 0; k < job.channels; k++)
        blend_patch(p, k, mine, other, own, target_of<T>(job, row, k, p.top, p.left), rest);
    } else {
      const Finished<T> other(job, *source, theirs, tables);
      for (int k = 0; k < job.channels; k++)
        other.write(k, {p.top + p.dy, p.left + p.dx, p.height, p.width}, target_of<T>(job, row, k, p.top, p.left), line);
    }
  }
  if (!mix) return true;
  const Regions after = regions_of(job, row, position, INT_MAX, arena);
  for (int k = 0; k < job.channels; k++)
    erase(after, job.dtype, k, {0, 0, job.out_h, job.out_w}, target_of<T>(job, row, k, 0, 0));
  return true;
}

template <class CanvasOf>
bool finish_row(const Job& job, int row, const Canvas& canvas, FinishTables& tables, CanvasOf canvas_of, Arena arena) {
  if (job.dtype == DTYPE_FLOAT32) return finish<float>(job, row, canvas, tables, canvas_of, arena);
  if (job.dtype == DTYPE_UINT8) return finish<u8>(job, row, canvas, tables, canvas_of, arena);
  return finish<u16>(job, row, canvas, tables, canvas_of, arena);
}

size_t finish_bytes(const Job& job) {
  const size_t strip = job.out_w > STRIP ? job.out_w : STRIP;
  return sizeof(FinishTables) + 3 * (sizeof(Region) * job.slots + 64) + 4 * sizeof(float) * (strip + 64);
}

}}}  // namespace
