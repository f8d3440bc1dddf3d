// From a call to its op's function, by the function's signature (op.h). Adding an op needs nothing here.
#pragma once
#include "color.h"
#include "filter.h"
#include "mix.h"
#include "region.h"

namespace ae { namespace AE_ISA {

AE_FN u8 table_entry(const Call& call, u8 v, int channel, const Stats& stats) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(v, channel, call.args);
    AE_CHANNEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) case OP_##name: return name(v, stats, call.args);
    AE_HISTOGRAM_OPS(AE_CASE)
    AE_RANGE_OPS(AE_CASE)
    AE_LUMA_OPS(AE_CASE)
#undef AE_CASE
  }
  return v;
}

AE_FN Rgb pixel(const Call& call, Rgb p) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(p, call.args);
    AE_PIXEL_OPS(AE_CASE)
#undef AE_CASE
  }
  return p;
}

AE_FN int stencil(const Call& call, const Window& window) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(window, call.args);
    AE_WINDOW_OPS(AE_CASE)
#undef AE_CASE
  }
  return window.centre();
}

AE_FN Region region(const Call& call) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(call.args);
    AE_RECTANGLE_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

AE_FN bool is_region(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_RECTANGLE_OPS(AE_CASE);
#undef AE_CASE
}

AE_FN bool is_mix(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_PATCH_OPS(AE_CASE);
#undef AE_CASE
}

AE_FN bool is_map(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_MAP_OPS(AE_CASE);
#undef AE_CASE
}

AE_FN bool is_chain(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_CHAIN_OPS(AE_CASE);
#undef AE_CASE
}

AE_FN Patch patch(const Call& call, int i, int h, int w) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(call.args, i, h, w);
    AE_PATCH_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

AE_FN float chained(const Call& call, float sum, u8 v) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(sum, v, call.args);
    AE_CHAIN_OPS(AE_CASE)
#undef AE_CASE
  }
  return sum;
}

}}  // namespace

#ifndef __CUDACC__

namespace ae { namespace AE_ISA {

inline bool is_convolution(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_CONVOLUTION_OPS(AE_CASE);
#undef AE_CASE
}

inline Convolution convolution(const Call& call) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(call.args);
    AE_CONVOLUTION_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

}}  // namespace
#endif
