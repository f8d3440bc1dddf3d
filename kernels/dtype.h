// The element types of a finished batch; the codes are those of DTYPES in augengine/backends/cpu.py.
#pragma once

namespace ae {

enum Dtype : int { DTYPE_UINT8, DTYPE_FLOAT32, DTYPE_FLOAT16, DTYPE_BFLOAT16 };

}  // namespace ae
