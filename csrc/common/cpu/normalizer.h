#pragma once
// Log-sum-exp in one pass over float, half or double, with the maxima of groups of columns on the way.
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/cpu/exp.h"
#include "common/cpu/exp_double.h"
#include "common/sum_of_exps.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

constexpr float kInf = INFINITY, kSmallest = std::numeric_limits<float>::min();

// A block is kGroupSize vectors long, and each lane of it is one group: 2 KiB of float32 with the widest vectors, so
// that all passes over a block run in L1.
constexpr int64_t kGroupSize = 32, kBlock = kGroupSize * kLanes;

// How far above the pivot logits may stand. logit - pivot is rounded: at 8, to 2.4e-7, which is the error of a term.
// The sum is at least 1, the pivot's own term.
constexpr float kPivotSlack = 8;

// The maxima of the block's groups: lane j of vectors 0, 1, ... is group j. With kCheck, says whether a NaN or +inf was
// among them; without, a NaN is passed over.
template <bool kCheck, class T>
Vec group_maxima(const T* p, int64_t n, bool& bad) {
  Vec a = splat(-kInf), b = a, c = a, d = a;
  uint32_t found = 0;
  const auto take = [&](Vec x, Vec& m) {
    m = max(x, m);
    if constexpr (kCheck) found |= lanes_not_below(x, splat(kInf));
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    take(load(p + i), a);
    take(load(p + i + kLanes), b);
    take(load(p + i + 2 * kLanes), c);
    take(load(p + i + 3 * kLanes), d);
  }
  each_vector(p + i, n - i, -kInf, [&](Vec x, int64_t) { take(x, a); });
  bad |= found != 0;
  return max(max(a, b), max(c, d));
}

// The sum of exp(logit - pivot) over a piece, and its group maxima, in one pass: the pivot is the maximum of the first
// block that has a finite logit, and moves up only when a block's maximum leaves it kPivotSlack behind. (The online
// softmax of Milakov & Gimelshein 2018, without a maximum before the exponentials.) Float32 within a block, float64
// across blocks.
template <class T>
class Normalizer {
 public:
  Vec add_block(const T* p, int64_t n) {
    Vec maxima = splat(-kInf);
    if (pivot_ > -kInf) {
      const Vec sum = sum_of_exp(p, n, maxima);
      const float top = max_of(maxima);
      max_ = std::max(max_, top);
      if (top <= pivot_ + kPivotSlack) {
        sum_.add(sum);
        return maxima;
      }
    } else {
      maxima = group_maxima<true>(p, n, bad_);
      max_ = max_of(maxima);
      if (max_ == -kInf) return maxima;
    }
    scale(sum_, std::exp(double{pivot_} - double{max_}));
    pivot_ = max_;
    sum_.add(sum_of_exp(p, n, maxima));
    return maxima;
  }
  SumOfExps result() const {
    const double sum = sum_of(sum_);  // a NaN or +inf among the logits has made it NaN
    return {sum, pivot_, bad_ || std::isnan(sum)};
  }
  double max() const { return max_; }

 private:
  Vec sum_of_exp(const T* p, int64_t n, Vec& maxima) const {
    const Vec pivot = splat(pivot_);
    Vec a = splat(0), b = a, m = splat(-kInf), l = m;
    const auto take = [&](Vec x, Vec& sum, Vec& max_of_lanes) {
      max_of_lanes = S2SFAST_ISA::max(x, max_of_lanes);
      sum += exp_for_sum(x - pivot);
    };
    int64_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      take(load(p + i), a, m);
      take(load(p + i + kLanes), b, l);
    }
    each_vector(p + i, n - i, -kInf, [&](Vec x, int64_t) { take(x, a, m); });
    maxima = S2SFAST_ISA::max(m, l);
    return a + b;
  }

  WideSum sum_;
  float pivot_ = -kInf, max_ = -kInf;
  bool bad_ = false;
};

inline double max_of_doubles(const double* p, int64_t n) {
  Doubles max = splat_double(-kInf);
  each_doubles(p, n, [&](Doubles x) { max = x > max ? x : max; });  // passes a NaN over
  return max_of(max);
}

template <>
class Normalizer<double> {
 public:
  Vec add_block(const double* p, int64_t n) {
    const Vec maxima = group_maxima<true>(p, n, bad_);
    const double before = max_;
    max_ = std::max(max_, max_of_doubles(p, n));
    if (max_ == -kInf || bad_) return maxima;
    if (max_ > before) sum_ *= std::exp(before - max_);
    Doubles sum{};
    each_doubles(p, n, [&](Doubles x) { sum += exp_for_sum(x - max_); });
    sum_ += sum_of(sum);
    return maxima;
  }
  SumOfExps result() const { return {sum_, max_, bad_}; }
  double max() const { return max_; }

 private:
  double sum_ = 0, max_ = -kInf;
  bool bad_ = false;
};

// Of a whole piece.
template <class T>
SumOfExps sum_of_exps(const T* p, int64_t n) {
  Normalizer<T> normalizer;
  for (int64_t i = 0; i < n; i += kBlock) normalizer.add_block(p + i, std::min(kBlock, n - i));
  return normalizer.result();
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
