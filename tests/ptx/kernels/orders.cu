// Shows in which order threads and blocks run.
#include <cuda_runtime.h>

namespace {

__global__ void tickets(int* counter, int* order) {
  order[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1);
}

__global__ void poison(int* out) {
  __shared__ volatile int row[32];
  out[threadIdx.x] = row[threadIdx.x];
}

__device__ int device_counter;
__constant__ int constant_offset = 5;

__global__ void symbols(int* out) { out[threadIdx.x] = atomicAdd(&device_counter, 1) + constant_offset; }

}  // namespace

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

int take_tickets(int* counter, int* order, int blocks, int threads) {
  tickets<<<blocks, threads>>>(counter, order);
  return cudaGetLastError();
}

int read_poison(int* out) {
  poison<<<1, 32>>>(out);
  return cudaGetLastError();
}

int use_symbols(int* out, int start) {
  cudaMemcpyToSymbol(device_counter, &start, sizeof start);
  symbols<<<1, 32>>>(out);
  int end = 0;
  cudaMemcpyFromSymbol(&end, device_counter, sizeof end);
  return cudaGetLastError() == cudaSuccess ? end : -1;
}

}  // extern "C"
