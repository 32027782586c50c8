#pragma once
// The device's side of AttentionMask: lengths come unchecked.
#include "attention/attention.h"
#include "common/cuda/fault.cuh"
#include "common/cuda/rows.cuh"
#include "common/cuda/warp.cuh"

namespace s2sfast::cuda {

// A length that has no place in [0, T] is taken for the nearer end.
__device__ __forceinline__ int64_t length_of(const AttentionMask& mask, int64_t sentence, int64_t positions) {
  return min(max(mask.length(sentence, positions), int64_t{0}), positions);
}

__device__ __forceinline__ void check_length(const AttentionMask& mask, int64_t sentence, int64_t positions, int what,
                                             CudaFault* faults) {
  const int64_t got = mask.length(sentence, positions);
  if (faults && (got < 0 || got > positions)) report(faults, what, sentence, got, positions);
}

__device__ __forceinline__ bool attends(const AttentionMask& mask, int64_t sentence, int64_t query, int64_t position,
                                        int64_t length) {
  return position < length && mask.allows(sentence, query, position);
}

}  // namespace s2sfast::cuda
