// What augengine._native does for the CUDA backend on the host (augengine/backends/cuda.py, small.py).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <variant>
#include <vector>

#include "check.h"
#include "gil.h"
#include "lower.h"
#include "small_host.h"

namespace nb = nanobind;

namespace {

typedef nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu> Doubles;
typedef nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> Ids;
typedef nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> Sizes;
typedef nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> CallBytes;         // (B, slots * sizeof(Call))
typedef nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> SourceTable;  // (B, 6)
typedef nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu> Floats;        // a row for each channel

// Lowers a batch for the CUDA kernels, with the arguments of `run`. Gives (head, size, (zeros, zeros_end), launches):
// the workspace's first bytes, its size, the bytes of it that must be 0, and (kernel, first, count, blocks) a launch.
nb::tuple lower(SourceTable sources, CallBytes calls, int slots, int channels, int finish_position, bool pillow13,
                nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu> table, int dtype, int out_h,
                int out_w, const std::array<int64_t, 4>& strides) {
  using namespace ae::baseline;
  static const char* const names[] = {
#define AE_NAME(name) #name,
      AE_KERNELS(AE_NAME)
#undef AE_NAME
  };
  const int batch = (int)sources.shape(0);
  std::vector<View> images(batch);
  const LowerJob job = {images.data(), (const Call*)calls.data(), batch, slots, channels, finish_position, pillow13,
                        table.data(), dtype, out_h, out_w, strides[0], strides[1], strides[2], strides[3]};
  const Limits limits = {slots, batch, finish_position, out_h, out_w};
  auto* lowered = new Lowered;
  nb::capsule owner(lowered, [](void* p) noexcept { delete (Lowered*)p; });
  {
    ae::Unlocked unlocked;
    for (int i = 0; i < batch; i++) {
      const int64_t* s = sources.data() + 6 * i;
      images[i] = {s[0], s[3], s[4], s[5], (int)s[1], (int)s[2], 0, 0};
      check_row(job.calls + (size_t)i * slots, i, images[i].h, images[i].w, limits);
    }
    *lowered = Lowering(job).run();
  }
  nb::list launches;
  for (const Launch& l : lowered->launches) launches.append(nb::make_tuple(names[l.kernel], l.first, l.count, l.blocks));
  const size_t shape[1] = {lowered->head.size()};
  nb::ndarray<nb::numpy, uint8_t> head(lowered->head.data(), 1, shape, owner);
  return nb::make_tuple(head, lowered->size, nb::make_tuple(lowered->zeros, lowered->zeros_end), launches);
}

template <class T>
nb::ndarray<nb::numpy, uint8_t> owned_bytes(T* holder, std::vector<uint8_t>& bytes) {
  const size_t shape[1] = {bytes.size()};
  return nb::ndarray<nb::numpy, uint8_t>(bytes.data(), 1, shape, nb::capsule(holder, [](void* p) noexcept { delete (T*)p; }));
}

// What the kernels for small images need of a pipeline: (bytes, offset of the values, offset of the geometries), or None
// where they can't draw it. sizes: (h, w) of the image before each transform of the spec.
nb::object small_constants(Doubles spec, int transforms, Sizes sizes, Floats table, int dtype) {
  using namespace ae::baseline;
  auto* made = new SmallConstants;
  const std::vector<double> words(spec.data(), spec.data() + spec.shape(0));
  if (!make_constants(words, transforms, sizes.data(), table.data(), (int)table.shape(0), dtype, *made)) {
    delete made;
    return nb::none();
  }
  return nb::make_tuple(owned_bytes(made, made->bytes), made->values, made->geometries);
}

// A batch for those kernels: (head, size of the workspace, launches). images: address, h, w and the (n, c, y, x) strides
// in bytes; out: dtype, h, w and the strides in elements; constants: address and the two offsets; ids: of the host, or
// the address of int64 on the device.
nb::tuple small_batch(int count, int channels, const std::array<int64_t, 7>& images, const std::array<int64_t, 7>& out,
                      const std::array<int64_t, 3>& constants, int transforms, int slots, int finish_position,
                      int image_bytes, uint64_t seed, uint32_t epoch, int group, std::variant<Ids, int64_t> ids) {
  using namespace ae::baseline;
  const bool is_on_host = std::holds_alternative<Ids>(ids);
  SmallBatch b = {channels, (int)out[0], (int)images[1], (int)images[2], (int)out[1], (int)out[2], transforms, slots, group,
                  finish_position, image_bytes, epoch, seed, images[0], images[3], images[4], images[5], images[6], out[3],
                  out[4], out[5], out[6], is_on_host ? 0 : std::get<int64_t>(ids), constants[0], constants[1], constants[2],
                  0, 0, 0, 0, 0};
  const i64 size = lay_out(b, count);
  auto* head = new std::vector<uint8_t>(b.calls);
  memcpy(head->data(), &b, sizeof b);
  if (is_on_host) memcpy(head->data() + b.own_ids, std::get<Ids>(ids).data(), count * sizeof(u64));
  const int images_a_block = images_of_block(b);
  const auto blocks = [&](int each) { return (count + each - 1) / each; };
  nb::list launches;
  launches.append(nb::make_tuple("draw", 0, count, blocks(WARP)));
  launches.append(nb::make_tuple("small", 0, count, blocks(images_a_block)));
  return nb::make_tuple(owned_bytes(head, *head), size, launches);
}

typedef int LaunchKernel(void* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                         unsigned block_z, unsigned shared_bytes, void* stream, void** arguments, void** extra);

// Queues launches (kernel's handle, first, count, blocks) on a stream by the driver's cuLaunchKernel, whose address is
// given. Gives its CUresult: 0, or that of the first launch that it refused.
int launch(uint64_t launch_kernel, uint64_t stream, const std::vector<std::array<uint64_t, 4>>& launches,
           uint64_t workspace, uint64_t out) {
  ae::Unlocked unlocked;
  for (const auto& l : launches) {
    int first = (int)l[1], count = (int)l[2];
    void* arguments[] = {&workspace, &out, &first, &count};
    const int result = ((LaunchKernel*)launch_kernel)((void*)l[0], (unsigned)l[3], 1, 1, ae::baseline::BLOCK_THREADS, 1, 1, 0,
                                                      (void*)stream, arguments, nullptr);
    if (result != 0) return result;
  }
  return 0;
}

}  // namespace

void add_cuda(nb::module_& m) {
  m.def("lower", &lower, nb::arg("sources"), nb::arg("calls"), nb::arg("slots"), nb::arg("channels"),
        nb::arg("finish_position"), nb::arg("pillow13"), nb::arg("table"), nb::arg("dtype"), nb::arg("out_h"),
        nb::arg("out_w"), nb::arg("strides"));
  m.def("small_constants", &small_constants, nb::arg("spec"), nb::arg("transforms"), nb::arg("sizes"), nb::arg("table"),
        nb::arg("dtype"));
  m.def("small_batch", &small_batch, nb::arg("count"), nb::arg("channels"), nb::arg("images"), nb::arg("out"),
        nb::arg("constants"), nb::arg("transforms"), nb::arg("slots"), nb::arg("finish_position"),
        nb::arg("image_bytes"), nb::arg("seed"), nb::arg("epoch"), nb::arg("group"), nb::arg("ids"));
  m.def("launch", &launch, nb::arg("launch_kernel"), nb::arg("stream"), nb::arg("launches"), nb::arg("workspace"),
        nb::arg("out"));
  m.attr("SMALL_IMAGE_BYTES") = (int)ae::baseline::MOST_IMAGE_BYTES;
}
