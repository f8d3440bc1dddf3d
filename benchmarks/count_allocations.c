// Counts what a process allocates. Preloaded (LD_PRELOAD) it stands before the C library's malloc and mmap, so that
// it sees every caller: the engine, torch, NumPy and Python's own arenas. glibc only.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LARGE 4096  // from here on an allocation counts as large

extern void *__libc_malloc(size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

atomic_long allocations, large_allocations, live_bytes, peak_bytes;

static void grow(long bytes) {
  const long live = atomic_fetch_add(&live_bytes, bytes) + bytes;
  long peak = atomic_load(&peak_bytes);
  while (live > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, live)) {
  }
}

static void *counted(void *at, size_t asked) {
  if (at == NULL) return at;
  atomic_fetch_add(&allocations, 1);
  if (asked >= LARGE) atomic_fetch_add(&large_allocations, 1);
  grow((long)malloc_usable_size(at));
  return at;
}

void *malloc(size_t size) { return counted(__libc_malloc(size), size); }

void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return NULL;
  }
  void *at = counted(__libc_malloc(bytes), bytes);
  return at == NULL ? at : memset(at, 0, bytes);
}

void *realloc(void *old, size_t size) {
  const long before = old == NULL ? 0 : (long)malloc_usable_size(old);
  void *at = __libc_realloc(old, size);
  if (at != NULL || size == 0) atomic_fetch_sub(&live_bytes, before);
  return counted(at, size);
}

void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size), size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **at, size_t alignment, size_t size) {
  *at = memalign(alignment, size);
  return *at == NULL ? ENOMEM : 0;
}

void free(void *at) {
  if (at != NULL) atomic_fetch_sub(&live_bytes, (long)malloc_usable_size(at));
  __libc_free(at);
}

void *mmap(void *hint, size_t size, int protection, int flags, int file, off_t offset) {
  void *at = (void *)syscall(SYS_mmap, hint, size, protection, flags, file, offset);
  if (at != MAP_FAILED && file < 0) {
    atomic_fetch_add(&allocations, 1);
    if (size >= LARGE) atomic_fetch_add(&large_allocations, 1);
    grow((long)size);
  }
  return at;
}
