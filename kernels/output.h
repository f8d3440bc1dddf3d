// Memory for finished batches. A batch of 64 images at 224 is 38 MB, which malloc maps anew for every batch: faulting
// those pages in costs several times the augmentation. So a batch's memory comes back here when its tensor dies.
#pragma once
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <mutex>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, size)
#define ASAN_UNPOISON_MEMORY_REGION(data, size)
#endif

namespace ae {

struct Buffer {
  void* data;
  size_t size;
};

class Outputs {
 public:
  Outputs() { free_.reserve(KEPT + 1); }  // so that `give`, which a tensor's death calls, can't fail

  Buffer take(size_t size) {
    {
      std::lock_guard<std::mutex> guard(lock_);
      for (size_t i = free_.size(); i-- > 0;)
        if (free_[i].size >= size && free_[i].size <= 2 * size) {
          const Buffer found = free_[i];
          free_.erase(free_.begin() + i);
          ASAN_UNPOISON_MEMORY_REGION(found.data, size);
          return found;
        }
    }
    const size_t page = size >= HUGE_PAGE ? HUGE_PAGE : 64;
    const size_t rounded = (size + page - 1) / page * page;
    void* data = aligned_alloc(page, rounded > 0 ? rounded : page);
#ifdef MADV_HUGEPAGE
    if (data && page == HUGE_PAGE) madvise(data, rounded, MADV_HUGEPAGE);
#endif
    if (data) ASAN_POISON_MEMORY_REGION((char*)data + size, rounded - size);
    return {data, rounded};
  }

  void give(Buffer buffer) {
    ASAN_POISON_MEMORY_REGION(buffer.data, buffer.size);
    Buffer oldest = {nullptr, 0};
    {
      std::lock_guard<std::mutex> guard(lock_);
      free_.push_back(buffer);
      if (free_.size() > KEPT) {
        oldest = free_.front();
        free_.erase(free_.begin());
      }
    }
    ASAN_UNPOISON_MEMORY_REGION(oldest.data, oldest.size);
    free(oldest.data);
  }

  // Around a fork, so that a child never inherits the lock taken.
  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }

 private:
  static constexpr size_t KEPT = 4, HUGE_PAGE = 2 << 20;
  std::mutex lock_;
  std::vector<Buffer> free_;
};

inline Outputs& outputs() {
  static Outputs* const shared = new Outputs;  // outlives every tensor
  return *shared;
}

inline const int outputs_hooked =
    pthread_atfork([] { outputs().lock(); }, [] { outputs().unlock(); }, [] { outputs().unlock(); });

}  // namespace ae
