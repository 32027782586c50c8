#pragma once
// The softmax of a row of scores and its gradient, in vectors.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/cpu/exp.h"
#include "common/cpu/exp_double.h"
#include "common/cpu/lanes.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// A product of subnormal numbers takes a processor many times as long.
template <class R>
inline V<R> without_subnormals(V<R> x) {
  const V<R> least = Lanes<R>::splat(std::numeric_limits<R>::min()), zero = Lanes<R>::splat(0);
  return x >= least ? x : (x <= -least ? x : (x == x ? zero : x));
}

inline Vec exp_of(Vec x) { return exp(x); }
// exp_for_sum, but 0 where its argument is below its range.
inline Doubles exp_of(Doubles x) {
  const Doubles y = exp_for_sum(x);
  return x < splat_double(-700.0) ? splat_double(0) : y;
}

// Of scale times the row, in place; masked scores are -inf, and then the scale is positive. False, and the row is
// undone, where no finite number can come out of it: all scores are -inf, or one is NaN or +inf.
template <class R>
inline bool softmax_row(R* row, R scale, int64_t n) {
  constexpr R kInfinity = std::numeric_limits<R>::infinity();
  V<R> most = Lanes<R>::splat(-kInfinity);
  R largest = -kInfinity;  // of the last, part of a vector
  const V<R> factor = Lanes<R>::splat(scale);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    if (lanes == kCount<R>)
      most = max(factor * Lanes<R>::load(row + i), most);
    else
      for (int64_t j = i; j < n; ++j) largest = std::max(scale * row[j], largest);
  });
  largest = std::max<R>(largest, max_of(most));
  if (largest == -kInfinity) return false;
  V<R> sums = Lanes<R>::splat(0);
  R sum = 0;
  const V<R> pivot = Lanes<R>::splat(largest);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> e = exp_of(factor * load_lanes<R>(row + i, lanes) - pivot);
    store_lanes<R>(row + i, e, lanes);
    if (lanes == kCount<R>)
      sums += e;
    else
      for (int64_t j = i; j < n; ++j) sum += row[j];
  });
  sum += sum_of(sums);
  if (!(sum < kInfinity)) return false;  // a NaN, also of +inf less +inf
  const V<R> share = Lanes<R>::splat(1 / sum);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    store_lanes<R>(row + i, without_subnormals<R>(load_lanes<R>(row + i, lanes) * share), lanes);
  });
  return true;
}

// d <- scale p (d - sum p d), with `more` added to d first where it is given. Where p is 0 the result is 0, whatever d
// is.
template <class R>
inline void softmax_row_backward(const R* p, const R* more, R* d, R scale, int64_t n) {
  V<R> sums = Lanes<R>::splat(0);
  const V<R> zero = Lanes<R>::splat(0);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> weight = load_lanes<R>(p + i, lanes);
    V<R> x = load_lanes<R>(d + i, lanes);
    if (more) x += load_lanes<R>(more + i, lanes);
    x = weight == zero ? zero : x;
    store_lanes<R>(d + i, x, lanes);
    sums = fma(weight, x, sums);
  });
  const V<R> mean = Lanes<R>::splat(sum_of(sums)), factor = Lanes<R>::splat(scale);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> weight = load_lanes<R>(p + i, lanes), x = load_lanes<R>(d + i, lanes);
    const V<R> result = without_subnormals<R>(factor * weight * (x - mean));
    store_lanes<R>(d + i, weight == zero ? zero : result, lanes);
  });
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
