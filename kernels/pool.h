// A pool of threads that hands out items 0..n-1, safe after fork: a child starts threads of its own.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace ae {

// A call of work(thread, item), without the memory that std::function would take for it.
class Work {
 public:
  template <class F>
  explicit Work(F& work) : work_(&work), call_([](void* f, int thread, int item) { (*(F*)f)(thread, item); }) {}
  void operator()(int thread, int item) const { call_(work_, thread, item); }

 private:
  void* work_;
  void (*call_)(void*, int, int);
};

class Pool {
 public:
  // Runs work(thread, item) for every item on up to `threads` threads, the calling one included; `work` must not throw.
  // Runs on more than one thread take turns. A helper that comes when all items are handed out is not waited for: where
  // other threads (torch's spin for a while after their work) hold its core, that would be long.
  template <class F>
  void run(int threads, int items, F&& work) { run_work(threads, items, Work(work)); }

 private:
  void run_work(int threads, int items, Work work) {
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
      call(threads - 1, true);
    }
    for (int i = 0; i < threads - 1 && i < (int)helpers_.size(); i++) helpers_[i].wake.notify_one();
    drain(0);
    std::unique_lock<std::mutex> guard(lock_);
    call(threads - 1, false);
    done_.wait(guard, [&] { return running_ == 0; });
  }

  struct Helper {
    std::condition_variable wake;
    bool called = false;
  };

  // Where the system gives fewer threads than asked for, there are fewer.
  void grow(int helpers) {
    while ((int)helpers_.size() < helpers) {
      Helper& helper = helpers_.emplace_back();
      const int id = (int)helpers_.size();
      try {
        std::thread([this, id, &helper] { serve(id, helper); }).detach();
      } catch (const std::system_error&) {
        return helpers_.pop_back();
      }
    }
  }

  void call(int helpers, bool called) {
    for (int i = 0; i < helpers && i < (int)helpers_.size(); i++) helpers_[i].called = called;
  }

  void serve(int id, Helper& helper) {
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
      helper.wake.wait(guard, [&] { return helper.called; });
      helper.called = false;
      running_++;
      guard.unlock();
      drain(id);
      guard.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  void drain(int id) noexcept {
    for (int item; (item = next_.fetch_add(1)) < items_;) (*work_)(id, item);
  }

  std::mutex run_lock_, lock_;
  std::condition_variable done_;
  std::deque<Helper> helpers_;  // changed by the thread that has run_lock_ alone
  const Work* work_ = nullptr;
  std::atomic<int> next_{0};
  int items_ = 0, running_ = 0;  // with work_: written under lock_
};

// The process's pool. Threads do not survive a fork, so a child leaves its parent's pool where it is and makes one.
inline std::atomic<Pool*> current_pool{nullptr};
inline const int pool_hooked = pthread_atfork(nullptr, nullptr, [] { current_pool = nullptr; });

inline Pool& pool() {
  Pool* found = current_pool;
  if (found) return *found;
  Pool* fresh = new Pool;
  if (current_pool.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;  // another thread was first, and this one has no threads yet
  return *found;
}

}  // namespace ae
