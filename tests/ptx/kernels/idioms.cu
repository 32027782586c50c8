// What must not be called a fault, though it comes near to one. What each kernel must leave in memory is worked out in
// tests/ptx/test_idioms.py. One block of 64 threads over `memory` of 64 ints, unless it says otherwise.
#include <cuda_runtime.h>

namespace {

constexpr int kThreads = 64, kWarp = 32;
constexpr unsigned kAll = 0xffffffffu;

// Lanes without a number wait in the shuffle of all lanes while the others still look for equal ones.
__global__ void match_among_some(int* memory) {
  const int lane = threadIdx.x % kWarp, value = memory[threadIdx.x];
  const unsigned present = __ballot_sync(kAll, value != 0);
  unsigned equal = 0;
  if (value) equal = __match_any_sync(present, value);
  memory[threadIdx.x] = static_cast<int>(__shfl_sync(kAll, equal, (lane + 1) % kWarp));
}

// Each lane waits for its left neighbour and then for its right one: 31 barriers at once, which order the row.
__global__ void chain_of_lanes(int* memory) {
  __shared__ int row[kThreads];
  const int lane = threadIdx.x % kWarp, i = static_cast<int>(threadIdx.x);
  if (lane > 0) __syncwarp(3u << (lane - 1));
  row[i] = memory[i] + (lane > 0 ? row[i - 1] : 0);
  if (lane < kWarp - 1) __syncwarp(3u << lane);
  memory[i] = row[i];
}

// Halves of a warp, and quarters, sum on their own before all lanes meet.
__global__ void groups_then_all(int* memory) {
  const int lane = threadIdx.x % kWarp;
  const unsigned group = lane < 16 ? 0xffffu : lane < 24 ? 0xff0000u : 0xff000000u;
  int sum = memory[threadIdx.x];
  sum = __reduce_add_sync(group, sum);
  memory[threadIdx.x] = sum + __shfl_xor_sync(kAll, sum, 16);
}

// Sums in shared memory, without a barrier of the block.
__global__ void tree_of_a_warp(int* memory) {
  __shared__ int row[kThreads];
  int* mine = row + threadIdx.x;
  *mine = memory[threadIdx.x];
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    __syncwarp();
    if (threadIdx.x % kWarp < distance) *mine += mine[distance];
  }
  __syncwarp();
  memory[threadIdx.x] = row[threadIdx.x / kWarp * kWarp];
}

// Two rows in turn: a row is written again only after a barrier since it was read.
__global__ void double_buffer(int* memory) {
  __shared__ int rows[2][kThreads];
  int value = memory[threadIdx.x];
  for (int round = 0; round < 5; ++round) {
    rows[round % 2][threadIdx.x] = value;
    __syncthreads();
    value = rows[round % 2][(threadIdx.x + 1) % kThreads];
  }
  memory[threadIdx.x] = value;
}

__global__ void atomics_then_plain(int* memory) {
  __shared__ int counts[4];
  if (threadIdx.x < 4) counts[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&counts[threadIdx.x % 4], memory[threadIdx.x]);
  __syncthreads();
  memory[threadIdx.x] = counts[threadIdx.x % 4];
}

// Many threads raise a flag.
__global__ void volatile_flag(int* memory) {
  __shared__ volatile int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (memory[threadIdx.x] > 60) flag = 1;
  __syncthreads();
  memory[threadIdx.x] = flag;
}

// The second warp leaves; the first one goes on with barriers of its own.
__global__ void warps_that_leave(int* memory) {
  __shared__ int row[kWarp];
  if (threadIdx.x >= kWarp) return;
  row[threadIdx.x] = memory[threadIdx.x];
  __syncwarp();
  memory[threadIdx.x] = row[kWarp - 1 - threadIdx.x];
}

// A thread's own bytes, among those of others, and next to each other's.
__global__ void own_bytes(int* memory) {
  __shared__ unsigned char bytes[4 * kThreads];
  auto* word = reinterpret_cast<volatile int*>(bytes + 4 * threadIdx.x);
  for (int i = 0; i < 4; ++i) bytes[4 * threadIdx.x + i] = static_cast<unsigned char>(memory[threadIdx.x] + i);
  memory[threadIdx.x] = *word;
}

// Two launches of several blocks, one after the other, are in order.
__global__ void shifted(int* memory, int step) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  memory[(step + 1) * kThreads + i] = memory[step * kThreads + kThreads - 1 - i] + 1;
}

int run(void (*kernel)(int*), int* memory) {
  kernel<<<1, kThreads>>>(memory);
  return cudaGetLastError();
}

}  // namespace

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

#define LAUNCHER(kernel) \
  int kernel##_launch(int* memory) { return run(kernel, memory); }

LAUNCHER(match_among_some)
LAUNCHER(chain_of_lanes)
LAUNCHER(groups_then_all)
LAUNCHER(tree_of_a_warp)
LAUNCHER(double_buffer)
LAUNCHER(atomics_then_plain)
LAUNCHER(volatile_flag)
LAUNCHER(warps_that_leave)
LAUNCHER(own_bytes)

// Over 3 * 64 ints.
int launches_in_a_row_launch(int* memory) {
  for (int step = 0; step < 2; ++step) shifted<<<2, kThreads / 2>>>(memory, step);
  return cudaGetLastError();
}

}  // extern "C"
