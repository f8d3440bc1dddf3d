// A call's op on the device, by the signature of its function (op.h). Adding an op needs nothing here.
#pragma once
#include "color.h"
#include "filter.h"
#include "mix.h"
#include "region.h"

namespace ae { namespace AE_ISA {

__device__ u8 table_entry(const Call& call, u8 v, const Stats& stats) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(v, call.args);
    AE_CHANNEL_OPS(AE_CASE)
#undef AE_CASE
#define AE_CASE(name) case OP_##name: return name(v, stats, call.args);
    AE_HISTOGRAM_OPS(AE_CASE)
    AE_LUMA_OPS(AE_CASE)
#undef AE_CASE
  }
  return v;
}

__device__ Rgb pixel(const Call& call, Rgb p) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(p, call.args);
    AE_PIXEL_OPS(AE_CASE)
#undef AE_CASE
  }
  return p;
}

__device__ u8 stencil(const Call& call, const Window& window) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(window, call.args);
    AE_STENCIL_OPS(AE_CASE)
#undef AE_CASE
  }
  return window.v[4];
}

__device__ Region region(const Call& call) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(call.args);
    AE_REGION_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

__device__ bool is_mix(const Call& call) {
#define AE_CASE(name) || call.op == OP_##name
  return false AE_MIX_OPS(AE_CASE);
#undef AE_CASE
}

__device__ float mixed(const Call& call, float own, float partner) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(own, partner, call.args);
    AE_MIX_OPS(AE_CASE)
#undef AE_CASE
  }
  return own;
}

}}  // namespace
