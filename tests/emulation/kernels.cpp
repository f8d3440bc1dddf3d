// The kernels compiled by g++: the part of the library that a checked build watches.
#include "device.h"
#include "emulation.h"

#include "cuda.cu"
#include "small.cu"

#include <string.h>

Kernel* kernel_named(const char* name) {
#define AE_CASE(kernel) \
  if (!strcmp(name, #kernel)) return kernel;
  AE_KERNELS(AE_CASE)
  AE_SMALL_KERNELS(AE_CASE)
#undef AE_CASE
  return nullptr;
}
