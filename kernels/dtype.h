// The element types of a finished batch; the codes are those of DTYPES in augengine/backends/cpu.py.
#pragma once
#include "half.h"

namespace ae {

enum Dtype : int { DTYPE_UINT8, DTYPE_FLOAT32, DTYPE_FLOAT16, DTYPE_BFLOAT16 };

}  // namespace ae

namespace ae { namespace AE_ISA {

// A finished value in the batch's type.
AE_FN void to_output(int, float v, u8& out) { out = clip_byte(v); }
AE_FN void to_output(int, float v, float& out) { out = v; }
AE_FN void to_output(int dtype, float v, u16& out) { out = dtype == DTYPE_FLOAT16 ? to_float16(v) : to_bfloat16(v); }

AE_FN void store_output(int dtype, float v, void* out, i64 at) {
  switch (dtype) {
    case DTYPE_UINT8: return to_output(dtype, v, ((u8*)out)[at]);
    case DTYPE_FLOAT32: return to_output(dtype, v, ((float*)out)[at]);
    default: return to_output(dtype, v, ((u16*)out)[at]);
  }
}

AE_FN int bytes_of_output(int dtype) { return dtype == DTYPE_UINT8 ? 1 : dtype == DTYPE_FLOAT32 ? 4 : 2; }

}}  // namespace
