// Runs the CPU pass on batches from a file, for machines of other kinds: see tests/test_aarch64.py.
//
// For each batch: 12 numbers of 64 bits (Header), then calls, images as dense planes, the table of finished values and
// the means and stds. Writes the finished batches, one behind the other.
#include <stdio.h>

#include <vector>

#include "job.h"
#include "op.h"

namespace ae { namespace baseline { RunRows run_rows; }}

using namespace ae;

struct Header {
  int64_t batch, slots, channels, finish_position, pillow13, dtype, out_h, out_w, in_h, in_w, call_bytes, element_bytes;
};

template <class T>
std::vector<T> read(FILE* file, size_t count) {
  std::vector<T> values(count);
  if (fread(values.data(), sizeof(T), count, file) != count) abort();
  return values;
}

int main(int, char** paths) {
  FILE *const in = fopen(paths[1], "rb"), *const out = fopen(paths[2], "wb");
  for (Header h; fread(&h, sizeof h, 1, in) == 1;) {
    const int64_t plane = h.in_h * h.in_w, finished = h.out_h * h.out_w;
    const auto calls = read<uint8_t>(in, h.call_bytes), images = read<uint8_t>(in, h.batch * h.channels * plane);
    const auto table = read<float>(in, h.channels * 256), mean_std = read<float>(in, h.channels * 2);
    std::vector<Source> sources;
    for (int64_t i = 0; i < h.batch; i++)
      sources.push_back({(int64_t)(images.data() + i * h.channels * plane), h.in_h, h.in_w, plane, h.in_w, 1});
    std::vector<uint8_t> values(table.size() * h.element_bytes);
    for (size_t i = 0; i < table.size(); i++) baseline::store_output((int)h.dtype, table[i], values.data(), i);
    std::vector<uint8_t> batch(h.batch * h.channels * finished * h.element_bytes);
    const Job job = {sources.data(), calls.data(), (int)h.batch, (int)h.slots, (int)h.channels, (int)h.finish_position,
                     (int)h.pillow13, table.data(), mean_std.data(), values.data(), batch.data(), (int)h.dtype,
                     (int)h.out_h, (int)h.out_w, h.channels * finished, finished, h.out_w, 1, false, nullptr};
    Scratch scratch;
    if (!baseline::run_rows(job, 0, (int)h.batch, scratch)) return 1;
    fwrite(batch.data(), 1, batch.size(), out);
  }
  return fclose(out);
}
