#pragma once
// What the kernels of a pointer-generator share on the device. A row's columns are worked on in tiles, a warp each;
// what belongs to the row alone, its O(T) ids, is a warp's work or that of a thread for each position. No block hands
// anything to another but through the next launch, and no two threads write one place, so that there are no barriers.
#include "common/cuda/tile.cuh"
#include "pointer_mixture/pointer.h"

namespace s2sfast::cuda {

inline constexpr int kPointerThreads = 128, kPointerWarps = kPointerThreads / kWarp;

inline int64_t tiles_of(int64_t columns) { return (columns + kTile - 1) / kTile; }

// A warp for each tile of each row, or for each row; a thread for each position.
inline dim3 grid_of_tiles(int64_t rows, int64_t columns) {
  return {static_cast<unsigned>(rows), static_cast<unsigned>((tiles_of(columns) + kPointerWarps - 1) / kPointerWarps)};
}
inline dim3 grid_of_rows(int64_t rows) { return static_cast<unsigned>((rows + kPointerWarps - 1) / kPointerWarps); }
inline dim3 grid_of_positions(int64_t rows, int64_t positions) {
  return {static_cast<unsigned>(rows), static_cast<unsigned>((positions + kPointerThreads - 1) / kPointerThreads)};
}
__device__ __forceinline__ int64_t own_tile() { return int64_t{blockIdx.y} * kPointerWarps + warp_id(); }
__device__ __forceinline__ int64_t own_row() { return int64_t{blockIdx.x} * kPointerWarps + warp_id(); }
__device__ __forceinline__ int64_t own_position() { return int64_t{blockIdx.y} * kPointerThreads + threadIdx.x; }

// factor softmax(logits), one column; subnormal results are 0, as on the CPU.
template <class R>
class ScaledSoftmax {
 public:
  __device__ __forceinline__ ScaledSoftmax(R lse, R factor)
      : lse_(lse), factor_(factor), lowest_(max_of(domain(), smallest() - log(fabs(factor)))) {}
  __device__ __forceinline__ R operator()(R logit) const {
    const R x = logit - lse_;
    if (!(x == x)) return x;  // exp_for_sum() passes a NaN over
    return x < lowest_ ? R(0) : exp_for_sum(x) * factor_;
  }

 private:
  static __device__ __forceinline__ R domain() { return sizeof(R) == 8 ? R(-700) : R(-87); }
  static __device__ __forceinline__ R smallest() {
    return sizeof(R) == 8 ? R(-708.3964185322641) : R(-87.33654475055310);
  }

  const R lse_, factor_, lowest_;
};

}  // namespace s2sfast::cuda
