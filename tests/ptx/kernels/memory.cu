// Atomics in both memories, addresses of any memory, and jumps through a table. What each must do is worked out in
// tests/ptx/test_memory.py.
#include <cuda_runtime.h>

#include <cstdint>

#include "units.h"

using s64 = long long;
using u64 = unsigned long long;

// out[4i]: what the atomic found in global memory; out[4i + 1]: what it left; then the same of shared memory.
#define ATOMIC(name, T, expression)                                           \
  __global__ void name##_kernel(T* out, const T* x, const T* y, T* memory) {  \
    __shared__ T cells[1024];                                                 \
    const unsigned i = threadIdx.x;                                           \
    const T value = y[i];                                                     \
    cells[i] = memory[i] = x[i];                                              \
    T* cell = &memory[i];                                                     \
    out[4 * i] = expression;                                                  \
    out[4 * i + 1] = memory[i];                                               \
    cell = &cells[i];                                                         \
    out[4 * i + 2] = expression;                                              \
    out[4 * i + 3] = cells[i];                                                \
  }                                                                           \
  extern "C" int name(int count, T* out, const T* x, const T* y, T* memory) { \
    name##_kernel<<<1, count>>>(out, x, y, memory);                           \
    return cudaGetLastError();                                                \
  }

ATOMIC(add_s32, int, atomicAdd(cell, value))
ATOMIC(add_u32, unsigned, atomicAdd(cell, value))
ATOMIC(add_u64, u64, atomicAdd(cell, value))
ATOMIC(add_f32, float, atomicAdd(cell, value))
ATOMIC(add_f64, double, atomicAdd(cell, value))
ATOMIC(sub_u32, unsigned, atomicSub(cell, value))
ATOMIC(min_s32, int, atomicMin(cell, value))
ATOMIC(min_u32, unsigned, atomicMin(cell, value))
ATOMIC(min_s64, s64, atomicMin(cell, value))
ATOMIC(min_u64, u64, atomicMin(cell, value))
ATOMIC(max_s32, int, atomicMax(cell, value))
ATOMIC(max_u32, unsigned, atomicMax(cell, value))
ATOMIC(max_s64, s64, atomicMax(cell, value))
ATOMIC(max_u64, u64, atomicMax(cell, value))
ATOMIC(and_u32, unsigned, atomicAnd(cell, value))
ATOMIC(and_u64, u64, atomicAnd(cell, value))
ATOMIC(or_u32, unsigned, atomicOr(cell, value))
ATOMIC(or_u64, u64, atomicOr(cell, value))
ATOMIC(xor_u32, unsigned, atomicXor(cell, value))
ATOMIC(xor_u64, u64, atomicXor(cell, value))
ATOMIC(exch_u32, unsigned, atomicExch(cell, value))
ATOMIC(exch_u64, u64, atomicExch(cell, value))
ATOMIC(inc_u32, unsigned, atomicInc(cell, value))
ATOMIC(dec_u32, unsigned, atomicDec(cell, value))
ATOMIC(cas_u16, unsigned short, atomicCAS(cell, value, static_cast<unsigned short>(7)))
ATOMIC(cas_u32, unsigned, atomicCAS(cell, value, 7u))
ATOMIC(cas_u64, u64, atomicCAS(cell, value, 7ull))

// Each thread reads and writes shared, global or local memory through one pointer, and tells which it was.
__global__ void any_memory_kernel(uint32_t* out, const uint32_t* which, uint32_t* memory) {
  __shared__ uint32_t row[64];
  const unsigned i = threadIdx.x;
  uint32_t own[4] = {10, 20, 30, 40};
  row[i] = 1000 + i;
  memory[i] = 2000 + i;
  uint32_t* const places[] = {&row[i], &memory[i], &own[i % 4]};
  uint32_t* place = places[which[i]];
  asm volatile("{ .reg .u32 t; ld.u32 t, [%0]; add.u32 t, t, 5; st.u32 [%0], t; }" ::"l"(place) : "memory");
  uint32_t shared, global, local;
#define IS(space, result) \
  asm("{ .reg .pred p; isspacep." space " p, %1; selp.u32 %0, 1, 0, p; }" : "=r"(result) : "l"(place))
  IS("shared", shared);
  IS("global", global);
  IS("local", local);
#undef IS
  const uint32_t old = atomicAdd(place, which[i] < 2 ? 100u : 0u);
  out[4 * i] = old;
  out[4 * i + 1] = row[i] + memory[i];
  out[4 * i + 2] = own[i % 4];
  out[4 * i + 3] = shared | global << 1 | local << 2;
}

// Four ways out of a jump; any other index is a fault.
__global__ void table_kernel(uint32_t* out, const uint32_t* x) {
  uint32_t result;
  asm volatile(
      "{ ways: .branchtargets one, two, one, three;\n"
      "brx.idx %1, ways;\n"
      "one: mov.u32 %0, 10; bra done;\n"
      "two: mov.u32 %0, 20; bra done;\n"
      "three: mov.u32 %0, 30;\n"
      "done: }"
      : "=r"(result)
      : "r"(x[threadIdx.x]));
  out[threadIdx.x] = result;
}

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

int any_memory(int count, uint32_t* out, const uint32_t* which, uint32_t* memory) {
  any_memory_kernel<<<1, count>>>(out, which, memory);
  return cudaGetLastError();
}
int table(int count, void* out, void* x) { return launch(table_kernel, count, out, x); }

}  // extern "C"
