// Checks on every load and store of a kernel. kernels.cpp is compiled by `g++ -fsanitize=thread`, which calls a
// `__tsan_` function before each of them; these are ours in place of libtsan's.
//
// Memory is what tests/checked.py gives to `watch`, shared memory, the thread's own stack, and the library's constants.
// For each byte it is kept whether it was written, and by whom it was touched in this launch. Two accesses are in order
// where one thread makes both, where a block's barrier lies between, or a warp's for two threads of that warp; blocks of
// a launch are in no order. What a call takes by value is read unseen.
#include <stdio.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "device.h"
#include "emulation.h"

extern "C" {
extern char __ehdr_start __attribute__((visibility("hidden"))), _end __attribute__((visibility("hidden")));  // the library
}

namespace {

enum State : u8 { EXISTS = 1, WRITTEN = 2, WRITABLE = 4 };
enum Kind { READ, WRITE, ATOMIC, KINDS };
enum { WARP_THREADS = 32, MOST_REPORTS = 20 };
const char* const VERBS[] = {"reads", "writes", "atomically changes"};
const char* const PAST[] = {"read", "wrote", "atomically changed"};

struct Access {
  unsigned short block, barriers, warp_barriers;  // the block from 1 on; 0: no access
  u8 thread;

  bool before(const Access& now) const {
    if (!block) return true;
    if (block != now.block) return false;
    if (thread == now.thread || barriers < now.barriers) return true;
    return thread / WARP_THREADS == now.thread / WARP_THREADS && warp_barriers < now.warp_barriers;
  }
};

// The latest access, and the latest before it by another thread of its warp, by another warp, by another block. Where
// an access is not ordered after one that was made, it is not ordered after one of these.
class History {
 public:
  void add(const Access& now) {
    const Access last = of_[0];
    if (last.block != now.block) {
      of_[3] = last;
      of_[1] = of_[2] = {};
    } else if (last.thread / WARP_THREADS != now.thread / WARP_THREADS) {
      of_[2] = last;
      of_[1] = {};
    } else if (last.thread != now.thread) {
      of_[1] = last;
    }
    of_[0] = now;
  }

  const Access* not_before(const Access& now) const {
    for (const Access& a : of_)
      if (!a.before(now)) return &a;
    return nullptr;
  }

 private:
  Access of_[4] = {};
};

struct Byte {
  u8 state;
  unsigned stamp = 0;  // the launch, or for shared memory the block, that `touched` is about
  History touched[KINDS];
};

struct Memory {
  std::string name;
  std::vector<Byte> bytes;
};

std::map<const char*, Memory> memories;  // by their first byte
std::set<std::pair<int, void*>> reported;
std::string report, kernel;
unsigned launches, blocks;
const char *stack, *stack_end;
int unwatched[BLOCK_THREADS];
unsigned short barriers[BLOCK_THREADS], warp_barriers[BLOCK_THREADS];

bool is_shared(const char* at) { return at >= &__start_shared_memory && at < &__stop_shared_memory; }

std::pair<const char* const, Memory>* memory_at(const char* at) {
  auto found = memories.upper_bound(at);
  if (found == memories.begin()) return nullptr;
  --found;
  return at < found->first + found->second.bytes.size() ? &*found : nullptr;
}

std::string thread_name(int block, int thread) {
  return "block " + std::to_string(block) + ", thread " + std::to_string(thread);
}

// Once for each place in the code. The place comes last, as an offset in the library.
void tell(int what, const char* name, const Access& now, Kind kind, const char* at, size_t size, const std::string& why,
          void* code) {
  if (reported.size() >= MOST_REPORTS || !reported.insert({what, code}).second) return;
  const auto* memory = memory_at(at);
  char place[64];
  snprintf(place, sizeof place, "0x%zx", (size_t)((char*)code - 1 - &__ehdr_start));
  report += std::string(name) + ": " + kernel + ", " + thread_name(now.block - 1, now.thread) + ", " + VERBS[kind] + " " +
            std::to_string(size) + " bytes " +
            (memory ? "at " + memory->second.name + " + " + std::to_string(at - memory->first) : "elsewhere") + why + "\t" +
            place + "\n";
}

bool races(Byte& byte, const Access& now, Kind kind, const char* at, size_t size, void* code) {
  for (int other = READ; other < KINDS; other++) {
    if (kind == other && kind != WRITE) continue;
    const Access* before = byte.touched[other].not_before(now);
    if (!before) continue;
    const std::string who = before->block == now.block ? "thread " + std::to_string(before->thread)
                                                       : thread_name(before->block - 1, before->thread);
    tell(3, "race", now, kind, at, size, ", which " + who + " " + PAST[other] + " with no barrier between", code);
    return true;
  }
  return false;
}

void touch(const char* at, size_t size, Kind kind, void* code) {
  if (!stack || (at >= stack && at + size <= stack_end)) return;
  const int thread = threadIdx.x;
  const Access now = {(unsigned short)(blockIdx.x + 1), barriers[thread], warp_barriers[thread], (u8)thread};
  auto* const memory = memory_at(at);
  if (!memory && kind == READ && at >= &__ehdr_start && at + size <= &_end) return;
  const bool shared = is_shared(at);
  const size_t first = memory ? at - memory->first : 0;
  for (size_t i = first; i < first + size; i++) {
    if (!memory || i >= memory->second.bytes.size() || !(memory->second.bytes[i].state & EXISTS))
      return tell(0, "out of bounds", now, kind, at, size, "", code);
    Byte& byte = memory->second.bytes[i];
    if (byte.stamp != (shared ? blocks : launches)) {
      byte.stamp = shared ? blocks : launches;
      for (History& h : byte.touched) h = {};
      if (shared) byte.state &= ~WRITTEN;
    }
    if (kind != READ && !(byte.state & WRITABLE)) return tell(1, "not to be written", now, kind, at, size, "", code);
    if (kind != WRITE && !(byte.state & WRITTEN)) return tell(2, "uninitialised", now, kind, at, size, "", code);
    if (races(byte, now, kind, at, size, code)) return;
    if (kind != READ) byte.state |= WRITTEN;
    byte.touched[kind].add(now);
  }
}

void watched(const void* at, size_t size, Kind kind, void* code) {
  if (!unwatched[threadIdx.x]) touch((const char*)at, size, kind, code);
}

}  // namespace

