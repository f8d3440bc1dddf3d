// Lowers a batch for the CUDA kernels (step.h) on the host: the passes of every row, grouped so that one launch serves
// all rows that need the same kernel in the same wave. Only addresses and sizes are looked at, never a pixel, so
// nothing here waits for the device.
#pragma once
#include <string.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "launch.h"
#include "view.h"

namespace ae { namespace AE_ISA {

class Lowering {
 public:
  explicit Lowering(const LowerJob& job) : job_(job) {
    steps_.reserve(4 * (size_t)job.batch);
    calls_.reserve(4 * (size_t)job.batch);
    finishes_.reserve(job.batch);
  }

  Lowered run() {
    for (row_ = 0; row_ < job_.batch; row_++) lower_row(job_.calls + (size_t)row_ * job_.slots);
    Lowered result;
    order_steps(result.launches);
    lay_out(result);
    return result;
  }

 private:
  const LowerJob& job_;
  std::vector<Step> steps_;
  std::vector<Finish> finishes_;
  std::vector<int> ordered_;                 // the steps' places, as they are launched
  std::vector<int> finish_kernels_, order_;  // of each row; the rows in the order of those
  std::vector<Call> calls_;
  std::vector<int> host_taps_;
  std::vector<Map> maps_;
  std::vector<Region> regions_;
  i64 device_taps_ = 0, histograms_ = 0, scratch_ = 0;  // how much of each is taken

  // of the row being lowered
  int row_ = 0, wave_ = 0, open_table_ = -1, last_table_ = -1;
  Seen image_ = {};
  int kept_map_ = 0;  // as View::map has it, where the image's map is kept already
  int pending_ = 0;
  View origin_ = {};     // of its chain
  View sum_ = {};
  i64 buffers_[4] = {};  // bytes

  void lower_row(const Call* calls) {
    const size_t first_step = steps_.size();
    image_ = {job_.sources[row_], {}, false};
    kept_map_ = 0;
    wave_ = 1;  // 0 makes the taps
    open_table_ = -1;
    pending_ = 0;
    for (i64& bytes : buffers_) bytes = 0;
    for (int i = 0; i < job_.slots; i++)
      if (calls[i].op >= 0 && calls[i].position <= job_.finish_position) lower_call(calls[i]);
    for (size_t i = first_step; i < steps_.size(); i++) {
      place(steps_[i].in);
      place(steps_[i].out);
      place(steps_[i].sum);
    }
    place(image_.view);
    for (const i64 bytes : buffers_) scratch_ += bytes;
    add_finish(calls);
  }

  void place(View& v) const {
    if (!v.buffer) return;
    v.data += scratch_;
    for (int before = 1; before < v.buffer; before++) v.data += buffers_[before - 1];
  }

  void lower_call(const Call& call) {
    const int kernel = kernel_of(call);
    if (kernel == KERNEL_finish_mixed || kernel < 0) return;
    if (kernel == KERNEL_tables) return add_table(call);
    if (kernel == KERNEL_statistics) return add_statistics(call);
    if (kernel == KERNEL_gathers) return add_geometry(geometry_of(call, image_.view.h, image_.view.w));
    if (kernel == KERNEL_chains) return add_chain(call);
    if (kernel == KERNEL_convolutions) return add_convolution(convolution(call));
    if (kernel == KERNEL_pixels && job_.channels == 1) return;  // one channel is left as it is
    Step& s = add_write(kernel, image_.view.h, image_.view.w);
    s.call = keep(call);
    s.calls = 1;
  }

  int keep(const Call& call) {
    calls_.push_back(call);
    return (int)calls_.size() - 1;
  }

  Step& add(int kernel) {
    Step s = {};
    s.kernel = kernel;
    s.wave = wave_;
    s.row = row_;
    s.in = visible();
    s.pending = pending_;
    s.histograms = -1;
    steps_.push_back(s);
    return steps_.back();
  }

  // Table calls behind one another compose in one step. The row's table exists from its first such step on.
  void add_table(const Call& call) {
    const int kept = keep(call);
    if (open_table_ < 0) {
      open_table_ = last_table_ = (int)steps_.size();
      add(KERNEL_tables).call = kept;
      wave_++;
    }
    Step& s = steps_[open_table_];
    if (image_.mapped && !(pending_ & PENDING_OUTSIDE)) {
      s.in.map = visible().map;
      s.outside_from = s.calls;
      s.pending &= PENDING_BYTES;  // begins with this map's fill
    }
    s.calls++;
    if (!image_.mapped) s.outside_from = s.calls;
    pending_ = PENDING_BYTES | (image_.mapped ? PENDING_OUTSIDE : 0);
  }

