// Kernels with one fault each, and their good twins: what the gates are tried on. Never run.
//
// Each stores something that depends on all it loads, so that nothing is optimised away.

constexpr int kThreads = 128;

__device__ __forceinline__ float add(float4 v) { return (v.x + v.y) + (v.z + v.w); }

// Good: four 16-byte loads before the first is used.
template <typename T>
__global__ void __launch_bounds__(kThreads) wide(const float4* __restrict__ in, float* __restrict__ out, int n) {
  float sum = 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += 4 * kThreads) {
    const float4 a = in[i], b = in[i + kThreads], c = in[i + 2 * kThreads], d = in[i + 3 * kThreads];
    sum += (add(a) + add(b)) + (add(c) + add(d));
  }
  out[threadIdx.x] = sum;
}
template __global__ void wide<float>(const float4*, float*, int);

// Fault: as many loads in flight, 4 bytes each.
__global__ void __launch_bounds__(kThreads) narrow(const float* __restrict__ in, float* __restrict__ out, int n) {
  float sum = 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += 4 * kThreads) {
    sum += (in[i] + in[i + kThreads]) + (in[i + 2 * kThreads] + in[i + 3 * kThreads]);
  }
  out[threadIdx.x] = sum;
}

// Fault: each load waits for the one before, as its address depends on it.
__global__ void __launch_bounds__(kThreads) one_in_flight(const int4* __restrict__ in, int* __restrict__ out, int n) {
  int at = threadIdx.x;
#pragma unroll 1
  for (int i = 0; i < n; ++i) {
    const int4 next = in[at];
    at = (next.x + next.y) ^ (next.z + next.w);
  }
  out[threadIdx.x] = at;
}

// Good, without any loop.
__global__ void __launch_bounds__(kThreads) unrolled(const float4* __restrict__ in, float* __restrict__ out) {
  float4 v[8];
#pragma unroll
  for (int k = 0; k < 8; ++k) v[k] = in[threadIdx.x + k * kThreads];
  float sum = 0;
#pragma unroll
  for (int k = 0; k < 8; ++k) sum += add(v[k]);
  out[threadIdx.x] = sum;
}

// Holds `kValues` floats at once: their sum is known only when the last is there, and each is scaled by it.
template <int kValues>
__device__ __forceinline__ void hold(const float4* __restrict__ in, float* __restrict__ out, int n) {
  for (int i = threadIdx.x; i < n; i += kThreads) {
    float4 v[kValues / 4];
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kValues / 4; ++k) {
      v[k] = in[i + k * n];
      sum += add(v[k]);
    }
#pragma unroll
    for (int k = 0; k < kValues / 4; ++k) {
      out[i + k * n] = v[k].x * sum + (v[k].y * v[k].z) / sum + v[k].w;
    }
  }
}

// Fault: 64 values and the bounds leave 32 registers.
__global__ void __launch_bounds__(1024, 2) spilling(const float4* __restrict__ in, float* __restrict__ out, int n) {
  hold<64>(in, out, n);
}

// Good: the same with room; and a fault where few registers are asked for.
__global__ void __launch_bounds__(kThreads) roomy(const float4* __restrict__ in, float* __restrict__ out, int n) {
  hold<64>(in, out, n);
}

// Fault: an array that is indexed by data is not in registers. Nothing is spilled.
__global__ void __launch_bounds__(kThreads) local_array(const int4* __restrict__ in, int* __restrict__ out, int n) {
  int count[16] = {};
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += kThreads) {
    const int4 v = in[i];
    count[v.x & 15] += v.y;
    count[v.z & 15] += v.w;
  }
#pragma unroll
  for (int k = 0; k < 16; ++k) out[threadIdx.x + k * kThreads] = count[k];
}

// Fault: 40 KiB of shared memory per block hold back the warps.
__global__ void __launch_bounds__(kThreads) crowded(const float4* __restrict__ in, float* __restrict__ out) {
  __shared__ float4 tile[2560];
  for (int i = threadIdx.x; i < 2560; i += kThreads) tile[i] = in[i];
  __syncthreads();
  for (int i = threadIdx.x; i < 2560; i += kThreads) out[i] = add(tile[2559 - i]);
}

// Fault: nothing says how large its blocks are.
__global__ void boundless(const float4* __restrict__ in, float* __restrict__ out) {
  out[threadIdx.x] = add(in[threadIdx.x]);
}

// A loop around a loop: the outer one loads, the inner one only counts.
__global__ void __launch_bounds__(kThreads) nested(const int4* __restrict__ in, int* __restrict__ out, int n) {
  int steps = 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += kThreads) {
    int4 v = in[i];
#pragma unroll 1
    while (v.x != v.y) {
      v.x = v.x > v.y ? v.x - v.y : v.y - v.x;
      ++steps;
    }
  }
  out[threadIdx.x] = steps;
}
