// The image of one row on its way through the CPU pass.
#pragma once
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
  Table<u8> lut[3];  // only where pending
  bool lut_pending, flip_x, flip_y;
  u8* origin;  // where a chain keeps the image that it began with
  float* sum;  // of a chain
};

// Composes the pending tables with those of `table_of(channel, 256 bytes)`, which come after them.
template <class TableOf>
void compose(Canvas& c, int channels, TableOf table_of) {
  for (int k = 0; k < channels; k++) {
    alignas(64) u8 values[256];
    table_of(k, values);
    Table<u8> table;
    table.set(values);
    if (c.lut_pending) c.lut[k].set(table, bytes_of(c.lut[k]));
    else c.lut[k] = table;
  }
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

// A rectangle of an image.
struct Area {
  int top, left, height, width;
};

// An area of a channel as it is after the pending mirrorings, to rows of `dst`.
template <class T>
Rows<T> rows_of(const Canvas& c, int k, const Area& a, T* dst, ptrdiff_t dst_stride) {
  const Planes& in = c.image;
  const int left = c.flip_x ? in.w - a.left - a.width : a.left, top = c.flip_y ? in.h - 1 - a.top : a.top;
  const ptrdiff_t down = c.flip_y ? -in.stride : in.stride;
  return {in.row(k, top) + left, down, dst, dst_stride, a.width, a.height, c.flip_x};
}

// Writes the pending table and mirrorings into bytes.
void materialise(Canvas& c, int channels) {
  if (!c.lut_pending && !c.flip_x && !c.flip_y) return;
  const Planes out = target(c, channels, c.image.h, c.image.w);
  const Table<u8> same = identity_table();
  const Area all = {0, 0, out.h, out.w};
  for (int k = 0; k < channels; k++)
    look_up(c.lut_pending ? c.lut[k] : same, rows_of(c, k, all, out.p[k], out.stride), false);
  adopt(c, out);
  c.lut_pending = c.flip_x = c.flip_y = false;
}

// Writes the pending table alone: for what does not care where a pixel stands.
void materialise_table(Canvas& c, int channels) {
  if (!c.lut_pending) return;
  const bool flip_x = c.flip_x, flip_y = c.flip_y;
  c.flip_x = c.flip_y = false;
  materialise(c, channels);
  c.flip_x = flip_x;
  c.flip_y = flip_y;
}

// Makes the next `materialise` copy the image, also where nothing is to be done to it.
void pend_copy(Canvas& c) {
  if (c.lut_pending) return;
  for (Table<u8>& table : c.lut) table = identity_table();
  c.lut_pending = true;
}

// Writes the pending table, or copies what has gaps between its rows: a channel is one run of pixels then.
void materialise_run(Canvas& c, int channels) {
  if (c.image.stride != c.image.w) pend_copy(c);
  materialise_table(c, channels);
}

// The bytes that the pending tables turn into `fill`; where there is none, the tables are written first.
void fill_before_tables(Canvas& c, int channels, const int* fill, int* found) {
  for (int k = 0; k < channels && c.lut_pending; k++)
    if (!memchr(bytes_of(c.lut[k]), fill[k], 256)) materialise_table(c, channels);
  for (int k = 0; k < 3; k++) found[k] = fill[k];
  if (!c.lut_pending) return;
  for (int k = 0; k < channels; k++) {
    const u8* const table = bytes_of(c.lut[k]);
    found[k] = (int)((const u8*)memchr(table, fill[k], 256) - table);
  }
}

// Calls visit(start of a run of pixels, length) for all pixels of a plane.
template <class Visit>
void each_run(const Planes& p, Visit visit) {
  if (p.stride == p.w) return visit((ptrdiff_t)0, p.w * p.h);
  for (int y = 0; y < p.h; y++) visit(y * p.stride, p.w);
}

}}}  // namespace