  void add_statistics(const Call& call) {
    open_table_ = -1;
    add(KERNEL_statistics);
    add_table(call);  // in the same wave, which launches statistics first
    for (size_t i = steps_.size() - 2; i < steps_.size(); i++) {
      steps_[i].histograms = histograms_;
      steps_[i].reads = reads_of(call);
    }
    histograms_ += 3 * 256 * (i64)sizeof(u32);
  }

  // A step that reads the image through its pending table and writes h x w planes, which become the image.
  Step& add_write(int kernel, int h, int w) {
    Step& s = add(kernel);
    s.out = planes(h, w, image_.view.buffer == 1 ? 2 : 1, 1);
    show(s.out);
    return s;
  }

  View planes(int h, int w, int buffer, int element_bytes) {
    i64& bytes = buffers_[buffer - 1];
    bytes = std::max(bytes, padded((i64)job_.channels * h * w * element_bytes));
    return {0, (i64)h * w, w, 1, h, w, buffer, 0};
  }

  // The row's image is what a step of this wave has written.
  void show(const View& written) {
    image_ = {written, {}, false};
    pending_ = 0;
    open_table_ = -1;
    wave_++;
  }

  // The image as a step has it.
  View visible() {
    if (image_.mapped && !kept_map_) {
      maps_.push_back(image_.map);
      kept_map_ = (int)maps_.size();
    }
    View v = image_.view;
    v.map = image_.mapped ? kept_map_ : 0;
    return v;
  }

  // Writes what the image's map gives: for what reads each pixel many times, and for a second map.
  void apply_map() {
    const int h = image_.view.h, w = image_.view.w;
    if (image_.mapped) add_write(KERNEL_gathers, h, w).geometry = same_size(GEOMETRY_CROP, h, w);
  }

  void add_convolution(const Convolution& c) {
    apply_map();
    Step& s = add_write(KERNEL_convolutions, image_.view.h, image_.view.w);
    s.taps = {(i64)host_taps_.size(), NEAREST, c.w, c.h, 0};
    for (int i = 0; i < c.w; i++) host_taps_.push_back((int)bits_of(c.x[i]));
    for (int i = 0; i < c.h; i++) host_taps_.push_back((int)bits_of(c.y[i]));
  }

  void add_chain(const Call& call) {
    const int at = (int)call.args[1], kept = keep(call);
    if (at == CHAIN_BEGIN) {
      origin_ = planes(image_.view.h, image_.view.w, 3, 1);
      sum_ = planes(image_.view.h, image_.view.w, 4, sizeof(float));
    }
    Step& s = at == CHAIN_END ? add_write(KERNEL_chains, image_.view.h, image_.view.w) : add(KERNEL_chains);
    s.call = kept;
    s.sum = sum_;
    if (at == CHAIN_END) return;
    s.out = origin_;
    show(origin_);
  }

  void add_geometry(const Geometry& g) {
    const bool was_mapped = image_.mapped;
    bool taken = absorb(image_, g);
    if (!taken && was_mapped) {
      apply_map();
      taken = absorb(image_, g);
    }
    if (g.type == GEOMETRY_RESAMPLE) add_resample(g);
    else if (!taken) add_write(KERNEL_gathers, g.out_h, g.out_w).geometry = g;
    else kept_map_ = 0;
    if (was_mapped && !image_.mapped) pending_ &= PENDING_BYTES;  // there is no outside any more
  }

  void add_resample(const Geometry& g) {
    image_.view = rectangle_view(image_.view, g);
    const bool rows_first = vertical_first(g, job_.pillow13);
    for (const bool along_x : {!rows_first, rows_first}) {
      const int in = along_x ? g.box_w : g.box_h, out = along_x ? g.out_w : g.out_h;
      if (in != out) add_resample_pass(g.interpolation, in, out, along_x);
    }
  }

  void add_resample_pass(int interpolation, int in, int out, bool along_x) {
    const Taps taps = add_taps(interpolation, in, out);
    Step& s = along_x ? add_write(KERNEL_resample, image_.view.h, out) : add_write(KERNEL_resample, out, image_.view.w);
    s.along_x = along_x;
    s.taps = taps;
  }

  Taps add_taps(int interpolation, int in, int out) {
    Taps t = {0, interpolation, in, out, max_taps(interpolation, in, out)};
    const i64 size = (i64)out * (1 + t.width);
    if (made_on_host(interpolation)) {
      t.at = (i64)host_taps_.size();
      host_taps_.resize(host_taps_.size() + size);
      fill_taps(t, host_taps_.data() + t.at);
    } else {
      t.at = device_taps_;
      device_taps_ += size;
      Step& s = add(KERNEL_taps);
      s.wave = 0;
      s.taps = t;
    }
    return t;
  }

