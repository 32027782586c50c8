#pragma once
// Softmaxes whose log-sum-exp is known, times a number, in vectors. Internal to the kernels of one instruction set.
#include <algorithm>
#include <cmath>

#include "common/cpu/exp.h"
#include "common/cpu/exp_double.h"
#include "common/cpu/narrow.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// Subnormal results are 0: they would cost a hundred times as much, here and in the optimizer.
template <class R>
class ScaledSoftmax {
 public:
  ScaledSoftmax(R lse, R factor)
      : lse_(Lanes<R>::splat(lse)), factor_(Lanes<R>::splat(factor)), lowest_(Lanes<R>::splat(lowest_for(factor))) {}

  V<R> operator()(V<R> logits) const {
    const V<R> x = logits - lse_, zero{};
    return (x < lowest_ ? zero : exp_for_sum(x)) * factor_;  // a NaN stays
  }

 private:
  static R lowest_for(R factor) {
    constexpr R domain = sizeof(R) == 8 ? -700 : -86;  // of exp_for_sum
    return std::max(domain, std::log(std::numeric_limits<R>::min()) - std::log(std::abs(factor)));
  }

  const V<R> lse_, factor_, lowest_;
};

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
