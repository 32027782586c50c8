// Kernels of one instruction each, by inline PTX, with a launcher of the same name. Thread i works on element i.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

// An operand: its type in C++, and the letter for its register in inline PTX.
#define U16 uint16_t, "h"
#define S16 int16_t, "h"
#define U32 uint32_t, "r"
#define S32 int32_t, "r"
#define U64 uint64_t, "l"
#define S64 int64_t, "l"
#define F32 float, "f"
#define F64 double, "d"

template <typename R, typename... T, typename... P>
int launch(void (*kernel)(R*, const T*...), int count, void* out, P... inputs) {
  kernel<<<1, count>>>(static_cast<R*>(out), static_cast<const T*>(inputs)...);
  return cudaGetLastError();
}

// UNIT_2(add, "add.u32", U32, U32, U32) is "add.u32 result, x, y;".
#define UNIT_1(name, op, ...) DEFINE_1(name, op " %0, %1;", __VA_ARGS__)
#define UNIT_2(name, op, ...) DEFINE_2(name, op " %0, %1, %2;", __VA_ARGS__)
#define UNIT_3(name, op, ...) DEFINE_3(name, op " %0, %1, %2, %3;", __VA_ARGS__)
// The result is a predicate: 1 or 0.
#define PREDICATE_1(name, op, ...) \
  DEFINE_1(name, "{ .reg .pred p; " op " p, %1; selp.u32 %0, 1, 0, p; }", uint32_t, "r", __VA_ARGS__)

#define DEFINE_1(name, text, R, r, A, a)              \
  __global__ void name##_kernel(R* out, const A* x) { \
    R result;                                         \
    asm(text : "=" r(result) : a(x[threadIdx.x]));    \
    out[threadIdx.x] = result;                        \
  }                                                   \
  extern "C" int name(int count, void* out, void* x) { return launch(name##_kernel, count, out, x); }
#define DEFINE_2(name, text, R, r, A, a, B, b)                        \
  __global__ void name##_kernel(R* out, const A* x, const B* y) {     \
    R result;                                                         \
    asm(text : "=" r(result) : a(x[threadIdx.x]), b(y[threadIdx.x])); \
    out[threadIdx.x] = result;                                        \
  }                                                                   \
  extern "C" int name(int count, void* out, void* x, void* y) { return launch(name##_kernel, count, out, x, y); }
#define DEFINE_3(name, text, R, r, A, a, B, b, C, c)                                     \
  __global__ void name##_kernel(R* out, const A* x, const B* y, const C* z) {            \
    R result;                                                                            \
    asm(text : "=" r(result) : a(x[threadIdx.x]), b(y[threadIdx.x]), c(z[threadIdx.x])); \
    out[threadIdx.x] = result;                                                           \
  }                                                                                      \
  extern "C" int name(int count, void* out, void* x, void* y, void* z) {                 \
    return launch(name##_kernel, count, out, x, y, z);                                   \
  }
