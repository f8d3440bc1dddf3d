// Small images: `draw` draws each row's calls, a thread a row and a warp a block, so that few rows spread over the whole
// card, by the very samplers of the host; `small` runs them, a
// warp an image, which stays in shared memory from its first byte to its finished values. The warps of a block share
// nothing, so that their only barrier is the warp's.
#include "cuda_finish.h"
#include "sampling.h"
#include "small.h"
#include "view.h"

using namespace ae;
using namespace ae::AE_ISA;

namespace {

__device__ const SmallBatch& small_batch_in(const u8* workspace) { return *(const SmallBatch*)workspace; }

__device__ int channels_of(const SmallBatch& b) { return AE_CHANNELS ? AE_CHANNELS : b.channels; }

__device__ int dtype_of(const SmallBatch& b) { return AE_DTYPE >= 0 ? AE_DTYPE : b.dtype; }

// One row of what `draw` leaves for `small`.
struct Row {
  Call* calls;
  Geometry* maps;   // of those calls that are maps
  Region* regions;  // on finished values
  int* count;       // of regions

  __device__ Row(u8* workspace, int row) {
    const SmallBatch& b = small_batch_in(workspace);
    const i64 first = (i64)row * b.slots;
    calls = (Call*)(workspace + b.calls) + first;
    maps = (Geometry*)(workspace + b.maps) + first;
    regions = (Region*)(workspace + b.regions) + first;
    count = (int*)(workspace + b.counts) + row;
  }
};

typedef ReaderOf<int> SmallReader;  // 32 bits reach through shared memory

struct alignas(16) Sixteen {
  u32 v[4];
};

// Calls visit(x, y) for a lane's share of h x w pixels.
template <class Visit>
__device__ void each_pixel_of_lane(int h, int w, Visit visit) {
  int x = threadIdx.x % WARP, y = 0;
  AE_NOT_UNROLLED  // registers count: the warps of a multiprocessor hide each other's waiting
  for (;;) {
    while (x >= w) { x -= w; y++; }
    if (y >= h) return;
    visit(x, y);
    x += WARP;
  }
}

// A warp's image on its way: what its lanes all know alike, and its memory.
class Image {
 public:
  __device__ Image(const SmallBatch& b, u8* memory)
      : batch_(b), shown_(memory), spare_(memory + bytes_of_image(b)), table_(spare_ + bytes_of_image(b)) {}

  __device__ void load(const u8* from) {
    const int h = batch_.in_h, w = batch_.in_w, bytes = channels_of(batch_) * h * w;
    const bool whole = batch_.in_x == 1 && batch_.in_y == w && batch_.in_c == h * w;
    if (whole && bytes % 16 == 0 && (u64)from % 16 == 0) {
      for (int i = lane(); i < bytes / 16; i += WARP) ((Sixteen*)shown_)[i] = ((const Sixteen*)from)[i];
    } else {
      each_pixel_of_lane(h, w, [&](int x, int y) {
        for (int k = 0; k < channels_of(batch_); k++)
          shown_[(k * h + y) * w + x] = from[k * batch_.in_c + y * batch_.in_y + x * batch_.in_x];
      });
    }
    show(h, w);
  }

  __device__ void run(const Call& call, const Geometry& g) {
    const int channels = channels_of(batch_), h = seen_.view.h, w = seen_.view.w;
    switch (call.op) {
      case -1: return;
#define AE_CASE(name) case OP_##name:
      AE_CHANNEL_OPS(AE_CASE) return add_table(call, [](int) { return Stats{}; });
      AE_LUMA_OPS(AE_CASE) return add_table(call, [&](int k) { return k == 0 ? luma_ = luma_stats() : luma_; });
      AE_RANGE_OPS(AE_CASE) return add_table(call, [&](int k) { return range_stats(k); });
      AE_HISTOGRAM_OPS(AE_CASE) return add_table(call, [&](int k) { return histogram_stats(k); });
      AE_PIXEL_OPS(AE_CASE)
        if (channels == 1) return;  // one channel is left as it is
        return write(h, w, [&](const SmallReader& in, const Writer& to, int x, int y) {
          const Rgb p = pixel(call, {in(0, x, y), in(1, x, y), in(2, x, y)});
          to(0, x, y) = p.r;
          to(1, x, y) = p.g;
          to(2, x, y) = p.b;
        });
      AE_WINDOW_OPS(AE_CASE)
        return write(h, w, [&](const SmallReader& in, const Writer& to, int x, int y) {
          for (int k = 0; k < channels; k++) to(k, x, y) = stencil(call, window_at(in, k, x, y, h, w));
        });
      AE_RECTANGLE_OPS(AE_CASE) return erase_bytes(region(call));
      AE_MAP_OPS(AE_CASE) return move(g);
#undef AE_CASE
    }
  }

