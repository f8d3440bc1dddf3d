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
  u8 lut[3][256];
  bool lut_pending, flip_x, flip_y;
  u8* origin;  // where a chain keeps the image that it began with
  float* sum;  // of a chain
};

void clear_lut(Canvas& c) {
  for (int k = 0; k < 3; k++)
    for (int v = 0; v < 256; v++) c.lut[k][v] = (u8)v;
  c.lut_pending = false;
}

void compose(Canvas& c, int channel, const u8* table) {
  for (int v = 0; v < 256; v++) c.lut[channel][v] = table[c.lut[channel][v]];
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

// Writes the pending table and mirrorings into bytes.
void materialise(Canvas& c, int channels) {
  if (!c.lut_pending && !c.flip_x && !c.flip_y) return;
  const Planes in = c.image, out = target(c, channels, in.h, in.w);
  for (int k = 0; k < channels; k++)
    for (int y = 0; y < in.h; y++)
      look_up(c.lut[k], in.row(k, c.flip_y ? in.h - 1 - y : y), out.row(k, y), in.w, c.flip_x);
  adopt(c, out);
  clear_lut(c);
  c.flip_x = c.flip_y = false;
}

}}}  // namespace
