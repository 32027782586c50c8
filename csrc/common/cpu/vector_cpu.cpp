#include <algorithm>
#include <cmath>

#include "common/cpu/exp.h"
#include "common/cpu/exp_double.h"
#include "common/cpu/log.h"
#include "common/cpu/tanh.h"
#include "common/cpu/vector.h"

namespace s2sfast::S2SFAST_ISA {

void vector_exp(const float* x, float* y, int64_t n) {
  each_lanes<float>(n,
                    [&](int64_t i, int64_t lanes) { store_lanes(y + i, exp(load_lanes<float>(x + i, lanes)), lanes); });
}

void vector_tanh(const float* x, float* y, int64_t n) {
  each_lanes<float>(
      n, [&](int64_t i, int64_t lanes) { store_lanes(y + i, tanh(load_lanes<float>(x + i, lanes)), lanes); });
}

void vector_log(const float* x, float* y, int64_t n) {
  each_lanes<float>(n,
                    [&](int64_t i, int64_t lanes) { store_lanes(y + i, log(load_lanes<float>(x + i, lanes)), lanes); });
}

void vector_exp_double(const double* x, double* y, int64_t n) {
  int64_t i = 0;
  each_doubles(x, n, [&](Doubles v) {
    const Doubles result = exp_for_sum(v);
    std::memcpy(y + i, &result, std::min<int64_t>(kDoubles, n - i) * sizeof(double));
    i += kDoubles;
  });
}

float vector_max(const float* x, int64_t n) {
  Vec m = splat(-INFINITY);
  each_vector(x, n, -INFINITY, [&](Vec v, int64_t) { m = max(v, m); });
  return max_of(m);
}

float vector_sum(const float* x, int64_t n) {
  Vec s = splat(0);
  each_vector(x, n, 0.0f, [&](Vec v, int64_t) { s += v; });
  return sum_of(s);
}

float vector_dot(const float* x, const float* y, int64_t n) {
  Vec a = splat(0), b = a;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = fma(load(x + i), load(y + i), a);
    b = fma(load(x + i + kLanes), load(y + i + kLanes), b);
  }
  for (; i + kLanes <= n; i += kLanes) a = fma(load(x + i), load(y + i), a);
  if (i < n) a = fma(load_part(x + i, n - i, 0.0f), load_part(y + i, n - i, 0.0f), a);
  return sum_of(a + b);
}

double vector_log_sum_exp(const float* x, int64_t n) {
  constexpr int64_t kBlock = 32 * kLanes;  // stays in L1 between its two passes
  double max = -INFINITY;
  WideSum sum;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(kBlock, n - begin);
    const double block_max = vector_max(x + begin, size);
    if (block_max > max) {
      scale(sum, std::exp(max - block_max));
      max = block_max;
    }
    if (max == -INFINITY) continue;
    const Vec m = splat(static_cast<float>(max));
    Vec a = splat(0);
    each_vector(x + begin, size, -INFINITY, [&](Vec v, int64_t) { a += exp_for_sum(v - m); });
    sum.add(a);
  }
  return max + std::log(sum_of(sum));
}

}  // namespace s2sfast::S2SFAST_ISA
