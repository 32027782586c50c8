#pragma once
// What makes a head's parameters out of any numbers, and back. A warp calls, for a head.
#include "attention/softmax.cuh"
#include "common/cuda/tanh.cuh"
#include "location_address/locate.cuh"
#include "ntm_step/ntm_step.h"

namespace s2sfast::cuda {

template <class R>
__device__ __forceinline__ R sigmoid_of(R x) {
  const R e = exp(-fabs(x));
  return (x >= 0 ? R(1) : e) / (1 + e);
}
template <class R>
__device__ __forceinline__ R softplus_of(R x) {
  return (x < 0 ? R(0) : x) + log1p(exp(-fabs(x)));
}

// out[i] = function(in[i]); nothing where there is no such field.
template <class R, class Function>
__device__ __forceinline__ void map_row(const Rows<const R>& in, const Rows<R>& out, int64_t b, int64_t head,
                                        Function function) {
  if (!in.data) return;
  R* to = out.row(b, head);
  each_of_row(in.row(b, head), in.width, [&](int64_t i, R x) { to[i] = function(x); });
}

// A tap a lane: there are at most kCudaTaps.
template <class R>
__device__ __forceinline__ void softmax_of_taps(const R* in, R* out, int64_t taps) {
  static_assert(kCudaTaps <= kWarp);
  const bool has_one = lane_id() < taps;
  const R x = has_one ? in[lane_id()] : R(-INFINITY), top = warp_max(x);
  const bool bad = __any_sync(kAllLanes, has_one && !(x < INFINITY)) || top == R(-INFINITY);
  const R share = exp_or_zero(x - max_of(top, lowest(top))), sum = warp_sum(has_one ? share : R(0));
  if (has_one) out[lane_id()] = bad ? R(NAN) : without_subnormal(share / sum);
}
template <class R>
__device__ __forceinline__ void softmax_of_taps_backward(const R* p, R* d, int64_t taps) {
  const bool has_one = lane_id() < taps;
  const R weight = has_one ? p[lane_id()] : R(0), x = weight == 0 ? R(0) : d[lane_id()];
  const R mean = warp_sum(weight * x);
  if (has_one) d[lane_id()] = weight == 0 ? R(0) : without_subnormal(weight * (x - mean));
}

// A sharpen below 1 is taken as it is, and reported as the fault `what`.
template <class R>
__device__ __forceinline__ void prepare_head(const NtmPrepare<R>& stage, int64_t b, int64_t head,
                                             CudaFault* faults = nullptr, int what = 0) {
  const NtmHeads<const R>& from = stage.given;
  const NtmHeads<R>& to = stage.ready;
  const NtmActivation& active = stage.activation;
  const bool bend_key = active.any && active.tanh_key, bend_add = active.any && active.tanh_add, any = active.any;
  map_row(from.key, to.key, b, head, [&](R x) { return bend_key ? tanh_of(x) : x; });
  map_row(from.erase, to.erase, b, head, [&](R x) { return any ? sigmoid_of(x) : x; });
  map_row(from.add, to.add, b, head, [&](R x) { return bend_add ? tanh_of(x) : x; });
  const auto one = [&](const Rows<const R>& in, const Rows<R>& out, auto function) {
    if (!in.data || lane_id() != 0) return;
    const R x = *in.row(b, head);
    *out.row(b, head) = any ? function(x) : x;
  };
  one(from.strength, to.strength, [&](R x) { return softplus_of(x) + (active.one_more_strength ? 1 : 0); });
  one(from.gate, to.gate, [](R x) { return sigmoid_of(x); });
  one(from.sharpen, to.sharpen, [](R x) { return 1 + softplus_of(x); });
  if (faults && from.sharpen.data && lane_id() == 0) report_sharpen(*from.sharpen.row(b, head), b, head, what, faults);
  if (!from.shift.data) return;
  if (any)
    softmax_of_taps(from.shift.row(b, head), to.shift.row(b, head), from.shift.width);
  else
    map_row(from.shift, to.shift, b, head, [](R x) { return x; });
}

}  // namespace s2sfast::cuda
