// The library that tests/test_cuda.py loads: `emulate`, which launches one of the kernels that kernels.cpp compiles.
#include "emulation.h"

#include "device.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <vector>

Index threadIdx, blockIdx, gridDim;

namespace {

enum : size_t { STACK_BYTES = 64 << 10 };

enum State { RUNS, WAITS_FOR_WARP, WAITS_FOR_BLOCK, DONE };

struct Fiber {
  ucontext_t start;
  jmp_buf place;  // switches by setjmp cost a hundredth of those by ucontext, which ask the kernel
  bool started;
  State state;
  std::vector<char> stack = std::vector<char>(STACK_BYTES);
};

struct Launch {
  Kernel* kernel;
  u8* workspace;
  void* out;
  int first, count;
} launch;

Fiber fibers[BLOCK_THREADS];
jmp_buf scheduler;
ucontext_t scheduler_context;

void yield(State state) {
  fibers[threadIdx.x].state = state;
  if (!_setjmp(fibers[threadIdx.x].place)) _longjmp(scheduler, 1);
}

void live() {
  for (;;) {
    launch.kernel(launch.workspace, launch.out, launch.first, launch.count);
    yield(DONE);
  }
}

// Runs one thread until its next barrier or its end.
void resume(int thread) {
  threadIdx.x = thread;
  Fiber& fiber = fibers[thread];
  if (_setjmp(scheduler)) return checks_turn(nullptr, 0);
  checks_turn(fiber.stack.data(), STACK_BYTES);
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.data();
  fiber.start.uc_stack.ss_size = STACK_BYTES;
  makecontext(&fiber.start, live, 0);
  swapcontext(&scheduler_context, &fiber.start);
}

bool all_are(State state, int first, int count) {
  return std::all_of(fibers + first, fibers + first + count, [&](const Fiber& f) { return f.state == state; });
}

// Lets threads go on whose barrier all others have met too; false if there are none.
bool release() {
  bool released = false;
  const auto go_on = [&](State state, int first, int count) {
    if (!all_are(state, first, count)) return;
    for (int i = first; i < first + count; i++) fibers[i].state = RUNS;
    released = true;
  };
  for (int first = 0; first < BLOCK_THREADS; first += WARP) go_on(WAITS_FOR_WARP, first, WARP);
  go_on(WAITS_FOR_BLOCK, 0, BLOCK_THREADS);
  return released;
}

// false: some threads wait at a barrier that others never meet
bool run_block(std::vector<int>& order, std::mt19937* shuffle) {
  for (Fiber& f : fibers) f.state = RUNS;
  do {
    if (shuffle) std::shuffle(order.begin(), order.end(), *shuffle);
    for (int thread : order)
      if (fibers[thread].state == RUNS) resume(thread);
    if (all_are(DONE, 0, BLOCK_THREADS)) return true;
  } while (release());
  for (Fiber& f : fibers) f.started = false;  // those at the barrier never go on
  return false;
}

}  // namespace

void __syncthreads() {
  yield(WAITS_FOR_BLOCK);
  checks_barrier();
}

void __syncwarp() {
  yield(WAITS_FOR_WARP);
  checks_warp_barrier();
}

// order: 0 forward, 1 reverse, 2 random. Gives 0, or 1 for an unknown kernel, 2 where threads disagree on a barrier.
extern "C" int emulate(const char* kernel, int blocks, u8* workspace, void* out, int first, int count, int order,
                       int poison) {
  launch = {kernel_named(kernel), workspace, out, first, count};
  if (!launch.kernel) return 1;
  std::mt19937 random(blocks * 31 + first);
  std::vector<int> blocks_in_order(blocks), threads(BLOCK_THREADS);
  for (int i = 0; i < blocks; i++) blocks_in_order[i] = order == 1 ? blocks - 1 - i : i;
  for (int i = 0; i < BLOCK_THREADS; i++) threads[i] = order == 1 ? BLOCK_THREADS - 1 - i : i;
  if (order == 2) std::shuffle(blocks_in_order.begin(), blocks_in_order.end(), random);
  gridDim.x = blocks;
  checks_launch(kernel);
  for (int block : blocks_in_order) {
    blockIdx.x = block;
    memset(&__start_shared_memory, poison, &__stop_shared_memory - &__start_shared_memory);
    checks_block();
    if (!run_block(threads, order == 2 ? &random : nullptr)) return 2;
  }
  return 0;
}
