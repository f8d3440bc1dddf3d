// Tables over rows of bytes, in the version of the instruction set.
#pragma once
#include <stddef.h>
#include <string.h>

#include "lanes.h"

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
#define AE_VBMI 1
#endif

namespace ae { namespace AE_ISA {

// Rows of bytes that are looked up, and where the results go; strides in elements. Each row of `src` is read backwards
// if `flip`. Without `flip`, rows without gaps are one long row.
template <class T>
struct Rows {
  const u8* src;
  ptrdiff_t src_stride;
  T* dst;
  ptrdiff_t dst_stride;
  int w, h;
  bool flip;

  bool has_gaps() const { return h > 1 && (src_stride != w || dst_stride != w); }
};

}}  // namespace

#ifdef AE_VBMI
#include "simd_vbmi.h"
#else
#include "simd_plain.h"
#endif

namespace ae { namespace AE_ISA {

inline Table<u8> identity_table() {
  u8 values[256];
  for (int v = 0; v < 256; v++) values[v] = (u8)v;
  Table<u8> table;
  table.set(values);
  return table;
}

}}  // namespace
