// The Python extension augengine._native: sampling, checking and running programs on the CPU; cuda_host.cpp adds
// what the CUDA backend needs. Pointers come in as
// integers from tensors that the caller (augengine/backends/cpu.py) has checked and holds.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "boxes.h"
#include "check.h"
#include "geometry_ops.h"
#include "gil.h"
#include "job.h"
#include "output.h"
#include "pool.h"
#include "sampling.h"

namespace nb = nanobind;
using ae::baseline::Call;

void add_cuda(nb::module_& m);  // cuda_host.cpp

namespace ae {
namespace baseline { RunRows run_rows; }
#ifdef AE_X86
namespace avx2 { RunRows run_rows; }
namespace avx512 { RunRows run_rows; }
#endif
}  // namespace ae

namespace {

struct Isa {
  const char* name;
  ae::RunRows* run;
};

std::vector<Isa> available_isas() {  // the best last
  std::vector<Isa> found = {{"baseline", ae::baseline::run_rows}};
#ifdef AE_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (avx2) found.push_back({"avx2", ae::avx2::run_rows});
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vbmi") &&
                      __builtin_cpu_supports("avx512vnni");
  if (avx512) found.push_back({"avx512", ae::avx512::run_rows});
#endif
  return found;
}

const std::vector<Isa>& isas() {
  static const std::vector<Isa> found = available_isas();
  return found;
}

Isa& chosen_isa() {
  static Isa isa = isas().back();
  return isa;
}

void choose_isa(const std::string& name) {
  std::string known;
  for (const Isa& isa : isas()) {
    if (name == isa.name) {
      chosen_isa() = isa;
      return;
    }
    known += known.empty() ? isa.name : std::string(", ") + isa.name;
  }
  throw std::invalid_argument("isa: got '" + name + "'; this machine has " + known);
}

typedef nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu> Doubles;
typedef nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> Ids;
typedef nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> Sizes;
typedef nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> CallBytes;  // (B, slots * sizeof(Call))

void sample(Doubles spec, int transforms, uint64_t seed, uint32_t epoch, Ids ids, Sizes sizes, CallBytes out, int slots,
            int group, const std::vector<int>& mix_positions) {
  using namespace ae::baseline;
  const Samples batch = {(Call*)out.data(), slots, (int)ids.shape(0), group, (const u64*)ids.data(), sizes.data(), 2,
                       seed, epoch};
  ae::Unlocked unlocked;
  for (int start = 0; start < batch.size; start += ROWS_AT_A_TIME)
    sample_rows(batch, spec.data(), transforms, start, min_of(ROWS_AT_A_TIME, batch.size - start));
  for (const int position : mix_positions) assign_partners(batch, position);
}

// Of one call of `run`, kept from call to call.
struct RunMemory {
  std::vector<int> order;  // in which rows that mix are run
  std::vector<char> seen;
  std::vector<uint8_t> values;
};

bool mixes(const ae::Job& job) {
  const Call* calls = (const Call*)job.calls;
  for (size_t i = 0; i < (size_t)job.batch * job.slots; i++)
    if (calls[i].op >= 0 && ae::baseline::is_mix(calls[i])) return true;
  return false;
}

// A mixed row is followed by its partner, whose bytes are then still at hand.
void order_mixed_rows(const ae::Job& job, RunMemory& m) {
  using namespace ae::baseline;
  const Call* calls = (const Call*)job.calls;
  m.order.clear();
  m.seen.assign(job.batch, 0);
  for (int start = 0; start < job.batch; start++) {
    for (int row = start; row >= 0 && !m.seen[row];) {
      m.seen[row] = 1;
      m.order.push_back(row);
      int partner = -1;
      for (int i = 0; i < job.slots; i++) {
        const Call& call = calls[(size_t)row * job.slots + i];
        if (is_mix(call)) partner = (int)call.args[0];
      }
      row = partner;
    }
  }
}

// Pieces small enough to share the work evenly, and large enough to be worth handing out.
int piece_of(const ae::Job& job, int threads) {
  const int even = (job.batch + 4 * threads - 1) / (4 * threads);
  return even < 1 ? 1 : even > 16 ? 16 : even;
}

// The finished value of each byte in the output's dtype.
const void* values_of(const ae::Job& job, std::vector<uint8_t>& memory) {
  using namespace ae::baseline;
  if (job.dtype == ae::DTYPE_FLOAT32) return job.table;
  const int n = 256 * job.channels;
  memory.resize((size_t)n * bytes_of_output(job.dtype));
  for (int i = 0; i < n; i++) store_output(job.dtype, job.table[i], memory.data(), i);
  return memory.data();
}

// Output beyond this goes past the caches: it would push out what is still needed.
size_t cached_bytes() {
  static const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return cache > 0 ? (size_t)cache / 2 : (size_t)8 << 20;
}

// Rows that were refused; the first one's error is raised.
struct Refusals {
  std::mutex lock;
  int row = 0;
  std::exception_ptr error;

