// A pool of threads that hands out items 0..n-1, safe after fork: a child starts threads of its own.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ae {

class Pool {
 public:
  // Runs work(thread, item) for every item on `threads` threads, the calling one included. Runs on more than one thread take turns.
  void run(int threads, int items, const std::function<void(int, int)>& work) {
    if (threads > items) threads = items;
    if (threads <= 1) {
      for (int i = 0; i < items; i++) work(0, i);
      return;
    }
    std::lock_guard<std::mutex> one_run(run_lock_);
    grow(threads - 1);
    {
      std::lock_guard<std::mutex> guard(lock_);
      work_ = &work;
      items_ = items;
      next_ = 0;
      helpers_wanted_ = helpers_running_ = threads - 1;
      round_++;
    }
    wake_.notify_all();
    drain(0);
    std::unique_lock<std::mutex> guard(lock_);
    done_.wait(guard, [&] { return helpers_running_ == 0; });
    work_ = nullptr;
  }

 private:
  void grow(int helpers) {
    while ((int)threads_.size() < helpers) {
      const int id = (int)threads_.size() + 1;
      threads_.emplace_back([this, id, seen = round_]() mutable { serve(id, seen); });
      threads_.back().detach();
    }
  }

  void serve(int id, unsigned seen) {
    for (;;) {
      {
        std::unique_lock<std::mutex> guard(lock_);
        wake_.wait(guard, [&] { return round_ != seen; });
        seen = round_;
        if (id > helpers_wanted_) continue;
      }
      drain(id);
      std::lock_guard<std::mutex> guard(lock_);
      if (--helpers_running_ == 0) done_.notify_one();
    }
  }

  void drain(int id) {
    for (int item; (item = next_.fetch_add(1)) < items_;) (*work_)(id, item);
  }

  std::mutex run_lock_, lock_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  const std::function<void(int, int)>* work_ = nullptr;
  std::atomic<int> next_{0};
  int items_ = 0, helpers_wanted_ = 0, helpers_running_ = 0;
  unsigned round_ = 0;
};

// The process's pool. Threads do not survive a fork, so a child leaves its parent's pool where it is and makes one.
inline Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  static const int hooked = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
  (void)hooked;
  Pool* found = current;
  if (found) return *found;
  Pool* fresh = new Pool;
  if (current.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;  // another thread was first, and this one has no threads yet
  return *found;
}

}  // namespace ae
