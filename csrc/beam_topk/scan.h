#pragma once
// The first look at the logits: sums of exponentials and group maxima. Internal to the kernel of one instruction set.
#include <algorithm>
#include <cmath>
#include <limits>

#include "beam_topk/beam_topk.h"
#include "beam_topk/scratch.h"
#include "common/cpu/exp.h"
#include "common/cpu/exp_double.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

constexpr float kInf = INFINITY, kLargest = std::numeric_limits<float>::max(),
                kSmallest = std::numeric_limits<float>::min();

// How far above the pivot logits may stand. logit - pivot is rounded: at 8, to 2.4e-7, which is the error of a term.
// The sum is at least 1, the pivot's own term.
constexpr float kPivotSlack = 8;

template <class T>
struct Row {  // what is read of one beam
  const T* logits;
  const Real<T>* bias;  // or null

  Row from(int64_t column) const { return {logits + column, bias ? bias + column : nullptr}; }
};

template <class T>
Row<T> row_of(const BeamTopkInputs<T>& in, int64_t sentence, int64_t beam) {
  return {in.logits.row(sentence, beam), in.bias.data ? in.bias.row(sentence, beam) : nullptr};
}

// The first n sums logit + bias, n at most kLanes; finite sums stay finite, the other lanes hold -inf.
template <class T, class Bias>
Vec load_sums(const T* logits, const Bias* bias, int64_t n) {
  double sum[kLanes];
  for (int64_t i = 0; i < n; ++i) sum[i] = to_double(logits[i]) + bias[i];
  return load_part(sum, n, -kInf);
}

template <class T>
Vec load_biased(const T* logits, const float* bias) {
  const Vec x = load(logits), b = load(bias), sum = x + b, finite = splat(-kLargest);
  // Two finite numbers can add up to -inf, as of masks that are the lowest float.
  if (lanes_at_least(min(x, b), finite) & ~lanes_at_least(sum, finite)) return load_sums(logits, bias, kLanes);
  return sum;
}
Vec load_biased(const double* logits, const double* bias) { return load_sums(logits, bias, kLanes); }

// each_vector for logit + bias.
template <class T, class Each>
inline void each_biased_vector(const Row<T>& row, int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) each(load_biased(row.logits + i, row.bias + i), i);
  if (i < n) each(load_sums(row.logits + i, row.bias + i, n - i), i);
}

template <class T>
bool has_nan_or_inf(const T* p, int64_t n) {
  uint32_t found = 0;
  each_vector(p, n, -kInf, [&](Vec x, int64_t) { found |= lanes_not_below(x, splat(kInf)); });
  return found != 0;
}

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

template <class T>
Vec group_maxima_biased(const Row<T>& row, int64_t n) {
  Vec m = splat(-kInf);
  each_biased_vector(row, n, [&](Vec x, int64_t) { m = max(x, m); });
  return m;
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
  BeamTopkPartial result() const {
    const double sum = sum_of(sum_);  // a NaN or +inf among the logits has made it NaN
    return {sum, pivot_, max_, bad_ || std::isnan(sum), false};
  }

 private:
  Vec sum_of_exp(const T* p, int64_t n, Vec& maxima) const {
    const Vec pivot = splat(pivot_);
    Vec a = splat(0), b = a, m = splat(-kInf), l = m;
    const auto take = [&](Vec x, Vec& sum, Vec& max_of_lanes) {
      max_of_lanes = max(x, max_of_lanes);
      sum += exp_for_sum(x - pivot);
    };
    int64_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      take(load(p + i), a, m);
      take(load(p + i + kLanes), b, l);
    }
    each_vector(p + i, n - i, -kInf, [&](Vec x, int64_t) { take(x, a, m); });
    maxima = max(m, l);
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
  BeamTopkPartial result() const { return {sum_, max_, max_, bad_, false}; }

 private:
  double sum_ = 0, max_ = -kInf;
  bool bad_ = false;
};

template <class T>
double max_of_block(const T*, int64_t, Vec groups) {
  return max_of(groups);
}
double max_of_block(const double* p, int64_t n, Vec) { return max_of_doubles(p, n); }

template <class T>
BeamTopkPartial scan_piece(const Row<T>& row, int64_t n, bool normalized, float* groups) {
  Normalizer<T> normalizer;
  BeamTopkPartial ready{1, 0, -kInf, false, false};  // what stands for it where the logits are normalized
  bool bad_bias = false;
  for (int64_t i = 0; i < n; i += kBlock, groups += kLanes) {
    const int64_t size = std::min(kBlock, n - i);
    const T* p = row.logits + i;
    const Vec maxima = normalized ? group_maxima<true>(p, size, ready.bad_logit) : normalizer.add_block(p, size);
    if (normalized) ready.max = std::max(ready.max, max_of_block(p, size, maxima));
    store(groups, row.bias ? group_maxima_biased(row.from(i), size) : maxima);
    if (row.bias) bad_bias |= has_nan_or_inf(row.bias + i, size);
  }
  BeamTopkPartial out = normalized ? ready : normalizer.result();
  out.bad_bias = bad_bias;
  return out;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
