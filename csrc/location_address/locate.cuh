#pragma once
// A row of location addressing and back. The whole block calls, for a head.
#include "attention/softmax.cuh"
#include "common/cuda/block.cuh"
#include "common/cuda/fault.cuh"
#include "location_address/location_address.h"

namespace s2sfast::cuda {

// The offsets of the taps, which the host has, by value.
struct ShiftTaps {
  int64_t offsets[kCudaTaps];

  template <class R>
  explicit ShiftTaps(const LocationHeads<R>& in) : offsets{} {
    if (in.shift.data)
      for (int64_t s = 0; s < in.taps; ++s) offsets[s] = in.offsets[s];
  }
};

__device__ __forceinline__ float least_normal(float) { return FLT_MIN; }  // less counts as 0
__device__ __forceinline__ double least_normal(double) { return DBL_MIN; }
__device__ __forceinline__ float largest_finite(float) { return FLT_MAX; }
__device__ __forceinline__ double largest_finite(double) { return DBL_MAX; }

__device__ __forceinline__ void report_sharpen(double got, int64_t b, int64_t head, int what, CudaFault* faults) {
  if (got < 1) report(faults, what, b, head, __double_as_longlong(got));
}

// log(x / peak); anything where x counts as 0.
template <class R>
__device__ __forceinline__ R log_ratio(R x, R peak) {
  const R ratio = x / peak, least = least_normal(x);
  return log(ratio < least ? least : ratio);
}

// x^sharpen, by the logarithm of x / peak; a NaN stays one.
template <class R>
__device__ __forceinline__ R power_of(R x, R peak, R sharpen) {
  if (x < least_normal(x)) return 0;
  const R log_power = sharpen * log_ratio(x, peak);
  return log_power == log_power ? exp_or_zero(log_power) : log_power;
}

// A head's part of LocationHeads.
template <class R>
struct LocationRow {
  int64_t slots;
  int taps;
  const int64_t* offsets;
  const R *content, *previous, *shift;
  R gate, sharpen;
  bool sharpens;

  __device__ __forceinline__ LocationRow(const LocationHeads<R>& in, const ShiftTaps& places, int64_t b, int64_t head)
      : slots(in.slots),
        taps(static_cast<int>(in.taps)),
        offsets(places.offsets),
        content(in.content.row(b, head)),
        previous(in.previous.row(b, head)),
        shift(in.shift.data ? in.shift.row(b, head) : nullptr),
        gate(*in.gate.row(b, head)),
        sharpen(in.sharpen.data ? *in.sharpen.row(b, head) : R(1)),
        sharpens(in.sharpen.data) {}

