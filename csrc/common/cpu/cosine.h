#pragma once
// The norms of a cosine.
#include <algorithm>
#include <cmath>

#include "common/cosine.h"
#include "common/cpu/lanes.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// One norm of a pair as the mode wants it; `square` is |x|^2. (A NaN stays one.)
template <class R>
R norm_of(CosineEps mode, R eps, R square) {
  if (mode == CosineEps::sqrt) return std::sqrt(square + eps);
  const R norm = std::sqrt(square);
  return mode == CosineEps::clamp ? std::max(norm, eps) : norm;
}

// d log(norm) / d x = slope x, of the norm as the mode wants it.
template <class R>
R slope_of(CosineEps mode, R eps, R square) {
  if (mode == CosineEps::sqrt) return 1 / (square + eps);
  const bool constant = square == 0 || (mode == CosineEps::clamp && std::sqrt(square) < eps);
  return constant ? R{0} : 1 / square;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
