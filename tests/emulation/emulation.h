// What the parts of the library share: a kernel by its name, and what the emulation tells the checks.
#pragma once
#include <stddef.h>

#include "small.h"
#include "step.h"

using namespace ae;
using namespace ae::AE_ISA;

typedef void Kernel(u8* workspace, void* out, int first, int count);
Kernel* kernel_named(const char* name);

extern char __start_shared_memory, __stop_shared_memory;  // made by the linker

#ifdef AE_CHECKED
void checks_launch(const char* kernel);
void checks_block();                                 // a block begins: nobody has written its shared memory
void checks_turn(const char* stack, size_t bytes);   // of thread threadIdx.x; with nullptr it is nobody's
void checks_barrier();                               // this thread has passed __syncthreads
void checks_warp_barrier();                          // this thread has passed __syncwarp with its whole warp
#else
inline void checks_launch(const char*) {}
inline void checks_block() {}
inline void checks_turn(const char*, size_t) {}
inline void checks_barrier() {}
inline void checks_warp_barrier() {}
#endif