  void add(int at, std::exception_ptr what) {
    std::lock_guard<std::mutex> guard(lock);
    if (!error || at < row) {
      row = at;
      error = what;
    }
  }
};

typedef nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> SourceTable;  // (B, 6)

typedef nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu> Floats;  // a row for each channel

// sources: per row (pointer, h, w, stride_c, stride_y, stride_x), strides in bytes.
// out: pointer, and (n, c, y, x) strides in elements.
void run(SourceTable sources, CallBytes calls, int slots, int channels, int finish_position, bool pillow13,
         Floats table, Floats mean_std, uint64_t out, int dtype, int out_h,
         int out_w, const std::array<int64_t, 4>& strides, int threads) {
  static thread_local RunMemory memory;
  const int batch = (int)sources.shape(0);
  ae::Job job = {(const ae::Source*)sources.data(), calls.data(), batch, slots, channels, finish_position, pillow13,
                 table.data(), mean_std.data(), nullptr, (void*)out, dtype, out_h, out_w, strides[0], strides[1], strides[2],
                 strides[3], false, nullptr};
  const ae::baseline::Limits limits = {slots, batch, finish_position, out_h, out_w};
  ae::Unlocked unlocked;
  job.values = values_of(job, memory.values);
  const size_t bytes = (size_t)batch * channels * out_h * out_w * ae::baseline::bytes_of_output(dtype);
  job.stream = bytes > cached_bytes();
  const auto check = [&](int row) {
    const ae::Source& source = job.sources[row];
    check_row((const Call*)job.calls + (size_t)row * slots, row, (int)source.h, (int)source.w, limits);
  };
  const bool is_mixed = mixes(job);
  if (is_mixed) {  // a row may read any other, so all are checked before any is run
    for (int i = 0; i < batch; i++) check(i);
    order_mixed_rows(job, memory);
    job.order = memory.order.data();
  }
  const int piece = piece_of(job, threads), pieces = (batch + piece - 1) / piece;
  ae::RunRows* const run_rows = chosen_isa().run;
  std::atomic<bool> out_of_memory{false};
  Refusals refusals;
  ae::pool().run(threads, pieces, [&](int, int at) {
    static thread_local ae::Scratch scratch;
    const int first = at * piece, count = std::min(piece, batch - first);
    int row = first;
    try {
      for (; !is_mixed && row < first + count; row++) check(row);
    } catch (...) {
      return refusals.add(row, std::current_exception());
    }
    if (!run_rows(job, first, count, scratch)) out_of_memory = true;
  });
  if (refusals.error) std::rethrow_exception(refusals.error);
  if (out_of_memory) throw std::bad_alloc();
}

// The (height, width) with which the first row of calls leaves its image.
nb::tuple out_size(CallBytes calls, int slots, Sizes sizes) {
  int h = sizes.data()[0], w = sizes.data()[1];
  for (int i = 0; i < slots; i++) {
    const Call& call = ((const Call*)calls.data())[i];
    const ae::baseline::Geometry g = ae::baseline::geometry_of(call, h, w);
    const std::string bad = ae::baseline::bad_size(g);
    if (!bad.empty())
      throw std::invalid_argument("program row 0: its call at position " + std::to_string(call.position) + " " + bad);
    h = g.out_h;
    w = g.out_w;
  }
  return nb::make_tuple(h, w);
}

typedef nb::ndarray<int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> Rows;
typedef nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu> Weights;

// Which rows (B, 1 + MAX_PATCHES) each row of an out_h x out_w batch is mixed of, itself first, and their weights.
void mix_weights(CallBytes calls, int slots, int out_h, int out_w, Rows sources, Weights weights) {
  using namespace ae::baseline;
  const int width = 1 + MAX_PATCHES;
  const double pixels = (double)out_h * out_w;
  for (int row = 0; row < (int)sources.shape(0); row++) {
    int64_t* const source = sources.data() + (size_t)row * width;
    double* const weight = weights.data() + (size_t)row * width;
    for (int i = 0; i < width; i++) { source[i] = row; weight[i] = 0.0; }
    double uncovered = pixels;
    for (int k = 0; k < slots; k++) {
      const Call& call = ((const Call*)calls.data())[(size_t)row * slots + k];
      if (!is_mix(call)) continue;
      for (int i = 0; i < MAX_PATCHES; i++) {
        const Patch p = patch(call, i, out_h, out_w);
        if (is_empty(p)) continue;
        const double area = (double)p.height * p.width;
        uncovered -= area;
        source[1 + i] = p.source < 0 ? row : p.source;
        weight[1 + i] = p.other * area;
        weight[0] += p.own * area;
      }
    }
    weight[0] += uncovered;
    for (int i = 0; i < width; i++) weight[i] /= pixels;
  }
}

// Moves boxes (N, 4), of which box i belongs to image rows[i], as the calls move their images of `sizes`.
void move_boxes(CallBytes calls, int slots, Sizes sizes, Ids rows, Weights boxes) {
  for (int i = 0; i < (int)boxes.shape(0); i++) {
    const int64_t row = rows.data()[i];
    const int32_t* size = sizes.data() + 2 * row;
    ae::baseline::move_box_of_row((const Call*)calls.data() + (size_t)row * slots, slots, size[0], size[1],
                                  boxes.data() + 4 * (size_t)i);
  }
}

// The coefficients of functional.perspective for corners (x, y) * 4.
std::vector<double> perspective(const std::vector<double>& from, const std::vector<double>& to) {
  if (from.size() != 8 || to.size() != 8) throw std::invalid_argument("perspective: expected four corners (x, y)");
  std::vector<double> coefficients(8);
  if (!ae::baseline::perspective_coefficients(from.data(), to.data(), coefficients.data()))
    throw std::invalid_argument("perspective: three of the corners lie on a line; expected those of a quadrilateral");
  return coefficients;
}

typedef nb::ndarray<nb::pytorch, nb::ndim<4>, nb::device::cpu> Output;

// A (b, c, h, w) tensor whose memory is reused once it and all its views are gone.
Output take_output(size_t b, size_t c, size_t h, size_t w, int dtype, bool channels_last) {
  static const nb::dlpack::dtype types[] = {nb::dtype<uint8_t>(), nb::dtype<float>(),
                                            {(uint8_t)nb::dlpack::dtype_code::Float, 16, 1},
                                            {(uint8_t)nb::dlpack::dtype_code::Bfloat, 16, 1}};
  ae::Buffer* held = new ae::Buffer(ae::outputs().take(b * c * h * w * types[dtype].bits / 8));
  if (!held->data) {
    delete held;
    throw std::bad_alloc();
  }
  nb::capsule owner(held, [](void* p) noexcept {
    ae::outputs().give(*(ae::Buffer*)p);
    delete (ae::Buffer*)p;
  });
  const int64_t x = channels_last ? c : 1, y = w * x, of_channel = channels_last ? 1 : h * w;
  return Output(held->data, {b, c, h, w}, owner, {(int64_t)(c * h * w), of_channel, y, x}, types[dtype]);
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) names.push_back(isa.name);
  return names;
}

