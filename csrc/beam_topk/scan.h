#pragma once
// The first look at the logits: sums of exponentials and group maxima. Internal to the kernel of one instruction set.
#include <algorithm>
#include <cmath>
#include <limits>

#include "beam_topk/beam_topk.h"
#include "beam_topk/scratch.h"
#include "common/cpu/normalizer.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

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

template <class T>
Vec group_maxima_biased(const Row<T>& row, int64_t n) {
  Vec m = splat(-kInf);
  each_biased_vector(row, n, [&](Vec x, int64_t) { m = max(x, m); });
  return m;
}

template <class T>
double max_of_block(const T*, int64_t, Vec groups) {
  return max_of(groups);
}
double max_of_block(const double* p, int64_t n, Vec) { return max_of_doubles(p, n); }

template <class T>
BeamTopkPartial scan_piece(const Row<T>& row, int64_t n, bool normalized, float* groups) {
  Normalizer<T> normalizer;
  BeamTopkPartial ready{{1, 0, false}, -kInf, false};  // what stands for it where the logits are normalized
  bool bad_bias = false;
  for (int64_t i = 0; i < n; i += kBlock, groups += kLanes) {
    const int64_t size = std::min(kBlock, n - i);
    const T* p = row.logits + i;
    const Vec maxima = normalized ? group_maxima<true>(p, size, ready.bad) : normalizer.add_block(p, size);
    if (normalized) ready.max = std::max(ready.max, max_of_block(p, size, maxima));
    store(groups, row.bias ? group_maxima_biased(row.from(i), size) : maxima);
    if (row.bias) bad_bias |= has_nan_or_inf(row.bias + i, size);
  }
  BeamTopkPartial out = normalized ? ready : BeamTopkPartial{normalizer.result(), normalizer.max(), false};
  out.bad_bias = bad_bias;
  return out;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
