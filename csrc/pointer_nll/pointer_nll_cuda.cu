// pointer_nll on the device. Forward: the log-sum-exps, then a warp per row finds what is copied. Backward: a warp per
// row for all gradients but the logits', then a warp per 1,024 of these.
#include <cuda_runtime.h>

#include "common/cuda/fault.cuh"
#include "pointer_mixture/pointer.cuh"
#include "pointer_nll/pointer_nll.h"

namespace s2sfast {
namespace cuda {

// A warp calls; every lane gets it.
template <class T>
__device__ __forceinline__ PointerTarget<Real<T>> target_of(const PointerNllInputs<T>& in, int64_t row, Real<T> lse) {
  using R = Real<T>;
  const PointerSizes& s = in.sizes;
  const int64_t target = in.targets[row];
  const T* weights = in.weights.row(row);
  const int64_t* ids = in.ids.row(s.source_of(row));
  double mass = 0;
  for (int64_t t = lane_id(); t < s.positions; t += kWarp)
    if (ids[t] == target) mass += static_cast<double>(real(weights[t]));
  mass = warp_sum(mass);
  const R gate = real(in.gate[row]);
  const R logit = target < s.vocab ? log_softmax<R>(real(in.logits.row(row)[target]), lse) : kMinusInf<R>;
  return {log_sigmoid(gate) + logit, log_sigmoid(-gate), static_cast<R>(mass)};
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_nll_loss(const PointerNllInputs<T> in, const Real<T>* lse, Real<T>* losses, CudaFault* faults) {
  const int64_t row = own_row();
  if (row >= in.sizes.rows) return;
  const int64_t target = in.targets[row];
  Real<T> loss = 0;
  if (target != in.ignore_index && target < 0) {
    if (lane_id() == 0) report(faults, kPointerNllBadTarget, row, target, in.ignore_index);
    loss = NAN;
  } else if (target != in.ignore_index) {
    const auto mine = target_of(in, row, lse[row]);
    loss = -log_mix(mine.generated, mine.log_copy, mine.mass);
  }
  if (lane_id() == 0) losses[row] = loss;
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads, 6)
    pointer_nll_weigh(const PointerNllInputs<T> in, const Real<T>* lse, const Real<T>* grad,
                      const PointerGradients<T> out, Real<T>* factors) {
  using R = Real<T>;
  const PointerSizes& s = in.sizes;
  const int64_t row = own_row();
  if (row >= s.rows) return;
  const int64_t target = in.targets[row];
  const R by_log_prob = -grad[row];
  R factor = 0, gate = 0, weight = 0;
  if (target >= 0 && target != in.ignore_index && by_log_prob != 0) {
    const auto mine = target_of(in, row, lse[row]);
    const PointerShares<R> shares = shares_of(mine.generated, mine.log_copy, mine.mass);
    gate = gate_gradient<R>(real(in.gate[row]), by_log_prob * shares.generated, by_log_prob * shares.copied);
    weight = saturated<T>(by_log_prob * shares.slope);
    factor = -by_log_prob * shares.generated;
  }
  const int64_t* ids = in.ids.row(s.source_of(row));
  for (int64_t t = lane_id(); t < s.positions; t += kWarp)
    narrow(ids[t] == target ? weight : R(0), out.weights[row * s.positions + t]);
  if (lane_id() == 0) {
    narrow(gate, out.gate[row]);
    factors[row] = factor;
  }
}

// `target` within the tile; anything without kHere.
template <class T, bool kHere>
__device__ __forceinline__ void spread_tile(const T* logits, int64_t columns, Real<T> lse, Real<T> factor, int target,
                                            Real<T> (&x)[kGroup]) {
  const ScaledSoftmax<Real<T>> softmax(lse, factor);
  load_group(logits, columns, x);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    x[i] = softmax(x[i]);
    if (kHere && column_in_tile<T>(i) == target) x[i] -= factor;
  }
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_nll_spread(const PointerNllInputs<T> in, const Real<T>* lse, const Real<T>* factors, T* out) {
  using R = Real<T>;
  const int64_t row = blockIdx.x, first = own_tile() * kTile, columns = in.sizes.vocab - first;
  if (columns <= 0) return;
  const R factor = factors[row], log_sum = lse[row];
  const int64_t target = in.targets[row] - first;
  const T* logits = in.logits.row(row) + first;
  R x[kGroup];
  if (factor == 0 || log_sum == -INFINITY) {  // a row that does not count is not looked at
#pragma unroll
    for (int i = 0; i < kGroup; ++i) x[i] = 0;
  } else if (target >= 0 && target < kTile) {
    spread_tile<T, true>(logits, columns, log_sum, factor, static_cast<int>(target), x);
  } else {
    spread_tile<T, false>(logits, columns, log_sum, factor, 0, x);
  }
  store_group<T>(out + row * in.sizes.vocab + first, columns, x);
}

}  // namespace cuda

template <class T>
int pointer_nll_cuda(const PointerNllInputs<T>& in, Real<T>* losses, Real<T>* lse, void* workspace, CudaFault* faults,
                     CudaTarget target) {
  if (in.sizes.rows == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = pointer_scan_cuda<T>(in, lse, workspace, target)) return error;
  cuda::pointer_nll_loss<T>
      <<<cuda::grid_of_rows(in.sizes.rows), cuda::kPointerThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(
          in, lse, losses, faults);
  return cudaGetLastError();
}

template <class T>
int pointer_nll_backward_cuda(const PointerNllInputs<T>& in, const Real<T>* lse, const Real<T>* grad,
                              const PointerGradients<T>& out, Real<T>* factors, CudaTarget target) {
  const PointerSizes& s = in.sizes;
  if (s.rows == 0) return cudaSuccess;
  if (const int error = cuda_set_device(target.device)) return error;
  const auto stream = static_cast<cudaStream_t>(target.stream);
  cuda::pointer_nll_weigh<T>
      <<<cuda::grid_of_rows(s.rows), cuda::kPointerThreads, 0, stream>>>(in, lse, grad, out, factors);
  if (s.vocab)
    cuda::pointer_nll_spread<T>
        <<<cuda::grid_of_tiles(s.rows, s.vocab), cuda::kPointerThreads, 0, stream>>>(in, lse, factors, out.logits);
  return cudaGetLastError();
}

#define S2SFAST_POINTER_NLL(T)                                                                                  \
  template int pointer_nll_cuda(const PointerNllInputs<T>&, Real<T>*, Real<T>*, void*, CudaFault*, CudaTarget); \
  template int pointer_nll_backward_cuda(const PointerNllInputs<T>&, const Real<T>*, const Real<T>*,            \
                                         const PointerGradients<T>&, Real<T>*, CudaTarget);

S2SFAST_POINTER_NLL(float)
S2SFAST_POINTER_NLL(double)
S2SFAST_POINTER_NLL(BFloat16)
S2SFAST_POINTER_NLL(Half)

}  // namespace s2sfast
