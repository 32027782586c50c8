// Kernels with planted faults, and their mended twins. tests/ptx/test_faults.py lists what each must be called.
//
// A launcher runs one block of 64 threads unless it says otherwise, over 4096 zeroed ints, and returns
// cudaGetLastError().
#include <cuda_runtime.h>

namespace {

constexpr int kThreads = 64, kWarp = 32;
constexpr unsigned kAll = 0xffffffffu;

template <bool kMended>
__global__ void missing_syncthreads(int* memory) {
  __shared__ int row[kThreads];
  row[threadIdx.x] = memory[threadIdx.x];
  if (kMended) __syncthreads();
  memory[threadIdx.x] = row[kThreads - 1 - threadIdx.x];
}

// The barrier between two rounds that reuse an array: threads still read the first round's numbers.
template <bool kMended>
__global__ void missing_second_syncthreads(int* memory) {
  __shared__ int row[kThreads];
  int sum = 0;
  for (int round = 0; round < 2; ++round) {
    row[threadIdx.x] = memory[threadIdx.x] + round;
    __syncthreads();
    sum += row[(threadIdx.x + 40) % kThreads];
    if (kMended) __syncthreads();
  }
  memory[threadIdx.x] = sum;
}

template <bool kMended>
__global__ void missing_syncwarp(int* memory) {
  __shared__ int row[kThreads];
  row[threadIdx.x] = memory[threadIdx.x];
  if (kMended) __syncwarp();
  memory[threadIdx.x] = row[threadIdx.x ^ 1];
}

// Lanes 0-15 and 16-31 meet apart: what lane 16 wrote is not ordered for lane 0.
template <bool kMended>
__global__ void syncwarp_of_the_wrong_half(int* memory) {
  __shared__ int row[kThreads];
  const unsigned mask = kMended ? kAll : threadIdx.x % kWarp < 16 ? 0x0000ffffu : 0xffff0000u;
  row[threadIdx.x] = memory[threadIdx.x];
  __syncwarp(mask);
  memory[threadIdx.x] = row[threadIdx.x ^ 16];
}

// A shuffle is no barrier for memory.
template <bool kMended>
__global__ void shuffle_for_a_barrier(int* memory) {
  __shared__ int row[kThreads];
  row[threadIdx.x] = memory[threadIdx.x];
  const int other = __shfl_xor_sync(kAll, row[threadIdx.x], 1);
  if (kMended) __syncwarp();
  memory[threadIdx.x] = row[threadIdx.x ^ 1] + other;
}

// All lanes read a place; then one writes it. Each reader counts, not only the last.
template <bool kMended>
__global__ void write_after_reads_of_a_warp(int* memory) {
  __shared__ int value;
  if (threadIdx.x == 0) value = 1;
  __syncthreads();
  const int seen = value;
  if (kMended) __syncthreads();
  if (threadIdx.x == 63) value = 2;
  memory[threadIdx.x] = seen;
}

// Halves next to each other are no race; the same half is one.
template <bool kMended>
__global__ void neighbouring_halves(int* memory) {
  __shared__ unsigned short halves[kThreads];
  halves[kMended ? threadIdx.x : threadIdx.x / 2] = static_cast<unsigned short>(threadIdx.x);
  __syncthreads();
  memory[threadIdx.x] = halves[threadIdx.x / 2];
}

// Bytes written apart, read together as words after the barrier.
template <bool kMended>
__global__ void bytes_then_words(int* memory) {
  __shared__ alignas(16) unsigned char bytes[4 * kThreads];
  for (int i = 0; i < 4; ++i) bytes[4 * threadIdx.x + i] = static_cast<unsigned char>(memory[i]);
  if (kMended) __syncthreads();
  memory[64 + threadIdx.x] = reinterpret_cast<volatile unsigned*>(bytes)[kThreads - 1 - threadIdx.x];
}

template <bool kMended>
__global__ void misaligned_vector(int* memory) {
  const int4 four = *reinterpret_cast<const int4*>(memory + (kMended ? 4 : 1) * (threadIdx.x + 1));
  memory[1024 + threadIdx.x] = four.x + four.w;
}

template <bool kMended>
__global__ void static_overrun(int* memory, int shift) {
  __shared__ int row[kThreads];
  __shared__ int other[kThreads];
  row[threadIdx.x + (kMended ? 0 : shift)] = other[threadIdx.x] = memory[threadIdx.x];
  __syncthreads();
  memory[threadIdx.x] = row[threadIdx.x] + other[threadIdx.x];
}

template <bool kMended>
__global__ void dynamic_overrun(int* memory) {
  extern __shared__ int dynamic[];
  dynamic[threadIdx.x + (kMended ? 0 : 1)] = memory[threadIdx.x];
  memory[threadIdx.x] = dynamic[threadIdx.x + (kMended ? 0 : 1)];
}

// Through a pointer that could be one to any memory.
template <bool kMended>
__global__ void generic_overrun(int* memory) {
  __shared__ int row[kThreads];
  int* place = memory[threadIdx.x] ? memory : row + (kMended ? 0 : 1);
  asm volatile("st.u32 [%0], %1;" ::"l"(place + threadIdx.x), "r"(1) : "memory");
}

template <bool kMended>
__global__ void local_memory_of_another_thread(int* memory) {
  __shared__ int* places[kThreads];
  volatile int own[2] = {1, 2};
  places[threadIdx.x] = const_cast<int*>(&own[memory[threadIdx.x]]);
  __syncthreads();
  memory[threadIdx.x] = *places[kMended ? threadIdx.x : threadIdx.x ^ 1];
}

template <bool kMended>
__global__ void divergent_barrier(int* memory) {
  if (kMended || threadIdx.x < kWarp) __syncthreads();
  memory[threadIdx.x] = 1;
}

template <bool kMended>
__global__ void two_barriers_meet(int* memory) {
  if (kMended) {
    __syncthreads();
  } else if (threadIdx.x < kWarp) {
    __syncthreads();
    memory[threadIdx.x] += 1;
  } else {
    __syncthreads();
    memory[threadIdx.x] -= 1;
  }
}

template <bool kMended>
__global__ void exit_before_barrier(int* memory) {
  if (!kMended && threadIdx.x == 5) return;
  __syncthreads();
  memory[threadIdx.x] = 1;
}

template <bool kMended>
__global__ void lane_not_in_its_mask(int* memory) {
  memory[threadIdx.x] = __any_sync(kMended ? kAll : 0x7fffffffu, memory[threadIdx.x]);
}

template <bool kMended>
__global__ void mask_names_an_exited_lane(int* memory) {
  if (threadIdx.x % kWarp == 7) return;
  memory[threadIdx.x] = __any_sync(kMended ? ~(1u << 7) : kAll, memory[threadIdx.x]);
}

// 48 threads: the second warp has 16 lanes.
template <bool kMended>
__global__ void mask_names_a_missing_lane(int* memory) {
  memory[threadIdx.x] = __any_sync(kMended && threadIdx.x >= kWarp ? 0xffffu : kAll, memory[threadIdx.x]);
}

template <bool kMended>
__global__ void lanes_disagree_on_the_mask(int* memory) {
  const unsigned mask = kMended || threadIdx.x % 2 ? kAll : 0x7fffffffu;
  memory[threadIdx.x] = __any_sync(mask, memory[threadIdx.x]);
}

template <bool kMended>
__global__ void lanes_in_different_collectives(int* memory) {
  int result = 0;
  if (kMended || threadIdx.x % 2) {
    result = __any_sync(kAll, memory[threadIdx.x]);
  } else {
    result = static_cast<int>(__ballot_sync(kAll, memory[threadIdx.x]));
  }
  memory[threadIdx.x] = result;
}

// Lane 0 waits for lane 1, that for lane 2, and that for lane 0.
template <bool kMended>
__global__ void masks_in_a_circle(int* memory) {
  const unsigned lane = threadIdx.x % kWarp;
  if (lane > 2) return;
  const unsigned first = kMended ? 7u : lane == 0 ? 3u : lane == 1 ? 6u : 5u;
  memory[threadIdx.x] = __any_sync(first, static_cast<int>(lane));
}

template <bool kMended>
__global__ void shuffle_from_outside_the_mask(int* memory) {
  if (threadIdx.x % kWarp < 16) {
    memory[threadIdx.x] = __shfl_sync(0xffffu, static_cast<int>(threadIdx.x), kMended ? 3 : 20);
  }
}

// Half of the warp waits for lanes that wait in a barrier.
template <bool kMended>
__global__ void lanes_never_come(int* memory) {
  if (kMended || threadIdx.x < 16) memory[threadIdx.x] = __any_sync(kAll, memory[threadIdx.x]);
  __syncthreads();
}

template <bool kMended>
__global__ void global_race_in_a_block(int* memory) {
  memory[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kMended) __syncthreads();
  memory[1024 + threadIdx.x] = memory[kThreads - 1 - threadIdx.x];
}

// Two blocks. Mended: each block has a part of its own.
template <bool kMended>
__global__ void race_between_blocks(int* memory) {
  memory[kMended ? blockIdx.x * kThreads + threadIdx.x : threadIdx.x] = static_cast<int>(blockIdx.x);
}

// Two blocks; the second reads what the first wrote, long after barriers.
template <bool kMended>
__global__ void reads_of_another_block(int* memory) {
  __syncthreads();
  if (blockIdx.x == 0) memory[threadIdx.x] = 1;
  __syncthreads();
  if (!kMended && blockIdx.x == 1) memory[1024 + threadIdx.x] = memory[threadIdx.x];
}

template <bool kMended>
__global__ void plain_write_and_atomic(int* memory) {
  if (kMended) {
    if (threadIdx.x == 40) atomicExch(memory, 5);
  } else {
    if (threadIdx.x == 40) memory[0] = 5;
  }
  atomicAdd(memory, 1);
}

// Two lanes add atomically, then one of them reads plainly: the other's addition may come later.
template <bool kMended>
__global__ void plain_read_after_atomics(int* memory) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, 1);
  if (kMended) __syncthreads();
  memory[threadIdx.x] = sum;
}

