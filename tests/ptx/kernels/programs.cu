// Runs little programs that tests/ptx/test_races.py makes up: each thread has a list of accesses and barriers. All
// addresses are generic, so that one instruction reaches shared and global memory.
#include <cuda_runtime.h>

#include <cstdint>

struct Operation {
  unsigned code, shared, offset, mask;
};

namespace {

// Numbered as in test_races.py. Of a load, a store and their volatile twins there are five each, for 1 to 16 bytes.
enum Code : unsigned { kLoad = 0, kStore = 5, kVolatileLoad = 10, kVolatileStore = 15, kAtomic = 20, kSync = 22 };

#define LOAD(kind, width, r, T) asm volatile("ld" kind "." width " %0, [%1];" : "=" r(*(T*)&held) : "l"(address))
#define STORE(kind, width, r, T) asm volatile("st" kind "." width " [%0], %1;" ::"l"(address), r((T)1) : "memory")
#define LOAD_16(kind) \
  asm volatile("ld" kind ".v2.u64 {%0, %1}, [%2];" : "=l"(held), "=l"(other) : "l"(address) : "memory")
#define STORE_16(kind) asm volatile("st" kind ".v2.u64 [%0], {%1, %1};" ::"l"(address), "l"(held) : "memory")

#define CASES(first, ACCESS, kind)      \
  case first:                           \
    ACCESS(kind, "u8", "r", uint32_t);  \
    break;                              \
  case first + 1:                       \
    ACCESS(kind, "u16", "h", uint16_t); \
    break;                              \
  case first + 2:                       \
    ACCESS(kind, "u32", "r", uint32_t); \
    break;                              \
  case first + 3:                       \
    ACCESS(kind, "u64", "l", uint64_t); \
    break;                              \
  case first + 4:                       \
    ACCESS##_16(kind);                  \
    break;

__global__ void interpret(const Operation* operations, const unsigned* starts, char* global, unsigned shared_offset) {
  extern __shared__ __align__(16) char shared[];
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  for (unsigned i = starts[thread]; i < starts[thread + 1]; ++i) {
    const Operation operation = operations[i];
    char* address = (operation.shared ? shared + shared_offset : global) + operation.offset;
    uint64_t held = 0, other = 0;
    switch (operation.code) {
      CASES(kLoad, LOAD, "")
      CASES(kStore, STORE, "")
      CASES(kVolatileLoad, LOAD, ".volatile")
      CASES(kVolatileStore, STORE, ".volatile")
      case kAtomic:
        atomicAdd(reinterpret_cast<unsigned*>(address), 1u);
        break;
      case kAtomic + 1:
        atomicAdd(reinterpret_cast<unsigned long long*>(address), 1ull);
        break;
      case kSync:
        __syncwarp(operation.mask);
        break;
      default:
        __syncthreads();
    }
  }
}

}  // namespace

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

int run_program(const Operation* operations, const unsigned* starts, char* global, unsigned shared_offset,
                unsigned shared_bytes, int blocks, int threads) {
  cudaFuncSetAttribute(interpret, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  interpret<<<blocks, threads, shared_bytes>>>(operations, starts, global, shared_offset);
  return cudaGetLastError();
}

}  // extern "C"
