#pragma once
// A part of a log-sum-exp.
#include <cmath>
#include <cstdint>
#include <limits>

namespace s2sfast {

struct SumOfExps {
  double sum, pivot;  // of exp(x - pivot); -inf where there is no x above it
  bool bad;           // a NaN or +inf was seen
};

namespace {

// log sum exp of all parts, in their order; NaN where one is bad.
inline double log_of(const SumOfExps* parts, int64_t n) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (parts[i].bad) return std::numeric_limits<double>::quiet_NaN();
    if (parts[i].pivot > top) top = parts[i].pivot;
  }
  if (top == -INFINITY) return top;
  for (int64_t i = 0; i < n; ++i) sum += parts[i].sum * std::exp(parts[i].pivot - top);
  return top + std::log(sum);
}

}  // namespace
}  // namespace s2sfast