  // Calls use(n, x) with x = gate content[n] + (1 - gate) previous[n].
  template <class Use>
  __device__ __forceinline__ void each_gated(Use use) const {
    const R rest = 1 - gate;
    each_of_rows<2, R>({content, previous}, slots,
                       [&](int64_t n, const R(&x)[2]) { use(n, fma(gate, x[0], rest * x[1])); });
  }
  // Calls use(n, x) with x = sum_s shift[s] row[n - offsets[s]], or n + offsets[s] with kBack.
  template <bool kBack, class Use>
  __device__ __forceinline__ void each_shifted(const R* row, Use use) const {
    for (int64_t n = threadIdx.x; n < slots; n += kBlockThreads) {
      R x = 0;
#pragma unroll 4
      for (int s = 0; s < taps; ++s) x = fma(shift[s], row[kBack ? forth(n, s) : back(n, s)], x);
      use(n, x);
    }
  }
  __device__ __forceinline__ int64_t back(int64_t n, int s) const {
    const int64_t place = n - offsets[s];
    return place < 0 ? place + slots : place;
  }
  __device__ __forceinline__ int64_t forth(int64_t n, int s) const {
    const int64_t place = n + offsets[s];
    return place < slots ? place : place - slots;
  }
};

template <class R>
__device__ __forceinline__ void locate(const LocationWeights<R>& stage, const ShiftTaps& taps, int64_t b, int64_t head,
                                       BlockJoin& block) {
  const LocationRow<R> in(stage.in, taps, b, head);
  R *out = stage.weights.row(b, head), peak = 0;
  const auto leave = [&](int64_t n, R x) {
    out[n] = x;
    peak = max_of(peak, x);
  };
  if (in.shift) {
    R* gated = stage.scratch.row(b, head);
    in.each_gated([&](int64_t n, R x) { gated[n] = x; });
    __syncthreads();
    in.template each_shifted<false>(gated, leave);
  } else {
    in.each_gated(leave);
  }
  if (!in.sharpens) return;
  peak = max_of(block.largest(peak), least_normal(peak));
  R sum = 0;
  each_of_rows<1, R>({out}, in.slots, [&](int64_t n, const R(&x)[1]) {
    const R power = power_of(x[0], peak, in.sharpen);
    sum += power;
    out[n] = power;
  });
  const double total = block.sum(sum);
  if (total == 0) return;  // all are 0
  const R share = static_cast<R>(1 / total);
  each_of_rows<1, R>({out}, in.slots,
                     [&](int64_t n, const R(&x)[1]) { out[n] = x[0] == 0 ? R(0) : without_subnormal(x[0] * share); });
}

template <class R>
__device__ __forceinline__ void locate_backward(const LocationBackward<R>& stage, const ShiftTaps& taps, int64_t b,
                                                int64_t head, BlockJoin& block) {
  const LocationRow<R> in(stage.in, taps, b, head);
  const int64_t N = in.slots;
  R *const gated = stage.scratch.row(b, head), *const shifted = in.shift ? gated + 2 * N : gated;
  R *const content = stage.content.row(b, head), *const moved = in.shift ? gated + 3 * N : content;
  const R *gradient = stage.gradient.row(b, head), *weights = stage.weights.row(b, head);
  R peak = 0;
  in.each_gated([&](int64_t n, R x) {
    gated[n] = x;
    peak = max_of(peak, x);
  });
  if (in.shift && in.sharpens) {
    __syncthreads();
    peak = 0;
    in.template each_shifted<false>(gated, [&](int64_t n, R x) {
      shifted[n] = x;
      peak = max_of(peak, x);
    });
  }
  if (in.sharpens) {
    double all = 0, sum = 0;  // as weigh_content_backward's
    each_of_rows<2, R>({weights, gradient}, N, [&](int64_t, const R(&x)[2]) {
      all += x[0];
      if (x[0] != 0) sum = fma(static_cast<double>(x[0]), static_cast<double>(x[1]), sum);
    });
    peak = max_of(block.largest(peak), least_normal(peak));
    const BlockJoin::Pair joined = block.sums(sum, all);
    const double mean = joined.first / joined.second;
    R by_exponent = 0;
    each_of_rows<3, R>({weights, gradient, shifted}, N, [&](int64_t n, const R(&x)[3]) {
      const R weight = x[0], pull = static_cast<R>(x[1] - mean), most = largest_finite(x[0]),
              least = least_normal(x[0]);
      if (weight == 0) {
        moved[n] = 0;
        return;
      }
      by_exponent += weight * log_ratio(x[2], peak) * pull;
      const R slope = in.sharpen * (weight / (x[2] < least ? least : x[2])) * pull;
      moved[n] = slope > most ? most : slope < -most ? -most : slope;
    });
    const double dsharpen = block.sum(by_exponent);
    if (threadIdx.x == 0) *stage.sharpen.row(b, head) = static_cast<R>(dsharpen);
  } else {
    each_of_rows<1, R>({gradient}, N, [&](int64_t n, const R(&x)[1]) { moved[n] = x[0]; });
  }
  if (in.shift) {
    __syncthreads();
    for (int s = 0; s < in.taps; ++s) {
      R sum = 0;
#pragma unroll 4
      for (int64_t n = threadIdx.x; n < N; n += kBlockThreads) sum = fma(moved[n], gated[in.back(n, s)], sum);
      const double dshift = block.sum(sum);
      if (threadIdx.x == 0) stage.shift.row(b, head)[s] = static_cast<R>(dshift);
    }
    in.template each_shifted<true>(moved, [&](int64_t n, R x) { content[n] = x; });
  }
  R by_gate = 0, *const previous = stage.previous.row(b, head);
  each_of_rows<3, R>({content, in.content, in.previous}, N, [&](int64_t n, const R(&x)[3]) {
    by_gate = fma(x[0], x[1] - x[2], by_gate);
    content[n] = in.gate * x[0];
    previous[n] = (1 - in.gate) * x[0];
  });
  const double dgate = block.sum(by_gate);
  if (threadIdx.x == 0) *stage.gate.row(b, head) = static_cast<R>(dgate);
}

}  // namespace s2sfast::cuda
