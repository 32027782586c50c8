#pragma once
// What all threads of a block of kBlockThreads do together with rows of numbers.
#include "common/cuda/numbers.cuh"
#include "common/cuda/warp.cuh"

namespace s2sfast::cuda {

inline constexpr int kBlockThreads = 256, kBlockWarps = kBlockThreads / kWarp;

// Joins numbers of all threads, in float64 and in the order of the warps; every thread gets the result. A barrier each
// time, not two: two places take turns, and who writes to one again has passed the barrier of the other, behind which
// nobody reads it.
class BlockJoin {
 public:
  struct Shared {
    double parts[2][2][kBlockWarps];
  };
  struct Pair {
    double first, second;
  };
  __device__ __forceinline__ explicit BlockJoin(Shared& shared) : shared_(shared) {}

  template <class R>
  __device__ __forceinline__ R largest(R x) {
    return static_cast<R>(join<1>({warp_max(x), 0}, [](double a, double b) { return a > b ? a : b; }).first);
  }
  __device__ __forceinline__ double sum(double x) { return join<1>({warp_sum(x), 0}, add).first; }
  __device__ __forceinline__ Pair sums(double x, double y) { return join<2>({warp_sum(x), warp_sum(y)}, add); }

 private:
  static __device__ __forceinline__ double add(double a, double b) { return a + b; }

  template <int kNumbers, class Join>
  __device__ __forceinline__ Pair join(Pair x, Join join) {
    double (&parts)[2][kBlockWarps] = shared_.parts[turn_];
    turn_ ^= 1;
    if (lane_id() == 0) {
      parts[0][warp_id()] = x.first;
      if constexpr (kNumbers > 1) parts[1][warp_id()] = x.second;
    }
    __syncthreads();
    x.first = parts[0][0];
    if constexpr (kNumbers > 1) x.second = parts[1][0];
#pragma unroll
    for (int i = 1; i < kBlockWarps; ++i) {
      x.first = join(x.first, parts[0][i]);
      if constexpr (kNumbers > 1) x.second = join(x.second, parts[1][i]);
    }
    return x;
  }

  Shared& shared_;
  int turn_ = 0;
};

// Calls use(n, x) for the thread's places n of some rows, x[i] of the i-th row; several loads in flight. What is used
// may be written to in the rows.
template <int kRows, class R, class Use>
__device__ __forceinline__ void each_of_rows(const R* const (&rows)[kRows], int64_t count, Use use) {
  constexpr int kInFlight = 4;
  for (int64_t first = threadIdx.x; first < count; first += kInFlight * kBlockThreads) {
    R x[kInFlight][kRows];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
#pragma unroll
      for (int i = 0; i < kRows; ++i)
        x[j][i] = first + j * kBlockThreads < count ? rows[i][first + j * kBlockThreads] : R(0);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      if (first + j * kBlockThreads < count) use(first + j * kBlockThreads, x[j]);
  }
}

}  // namespace s2sfast::cuda
