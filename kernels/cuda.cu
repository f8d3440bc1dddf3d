// The CUDA side of the engine, one kernel for each kind of op. A batch was lowered on the host (lower.h) to steps in
// one workspace (step.h); a launch runs the steps [first, first + count), and a block finds its step by its index.
//
// Every kernel has the same four arguments, and none depends on the order in which threads run between barriers: sums
// are integers, and float arithmetic is compiled without contraction, so the bits are those of the CPU pass.
// The file also compiles with g++ against tests/emulation/device.h.
#include "cuda_mix.h"
#include "cuda_statistics.h"
#include "dispatch.h"

using namespace ae;
using namespace ae::AE_ISA;

namespace {

__device__ u8 gathered(const Reader& in, const Geometry& g, int k, int x, int y) {
  if (g.type == GEOMETRY_PERSPECTIVE || (g.type == GEOMETRY_AFFINE && g.interpolation != NEAREST))
    return interpolated(g, x, y, (u8)g.fill[k], [&](int px, int py) { return (double)in(k, px, py); });
  const Point p = g.type == GEOMETRY_AFFINE ? affine_walked(g, x, y) : crop_point(g, x, y);
  const bool inside = p.x >= 0 && p.x < g.in_w && p.y >= 0 && p.y < g.in_h;
  return inside ? in(k, p.x, p.y) : (u8)g.fill[k];
}

}  // namespace

// Coefficients of a resize, one thread for each output.
AE_KERNEL(taps) {
  const Step& s = step_of_block(workspace, first, count);
  const int i = (blockIdx.x - s.first_block) * BLOCK_THREADS + threadIdx.x;
  if (i >= s.taps.out) return;
  int* const starts = (int*)(workspace + batch_in(workspace).taps) + s.taps.at;
  int* const own = starts + s.taps.out + (i64)i * s.taps.width;
  const int used = axis_taps(s.taps.interpolation, s.taps.in, s.taps.out, i, starts + i, own);
  for (int j = used; j < s.taps.width; j++) own[j] = 0;
}

// What tables are made from: histograms, or no more than an op reads.
AE_KERNEL(statistics) {
  __shared__ u32 shared[COUNTER_COPIES * 3 * 256];
  __shared__ u64 sum;
  const Step& s = step_of_block(workspace, first, count);
  void* const total = workspace + batch_in(workspace).histograms + s.histograms;
  switch (s.reads) {
    case READS_LUMA: return sum_luma(workspace, s, &sum, (u64*)total);
    case READS_RANGE: return find_range(workspace, s, shared, (u32*)total);
    default: return count_values(workspace, s, shared, (u32*)total);
  }
}

// Composes a row's table calls into its pending table, one thread for each entry.
AE_KERNEL(tables) {
  __shared__ SharedStats shared;
  const Step& s = step_of_block(workspace, first, count);
  const Call* const calls = calls_in(workspace) + s.call;
  u8* const table = (u8*)pending_of(workspace, s.row) + threadIdx.x;
  for (int k = 0; k < channels_in(workspace); k++) {
    const Stats stats = stats_of(workspace, s, k, shared);
    u8 v = s.pending & PENDING_BYTES ? table[k * 256] : (u8)threadIdx.x;
    for (int i = 0; i < s.calls; i++) v = table_entry(calls[i], v, k, stats);
    table[k * 256] = v;
    if (s.last) keep_finished(workspace, s.row, k, threadIdx.x, v);
    if (threadIdx.x != 0 || s.outside_from >= s.calls) continue;
    u8* const outside = table + OUTSIDE_AT + k;
    u8 o = s.pending & PENDING_OUTSIDE ? *outside : outside_of(*map_of(workspace, s.in), k);
    for (int i = s.outside_from; i < s.calls; i++) o = table_entry(calls[i], o, k, stats);
    *outside = o;
    if (s.last) keep_finished(workspace, s.row, k, FINISHED_OUTSIDE, o);
  }
}

AE_KERNEL(pixels) {
  const Step& s = step_of_block(workspace, first, count);
  const Call& call = calls_in(workspace)[s.call];
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  each_output(s, [&](int x, int y) {
    const Rgb p = pixel(call, {in(0, x, y), in(1, x, y), in(2, x, y)});
    to(0, x, y) = p.r;
    to(1, x, y) = p.g;
    to(2, x, y) = p.b;
  });
}

AE_KERNEL(stencils) {
  const Step& s = step_of_block(workspace, first, count);
  const Call& call = calls_in(workspace)[s.call];
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  const int channels = channels_in(workspace);
  each_output(s, [&](int x, int y) {
    for (int k = 0; k < channels; k++) to(k, x, y) = stencil(call, window_at(in, k, x, y, s.out.h, s.out.w));
  });
}

