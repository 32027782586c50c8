#pragma once
// Softmax of rows and its gradient, a warp for a row; exponentials that do reach 0.
#include "attention/mask.cuh"

namespace s2sfast::cuda {

inline constexpr int kSoftmaxThreads = 128, kSoftmaxRows = kSoftmaxThreads / kWarp;

// exp(x) for x <= 0, and 0 where it would be below 1.7e-38 (float32).
__device__ __forceinline__ float exp_or_zero(float x) { return x < -87.0f ? 0.0f : exp_for_sum(x); }
__device__ __forceinline__ double exp_or_zero(double x) { return x < -700.0 ? 0.0 : exp(x); }

__device__ __forceinline__ float without_subnormal(float x) { return fabsf(x) < FLT_MIN ? 0.0f : x; }
__device__ __forceinline__ double without_subnormal(double x) { return fabs(x) < DBL_MIN ? 0.0 : x; }

// Calls use(i, row[i]) for the lane's places of a row, several loads in flight.
template <class T, class Use>
__device__ __forceinline__ void each_of_row(const T* row, int64_t count, Use use) {
  using R = Real<T>;
  constexpr int kInFlight = 8;
  for (int64_t first = lane_id(); first < count; first += kInFlight * kWarp) {
    R x[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) x[j] = first + j * kWarp < count ? real(row[first + j * kWarp]) : R(0);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      if (first + j * kWarp < count) use(first + j * kWarp, x[j]);
  }
}

template <class R>
__global__ void __launch_bounds__(kSoftmaxThreads) attention_softmax_rows(const AttentionSoftmax<R> stage) {
  const AttentionSizes& s = stage.sizes;
  const int64_t at = int64_t{blockIdx.x} * kSoftmaxRows + warp_id();
  if (at >= s.sentences * s.queries) return;
  const int64_t b = at / s.queries, q = at % s.queries, length = length_of(stage.mask, b, s.positions);
  R* row = stage.scores + at * s.positions;

  R top = -INFINITY;
  bool bad = false;
  each_of_row(row, length, [&](int64_t, R x) {
    top = max_of(top, x);
    bad |= !(x < INFINITY);
  });
  top = warp_max(top);
  bad = __any_sync(kAllLanes, bad) || top == R(-INFINITY);
  const R pivot = max_of(top, lowest(top));

  double sum = 0;
  each_of_row(row, length, [&](int64_t, R x) { sum += exp_or_zero(x - pivot); });
  const R share = static_cast<R>(1 / warp_sum(sum));

  // Where no finite number can come out, what is attended to becomes NaN, and nothing else.
  each_of_row(row, length, [&](int64_t t, R x) {
    row[t] = !bad ? without_subnormal(exp_or_zero(x - pivot) * share) : stage.mask.allows(b, q, t) ? R(NAN) : R(0);
  });
  for (int64_t t = length + lane_id(); t < s.positions; t += kWarp) row[t] = 0;
}

template <class R>
__global__ void __launch_bounds__(kSoftmaxThreads)
    attention_softmax_backward_rows(const AttentionSoftmaxBackward<R> stage) {
  const int64_t at = int64_t{blockIdx.x} * kSoftmaxRows + warp_id(), T = stage.sizes.positions;
  if (at >= stage.sizes.sentences * stage.sizes.queries) return;
  const R *weights = stage.weights + at * T, *more = stage.more ? stage.more + at * T : nullptr;
  R* d = stage.d + at * T;

  double sum = 0;
  each_of_row(weights, T, [&](int64_t t, R weight) {
    if (weight != 0) sum += weight * (more ? d[t] + more[t] : d[t]);
  });
  const R mean = static_cast<R>(warp_sum(sum)), scale = static_cast<R>(stage.scale);
  each_of_row(weights, T, [&](int64_t t, R weight) {
    const R x = weight == 0 ? R(0) : more ? d[t] + more[t] : d[t];
    d[t] = weight == 0 ? R(0) : without_subnormal(scale * weight * (x - mean));
  });
}

}  // namespace s2sfast::cuda