  template <class T>
  __device__ void finish(const T* common, const Region* regions, int count, const Target<T>& to) {
    T* const values = (T*)spare_;
    for (int k = 0; k < channels_of(batch_); k++) {
      T* const own = values + k * FINISHED_VALUES;
      for (int v = lane(); v < 256; v += WARP) own[v] = common[k * 256 + entry(k, v)];
      if (lane() == 0) own[FINISHED_OUTSIDE] = seen_.mapped ? common[k * 256 + outside(k)] : T();
    }
    __syncwarp();
    const FinishedImage<T> from = {seen_.view, shown_ + seen_.view.data, &seen_.map, values, regions, count};
    const int groups = (to.w + FOUR - 1) / FOUR;
    each_pixel_of_lane(to.h, groups, [&](int x, int y) {
      if (seen_.mapped) finish_group<true, int>(from, channels_of(batch_), dtype_of(batch_), to, x * FOUR, y);
      else finish_group<false, int>(from, channels_of(batch_), dtype_of(batch_), to, x * FOUR, y);
    });
  }

 private:
  const SmallBatch& batch_;
  u8 *shown_, *spare_, *table_;
  Seen seen_ = {};
  int pending_ = 0;
  Stats luma_ = {};

  __device__ static int lane() { return threadIdx.x % WARP; }

  __device__ void show(int h, int w) {
    seen_ = {{0, (i64)h * w, w, 1, h, w, 0, 0}, {}, false};
    pending_ = 0;
    __syncwarp();
  }

  __device__ SmallReader reader() const {
    return SmallReader(shown_ + seen_.view.data, seen_.view, seen_.mapped, &seen_.map, table_, pending_);
  }

  // Writes h x w pixels, each by `pixel` from the image as it is seen; they become the image.
  template <class Pixel>
  __device__ void write(int h, int w, Pixel pixel) {
    const SmallReader in = reader();
    const Writer to(spare_, (i64)h * w, w);
    each_pixel_of_lane(h, w, [&](int x, int y) { pixel(in, to, x, y); });
    exchange(shown_, spare_);
    show(h, w);
  }

  __device__ void erase_bytes(const Region& r) {
    write(seen_.view.h, seen_.view.w, [&](const SmallReader& in, const Writer& to, int x, int y) {
      for (int k = 0; k < channels_of(batch_); k++)
        to(k, x, y) = contains(r, x, y) ? clip_byte(r.value[k]) : in(k, x, y);
    });
  }

  // Only geometries that are views or maps in 16.16 come here.
  __device__ void move(const Geometry& g) {
    const bool was_mapped = seen_.mapped;
    if (!absorb(seen_, g)) {
      write(seen_.view.h, seen_.view.w, [&](const SmallReader& in, const Writer& to, int x, int y) {
        for (int k = 0; k < channels_of(batch_); k++) to(k, x, y) = in(k, x, y);
      });
      absorb(seen_, g);
    } else if (was_mapped && !seen_.mapped) {
      pending_ &= PENDING_BYTES;  // there is no outside any more
    }
  }

  __device__ u8 entry(int k, int v) const { return pending_ & PENDING_BYTES ? table_[k * 256 + v] : (u8)v; }

  __device__ u8 outside(int k) const {
    return pending_ & PENDING_OUTSIDE ? table_[OUTSIDE_AT + k] : outside_of(seen_.map, k);
  }

  // Composes a call's table with the pending one. Each channel's statistics are taken before its table changes.
  template <class StatsOf>
  __device__ void add_table(const Call& call, StatsOf stats_of) {
    for (int k = 0; k < channels_of(batch_); k++) {
      const Stats stats = stats_of(k);
      for (int v = lane(); v < 256; v += WARP) table_[k * 256 + v] = table_entry(call, entry(k, v), k, stats);
      if (lane() == 0 && seen_.mapped) table_[OUTSIDE_AT + k] = table_entry(call, outside(k), k, stats);
      __syncwarp();
    }
    pending_ = PENDING_BYTES | (seen_.mapped ? PENDING_OUTSIDE : 0);
  }

  // The spare image's memory while statistics are taken.
  struct Counters {
    u32 histogram[256], below[256], part[WARP], lo, hi, sum;
  };

  __device__ Counters& cleared() {
    Counters& c = *(Counters*)spare_;
    for (int v = lane(); v < 256; v += WARP) c.histogram[v] = 0;
    if (lane() == 0) { c.lo = 255; c.hi = 0; c.sum = 0; }
    __syncwarp();
    return c;
  }

  __device__ Stats told(const Counters& c) const {
    return {c.histogram, c.below, (int)c.lo, (int)c.hi, (u32)(seen_.view.h * seen_.view.w), c.sum};
  }

  __device__ Stats luma_stats() {
    Counters& c = cleared();
    const SmallReader in = reader();
    u32 sum = 0;
    each_pixel_of_lane(seen_.view.h, seen_.view.w, [&](int x, int y) {
      sum += channels_of(batch_) == 3 ? luma<int>(in(0, x, y), in(1, x, y), in(2, x, y)) : in(0, x, y);
    });
    atomicAdd(&c.sum, sum);
    __syncwarp();
    return told(c);
  }