// A separable kernel's taps, row by row as torch's float32 has them; the image is mirrored beyond its sides.
AE_KERNEL(convolutions) {
  const Step& s = step_of_block(workspace, first, count);
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  const int channels = channels_in(workspace), w = s.taps.in, h = s.taps.out;
  const float* const across = (const float*)(workspace + batch_in(workspace).taps) + s.taps.at;
  const float* const down = across + w;
  each_output(s, [&](int x, int y) {
    for (int k = 0; k < channels; k++) {
      float sum = 0.0f;
      for (int j = 0; j < h; j++) {
        const int from = bordered(y + j - h / 2, s.out.h, PADDING_REFLECT);
        for (int i = 0; i < w; i++) {
          const u8 v = in(k, bordered(x + i - w / 2, s.out.w, PADDING_REFLECT), from);
          sum = fused(down[j] * across[i], (float)v, sum);
        }
      }
      to(k, x, y) = clip_byte(round_even(sum));
    }
  });
}

// A chain's sum begins, takes an image in, or ends as bytes.
AE_KERNEL(chains) {
  const Step& s = step_of_block(workspace, first, count);
  const Call& call = calls_in(workspace)[s.call];
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  float* const sums = (float*)address_of(workspace, s.sum);
  const int channels = channels_in(workspace), at = (int)call.args[1];
  each_output(s, [&](int x, int y) {
    for (int k = 0; k < channels; k++) {
      const u8 v = in(k, x, y);
      float& sum = sums[k * s.sum.stride_c + (i64)y * s.out.w + x];
      sum = chained(call, at == CHAIN_BEGIN ? 0.0f : sum, v);  // nobody has written it before
      if (at == CHAIN_BEGIN) to(k, x, y) = v;
      if (at == CHAIN_END) to(k, x, y) = clip_byte(sum);
    }
  });
}

// Regions before Normalize: their value is a byte.
AE_KERNEL(regions) {
  const Step& s = step_of_block(workspace, first, count);
  const Region r = region(calls_in(workspace)[s.call]);
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  const int channels = channels_in(workspace);
  each_output(s, [&](int x, int y) {
    for (int k = 0; k < channels; k++) to(k, x, y) = contains(r, x, y) ? clip_byte(r.value[k]) : in(k, x, y);
  });
}

AE_KERNEL(gathers) {
  const Step& s = step_of_block(workspace, first, count);
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  const int channels = channels_in(workspace);
  each_output(s, [&](int x, int y) {
    for (int k = 0; k < channels; k++) to(k, x, y) = gathered(in, s.geometry, k, x, y);
  });
}

// One pass of a resize, along x or along y. A window may end outside the image, where its coefficients are 0.
AE_KERNEL(resample) {
  const Step& s = step_of_block(workspace, first, count);
  const Reader in(workspace, s.in, s.row, s.pending);
  const Writer to(workspace, s.out);
  const int channels = channels_in(workspace);
  const int* const starts = (const int*)(workspace + batch_in(workspace).taps) + s.taps.at;
  each_output(s, [&](int x, int y) {
    const int i = s.along_x ? x : y;
    const int* const own = starts + s.taps.out + (i64)i * s.taps.width;
    for (int k = 0; k < channels; k++) {
      int sum = 0;
      for (int j = 0; j < s.taps.width; j++) {
        const int at = min_of(starts[i] + j, s.taps.in - 1);
        sum += own[j] * (s.along_x ? in(k, at, y) : in(k, x, at));
      }
      to(k, x, y) = round_taps(sum);
    }
  });
}

// Rows that don't mix, without and with a map: pending table, normalisation, regions, cast and layout.
AE_KERNEL(finish) {
  __shared__ u32 values[3 * FINISHED_VALUES];
  finish_rows<false>(workspace, out, first, count, values);
}

AE_KERNEL(finish_mapped) {
  __shared__ u32 values[3 * FINISHED_VALUES];
  finish_rows<true>(workspace, out, first, count, values);
}

// Rows that mix, in float32.
AE_KERNEL(finish_mixed) {
  __shared__ float values[MIXED_VALUES];
  __shared__ Patch patches[MAX_PATCHES];
  switch (dtype_in(workspace)) {
    case DTYPE_UINT8: return finish_mixed_rows(workspace, (u8*)out, first, count, values, patches);
    case DTYPE_FLOAT32: return finish_mixed_rows(workspace, (float*)out, first, count, values, patches);
    default: return finish_mixed_rows(workspace, (u16*)out, first, count, values, patches);
  }
}
