#pragma once
// The norms of a cosine.
#include <cmath>

#include "common/cosine.h"

namespace s2sfast::cuda {

// One norm of a pair as the mode wants it; `square` is |x|^2. A NaN stays one.
template <class R>
__device__ __forceinline__ R norm_of(CosineEps mode, R eps, R square) {
  const R norm = sqrt(mode == CosineEps::sqrt ? square + eps : square);
  return mode == CosineEps::clamp && norm < eps ? eps : norm;
}

// d log(norm) / d x = slope x, of the norm as the mode wants it.
template <class R>
__device__ __forceinline__ R slope_of(CosineEps mode, R eps, R square) {
  const R bounded = mode == CosineEps::sqrt ? square + eps : square;
  const bool constant = bounded == 0 || (mode == CosineEps::clamp && sqrt(square) < eps);
  return constant ? R(0) : 1 / bounded;
}

}  // namespace s2sfast::cuda