  __device__ Stats range_stats(int k) {
    Counters& c = cleared();
    const SmallReader in = reader();
    u32 lo = 255, hi = 0;
    each_pixel_of_lane(seen_.view.h, seen_.view.w, [&](int x, int y) {
      const u32 v = in(k, x, y);
      lo = v < lo ? v : lo;
      hi = v > hi ? v : hi;
    });
    atomicMin(&c.lo, lo);
    atomicMax(&c.hi, hi);
    __syncwarp();
    return told(c);
  }

  __device__ Stats histogram_stats(int k) {
    enum : int { EACH = 256 / WARP };  // values that a lane counts below
    Counters& c = cleared();
    const SmallReader in = reader();
    each_pixel_of_lane(seen_.view.h, seen_.view.w, [&](int x, int y) { atomicAdd(&c.histogram[in(k, x, y)], 1u); });
    __syncwarp();
    u32 own = 0, before = 0;
    for (int v = lane() * EACH; v < (lane() + 1) * EACH; v++) {
      own += c.histogram[v];
      if (!c.histogram[v]) continue;
      atomicMin(&c.lo, (u32)v);
      atomicMax(&c.hi, (u32)v);
    }
    c.part[lane()] = own;
    __syncwarp();
    for (int i = 0; i < lane(); i++) before += c.part[i];
    for (int v = lane() * EACH; v < (lane() + 1) * EACH; v++) {
      c.below[v] = before;
      before += c.histogram[v];
    }
    __syncwarp();
    return told(c);
  }
};

template <class T>
__device__ void finish_small(Image& image, u8* workspace, T* out, int row, const Row& drawn) {
  const SmallBatch& b = small_batch_in(workspace);
  const T* const values = (const T*)((const u8*)b.constants + b.values);
  const Target<T> to = {out + row * b.out_n, b.out_c, b.out_y, b.out_x, b.out_h, b.out_w};
  image.finish(values, drawn.regions, *drawn.count, to);
}

}  // namespace

// The maps that are drawn otherwise than at a policy's levels, whose geometries were made beforehand.
#ifndef AE_DRAWN_MAP_OPS
#define AE_DRAWN_MAP_OPS AE_MAP_OPS
#endif

__device__ Geometry drawn_geometry(const Call& call, int h, int w) {
  switch (call.op) {
#define AE_CASE(name) case OP_##name: return name(call.args, h, w);
    AE_DRAWN_MAP_OPS(AE_CASE)
#undef AE_CASE
  }
  return {};
}

AE_KERNEL(draw) {
  const SmallBatch& b = small_batch_in(workspace);
  const int row = blockIdx.x * WARP + threadIdx.x, size[2] = {b.in_h, b.in_w};
  if (threadIdx.x >= WARP || row >= count) return;
  const u8* const constants = (const u8*)b.constants;
  const u64* const ids = b.ids ? (const u64*)b.ids : (const u64*)(workspace + b.own_ids);
  const Samples samples = {(Call*)(workspace + b.calls), b.slots, count, b.group, ids, size, 0, b.seed, b.epoch};
  sample_rows(samples, (const double*)constants, b.transforms, row, 1);
  const Row drawn(workspace, row);
  int h = b.in_h, w = b.in_w, regions = 0;
  for (int i = 0; i < b.slots; i++) {
    const Call& call = drawn.calls[i];
    if (is_region(call) && call.position > b.finish_position) drawn.regions[regions++] = region(call);
    if (!is_map(call)) continue;
    const int made = (int)call.args[GEOMETRY_ARG];
    drawn.maps[i] = made ? ((const Geometry*)(constants + b.geometries))[made - 1] : drawn_geometry(call, h, w);
    h = drawn.maps[i].out_h;
    w = drawn.maps[i].out_w;
  }
  *drawn.count = regions;
}

AE_KERNEL(small) {
  __shared__ Sixteen memory[SMALL_BYTES / sizeof(Sixteen)];
  const SmallBatch& b = small_batch_in(workspace);
  const int images = images_of_block(b), at = threadIdx.x / WARP, row = blockIdx.x * images + at;
  if (at >= images || row >= count) return;
  Image image(b, (u8*)memory + at * bytes_of_warp(b));
  image.load((const u8*)b.images + row * b.in_n);
  const Row drawn(workspace, row);
  for (int i = 0; i < b.slots; i++)
    if (drawn.calls[i].position <= b.finish_position) image.run(drawn.calls[i], drawn.maps[i]);
  switch (dtype_of(b)) {
    case DTYPE_UINT8: return finish_small(image, workspace, (u8*)out, row, drawn);
    case DTYPE_FLOAT32: return finish_small(image, workspace, (float*)out, row, drawn);
    default: return finish_small(image, workspace, (u16*)out, row, drawn);
  }
}