nb::dict sampler_codes() {
  nb::dict codes;
#define AE_CODE(name) codes[#name] = (int)ae::baseline::SAMPLER_##name;
  AE_SAMPLERS(AE_CODE)
#undef AE_CODE
  return codes;
}

}  // namespace

NB_MODULE(_native, m) {
  add_cuda(m);
  m.def("sample", &sample, nb::arg("spec"), nb::arg("transforms"), nb::arg("seed"), nb::arg("epoch"), nb::arg("ids"),
        nb::arg("sizes"), nb::arg("out"), nb::arg("slots"), nb::arg("group"), nb::arg("mix_positions"));
  m.def("run", &run, nb::arg("sources"), nb::arg("calls"), nb::arg("slots"), nb::arg("channels"),
        nb::arg("finish_position"), nb::arg("pillow13"), nb::arg("table"), nb::arg("mean_std"), nb::arg("out"), nb::arg("dtype"),
        nb::arg("out_h"), nb::arg("out_w"), nb::arg("strides"), nb::arg("threads"));
  m.def("out_size", &out_size, nb::arg("calls"), nb::arg("slots"), nb::arg("sizes"));
  m.def("mix_weights", &mix_weights, nb::arg("calls"), nb::arg("slots"), nb::arg("out_h"), nb::arg("out_w"),
        nb::arg("sources"), nb::arg("weights"));
  m.def("move_boxes", &move_boxes, nb::arg("calls"), nb::arg("slots"), nb::arg("sizes"), nb::arg("rows"),
        nb::arg("boxes"));
  m.def("perspective", &perspective, nb::arg("startpoints"), nb::arg("endpoints"));
  m.attr("MAX_PATCHES") = (int)ae::baseline::MAX_PATCHES;
  m.attr("ENTRY_ARGS") = (int)ae::baseline::ENTRY_ARGS;
  m.def("take_output", &take_output, nb::arg("b"), nb::arg("c"), nb::arg("h"), nb::arg("w"), nb::arg("dtype"),
        nb::arg("channels_last"));
  m.def("isas", &isa_names, "Instruction sets that this machine and this build have, the best last.");
  m.def("isa", [] { return std::string(chosen_isa().name); });
  m.def("set_isa", &choose_isa, nb::arg("name"));
  m.def("sampler_codes", &sampler_codes);
  m.attr("registry_hash") = AE_REGISTRY_HASH;
}