template <bool kMended>
__global__ void spins_forever(int* memory) {
  if (threadIdx.x == 0) {
    while (!kMended && *static_cast<volatile int*>(memory) == 0) {
    }
    atomicExch(memory + 1, 1);
  } else if (threadIdx.x == 63) {
    while (*static_cast<volatile int*>(memory + 1) == 0 && !kMended) {
    }
    atomicExch(memory, 1);
  }
}

template <bool kMended>
__global__ void null_pointer(int* memory) {
  int* nowhere = kMended ? memory : reinterpret_cast<int*>(static_cast<size_t>(memory[4000]));
  nowhere[threadIdx.x] = 1;
}

template <bool kMended>
__global__ void traps(int* memory) {
  if (!kMended && memory[threadIdx.x] == 0) __trap();
  memory[threadIdx.x] = 1;
}

template <bool kMended>
__global__ void __launch_bounds__(kMended ? kThreads : kWarp) too_many_for_its_bounds(int* memory) {
  memory[threadIdx.x] = 1;
}

int finish() { return cudaGetLastError(); }

using Kernel = void (*)(int*);

int run(bool mended, Kernel right, Kernel wrong, int* memory, dim3 grid = 1, dim3 block = kThreads,
        size_t dynamic = 0) {
  Kernel kernel = mended ? right : wrong;
  kernel<<<grid, block, dynamic>>>(memory);
  return finish();
}

}  // namespace

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