  void add_finish(const Call* calls) {
    Finish f = {visible(), pending_, (int)regions_.size(), 0, -1};
    if (pending_) steps_[last_table_].last = 1;
    for (int i = 0; i < job_.slots; i++) {
      const int kernel = kernel_of(calls[i]);
      if (kernel == KERNEL_finish_mixed && f.mix < 0) f.mix = keep(calls[i]);
      if (kernel != KERNEL_regions || calls[i].position <= job_.finish_position) continue;
      regions_.push_back(region(calls[i]));
      regions_.back().position = calls[i].position;
      f.regions++;
    }
    finishes_.push_back(f);
    finish_kernels_.push_back(f.mix >= 0 ? KERNEL_finish_mixed : image_.mapped ? KERNEL_finish_mapped : KERNEL_finish);
  }

  // By wave, then kernel, then row; steps are large, so that only their places are sorted.
  void order_steps(std::vector<Launch>& launches) {
    std::vector<std::pair<int, int>> places(steps_.size());
    for (size_t i = 0; i < steps_.size(); i++) places[i] = {steps_[i].wave * KERNELS + steps_[i].kernel, (int)i};
    std::sort(places.begin(), places.end());
    ordered_.reserve(places.size());
    for (size_t i = 0; i < places.size(); i++) {
      Step& s = steps_[places[i].second];
      if (!made_on_host(s.taps.interpolation)) s.taps.at += (i64)host_taps_.size();
      if (i == 0 || places[i - 1].first != places[i].first) launches.push_back({s.kernel, (int)i, 0, 0});
      s.first_block = launches.back().blocks;
      launches.back().blocks += blocks_of(s);
      launches.back().count++;
      ordered_.push_back(places[i].second);
    }
    for (const int kernel : {KERNEL_finish, KERNEL_finish_mapped, KERNEL_finish_mixed}) {
      const int first = (int)order_.size();
      for (int row = 0; row < job_.batch; row++)
        if (finish_kernels_[row] == kernel) order_.push_back(row);
      const int count = (int)order_.size() - first;
      const int tiles = cover((i64)job_.out_h * cover(job_.out_w, FOUR), FINISH_GROUPS);
      if (count) launches.push_back({kernel, first, count, count * tiles});
    }
  }

  // The normalisation table in the batch's dtype.
  std::vector<u8> values() const {
    const int n = job_.channels * 256;
    std::vector<u8> found((size_t)n * bytes_of_output(job_.dtype));
    for (int i = 0; i < n; i++) store_output(job_.dtype, job_.table[i], found.data(), i);
    return found;
  }

  template <class T>
  static i64 append(std::vector<u8>& bytes, const T* values, size_t count) {
    const i64 at = (i64)bytes.size();
    bytes.resize(padded(at + count * sizeof(T)));
    if (count) memcpy(bytes.data() + at, values, count * sizeof(T));
    return at;
  }

  i64 append_steps(std::vector<u8>& head) const {
    const i64 at = append(head, (const Step*)nullptr, 0);
    head.resize(padded(at + ordered_.size() * sizeof(Step)));
    for (size_t i = 0; i < ordered_.size(); i++) memcpy(head.data() + at + i * sizeof(Step), &steps_[ordered_[i]], sizeof(Step));
    return at;
  }

  void lay_out(Lowered& result) {
    Batch batch = {};
    batch.channels = job_.channels;
    batch.dtype = job_.dtype;
    batch.out_h = job_.out_h;
    batch.out_w = job_.out_w;
    batch.stride_n = job_.stride_n;
    batch.stride_c = job_.stride_c;
    batch.stride_y = job_.stride_y;
    batch.stride_x = job_.stride_x;
    std::vector<u8>& head = result.head;
    append(head, &batch, 1);
    batch.steps = append_steps(head);
    batch.finishes = append(head, finishes_.data(), finishes_.size());
    batch.order = append(head, order_.data(), order_.size());
    batch.calls = append(head, calls_.data(), calls_.size());
    batch.regions = append(head, regions_.data(), regions_.size());
    batch.maps = append(head, maps_.data(), maps_.size());
    batch.table = append(head, job_.table, (size_t)job_.channels * 256);
    const std::vector<u8> finished = values();
    batch.values = append(head, finished.data(), finished.size());
    batch.taps = append(head, host_taps_.data(), host_taps_.size());
    batch.histograms = padded(batch.taps + (i64)sizeof(int) * ((i64)host_taps_.size() + device_taps_));
    batch.pending = batch.histograms + histograms_;
    batch.finished = padded(batch.pending + (i64)TABLE_BYTES * job_.batch);
    batch.scratch = padded(batch.finished + (i64)FINISHED_BYTES * job_.batch);
    memcpy(head.data(), &batch, sizeof batch);
    result.zeros = batch.histograms;
    result.zeros_end = batch.pending;
    result.size = batch.scratch + scratch_;
  }
};

}}  // namespace