Unwatched::Unwatched() { unwatched[threadIdx.x]++; }
Unwatched::Unwatched(const void* atomic, int bytes) {
  watched(atomic, bytes, ATOMIC, __builtin_return_address(0));
  unwatched[threadIdx.x]++;
}
Unwatched::~Unwatched() { unwatched[threadIdx.x]--; }

void checks_launch(const char* name) {
  kernel = name;
  launches++;
  Memory& shared = memories[&__start_shared_memory];
  shared.name = "shared memory";
  shared.bytes.resize(&__stop_shared_memory - &__start_shared_memory, {EXISTS | WRITABLE, 0, {}});
}

void checks_block() {
  blocks++;
  for (int i = 0; i < BLOCK_THREADS; i++) barriers[i] = warp_barriers[i] = unwatched[i] = 0;
}

void checks_turn(const char* from, size_t bytes) {
  stack = from;
  stack_end = from + bytes;
}

void checks_barrier() { barriers[threadIdx.x]++; }
void checks_warp_barrier() { warp_barriers[threadIdx.x]++; }

extern "C" {

// `states`: of each byte from `first` on, of the three State bits those that hold.
void watch(const char* name, const char* first, i64 size, const u8* states) {
  Memory& memory = memories[first];
  memory = {name, std::vector<Byte>(size)};
  for (i64 i = 0; i < size; i++) memory.bytes[i].state = states[i];
}

void forget() {
  memories.clear();
  reported.clear();
  report.clear();
}

// A line for each fault found since `forget`.
const char* reports() { return report.c_str(); }

// How many bytes of a memory that was watched are still unwritten.
i64 unwritten(const char* first) {
  i64 count = 0;
  for (const Byte& b : memories.at(first).bytes) count += (b.state & EXISTS) && !(b.state & WRITTEN);
  return count;
}

#define AE_CODE __builtin_return_address(0)
#define AE_ACCESSES(size)                                                                   \
  void __tsan_read##size(void* at) { watched(at, size, READ, AE_CODE); }                    \
  void __tsan_write##size(void* at) { watched(at, size, WRITE, AE_CODE); }                  \
  void __tsan_unaligned_read##size(void* at) { watched(at, size, READ, AE_CODE); }          \
  void __tsan_unaligned_write##size(void* at) { watched(at, size, WRITE, AE_CODE); }
AE_ACCESSES(1)
AE_ACCESSES(2)
AE_ACCESSES(4)
AE_ACCESSES(8)
AE_ACCESSES(16)
void __tsan_read_range(void* at, size_t size) { watched(at, size, READ, AE_CODE); }
void __tsan_write_range(void* at, size_t size) { watched(at, size, WRITE, AE_CODE); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