#define LAUNCHER(kernel, ...)                                               \
  int kernel##_launch(bool mended, int* memory) {                           \
    return run(mended, kernel<true>, kernel<false>, memory, ##__VA_ARGS__); \
  }

LAUNCHER(missing_syncthreads)
LAUNCHER(missing_second_syncthreads)
LAUNCHER(missing_syncwarp)
LAUNCHER(syncwarp_of_the_wrong_half)
LAUNCHER(shuffle_for_a_barrier)
LAUNCHER(write_after_reads_of_a_warp)
LAUNCHER(neighbouring_halves)
LAUNCHER(bytes_then_words)
LAUNCHER(misaligned_vector)
LAUNCHER(dynamic_overrun, 1, kThreads, kThreads * sizeof(int))
LAUNCHER(generic_overrun)
LAUNCHER(local_memory_of_another_thread)
LAUNCHER(divergent_barrier)
LAUNCHER(two_barriers_meet)
LAUNCHER(exit_before_barrier)
LAUNCHER(lane_not_in_its_mask)
LAUNCHER(mask_names_an_exited_lane)
LAUNCHER(mask_names_a_missing_lane, 1, 48)
LAUNCHER(lanes_disagree_on_the_mask)
LAUNCHER(lanes_in_different_collectives)
LAUNCHER(masks_in_a_circle)
LAUNCHER(shuffle_from_outside_the_mask)
LAUNCHER(lanes_never_come)
LAUNCHER(global_race_in_a_block)
LAUNCHER(race_between_blocks, 2)
LAUNCHER(reads_of_another_block, 2)
LAUNCHER(plain_write_and_atomic)
LAUNCHER(plain_read_after_atomics)
LAUNCHER(spins_forever)
LAUNCHER(null_pointer)
LAUNCHER(traps)
LAUNCHER(too_many_for_its_bounds)

int static_overrun_launch(bool mended, int* memory) {
  if (mended) {
    static_overrun<true><<<1, kThreads>>>(memory, 1);
  } else {
    static_overrun<false><<<1, kThreads>>>(memory, 1);
  }
  return finish();
}

// More dynamic shared memory than 48 KiB has to be asked for.
int too_much_shared_memory_launch(bool mended, int* memory) {
  const size_t bytes = 64 * 1024;
  if (mended) cudaFuncSetAttribute(dynamic_overrun<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (mended) {
    dynamic_overrun<true><<<1, kThreads, bytes>>>(memory);
  } else {
    dynamic_overrun<false><<<1, kThreads, bytes>>>(memory);
  }
  return finish();
}

int configured_launch(int* memory, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y) {
  divergent_barrier<true><<<dim3(grid_x, grid_y), dim3(block_x, block_y)>>>(memory);
  return finish();
}

}  // extern "C"
