#pragma once
// What makes a head's parameters out of any numbers, and back.
#include <cmath>

#include "attention/softmax.h"
#include "common/cpu/lanes.h"
#include "common/cpu/tanh.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class R>
inline V<R> sigmoid(V<R> x) {
  const V<R> one = Lanes<R>::splat(1), e = exp_of(-max(x, -x));
  return (x >= Lanes<R>::splat(0) ? one : e) / (one + e);
}

template <class R>
inline R sigmoid_of(R x) {
  return 1 / (1 + std::exp(-x));
}
template <class R>
inline R softplus_of(R x) {
  return std::max(x, R{0}) + std::log1p(std::exp(-std::abs(x)));
}

// to[i] = function(from[i])
template <class R, class Function>
inline void map_row(const R* from, R* to, int64_t n, Function function) {
  each_lanes<R>(
      n, [&](int64_t i, int64_t lanes) { store_lanes<R>(to + i, function(load_lanes<R>(from + i, lanes)), lanes); });
}

// gradient[i] *= slope(y[i])
template <class R, class Slope>
inline void scale_row(R* gradient, const R* y, int64_t n, Slope slope) {
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    store_lanes<R>(gradient + i, load_lanes<R>(gradient + i, lanes) * slope(load_lanes<R>(y + i, lanes)), lanes);
  });
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
