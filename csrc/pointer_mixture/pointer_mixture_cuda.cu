// pointer_mixture on the device. Forward: links, log-sum-exps, all log-probabilities as if nothing was copied, then a
// thread for each position of each row puts right the id that it is the first of. Backward likewise, after the sums.
#include <cuda_runtime.h>

#include "common/cuda/fault.cuh"
#include "pointer_mixture/pointer.cuh"
#include "pointer_mixture/pointer_mixture.h"

namespace s2sfast {
namespace cuda {

// The neighbours of a thread look at the same ids, or at those beside them: T looks each, from the cache.
__global__ void __launch_bounds__(kPointerThreads)
    pointer_links(const PointerRows<const int64_t> all_ids, int64_t positions, int64_t extended, int32_t* links,
                  CudaFault* faults) {
  const int64_t source = blockIdx.x, t = own_position();
  if (t >= positions) return;
  const int64_t* ids = all_ids.row(source);
  const int64_t id = ids[t];
  int32_t link = kPointerIgnored;
  if (id >= extended) {
    report(faults, kPointerMixtureBadId, source, t, id, extended);
  } else if (id >= 0) {
    bool first = true;
    int64_t next = 0;
#pragma unroll 4
    for (int64_t u = 0; u < t; ++u) first &= ids[u] != id;
#pragma unroll 4
    for (int64_t u = positions - 1; u > t; --u)
      if (ids[u] == id) next = u;
    link = static_cast<int32_t>(first ? next : ~next);
  }
  links[source * positions + t] = link;
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_mixture_generate(const PointerMixtureInputs<T> in, const Real<T>* lse, Real<T>* log_probs) {
  using R = Real<T>;
  const int64_t row = blockIdx.x, first = own_tile() * kTile, columns = in.extended - first;
  if (columns <= 0) return;
  // A row of -inf stays one, whatever is added.
  const R offset = lse[row] == -INFINITY ? R(0) : log_sigmoid<R>(real(in.gate[row])) - lse[row];
  R x[kGroup];
  const int words = static_cast<int>(max(min(in.sizes.vocab - first, int64_t{kTile}), int64_t{0}));
  load_group(in.logits.row(row) + first, words, x);
#pragma unroll
  for (int i = 0; i < kGroup; ++i) x[i] = column_in_tile<T>(i) < words ? x[i] + offset : R(-INFINITY);
  store_group<T>(log_probs + row * in.extended + first, columns, x);
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_mixture_copy(const PointerMixtureInputs<T> in, const Real<T>* lse, Real<T>* log_probs) {
  const int64_t row = blockIdx.x, t = own_position();
  if (t >= in.sizes.positions) return;
  const PointerMixtureRow<T> mine(in, row, lse[row]);
  if (is_first(mine.links[t])) log_probs[row * in.extended + mine.ids[t]] = mine.log_prob(t);
}

// Logits, and what is given for their log-probabilities; either all by 16 bytes or none.
template <class T>
__device__ __forceinline__ void load_both(const PointerMixtureInputs<T>& in, const PointerRows<const Real<T>>& given,
                                          int64_t row, int64_t first, Real<T> (&x)[kGroup], Real<T> (&u)[kGroup]) {
  const T* logits = in.logits.row(row) + first;
  const Real<T>* mine = given.row(row) + first;
  const int64_t columns = in.sizes.vocab - first;
  if (is_wide(columns, logits, mine)) {
    load_wide<T>(logits, x);
    load_wide<T>(mine, u);
  } else {
    load_single<T>(logits, columns, x);
    load_single<T>(mine, columns, u);
  }
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_mixture_sum(const PointerMixtureInputs<T> in, const PointerRows<const Real<T>> given, int64_t tiles,
                        double* partials) {
  using R = Real<T>;
  const int64_t row = blockIdx.x, tile = own_tile(), first = tile * kTile;
  if (tile >= tiles) return;
  R x[kGroup], u[kGroup];
  load_both(in, given, row, first, x, u);
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kGroup; ++i)
    if (x[i] > -INFINITY) sum += static_cast<double>(u[i]);
  sum = warp_sum(sum);
  if (lane_id() == 0) partials[row * tiles + tile] = sum;
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads, 6)
    pointer_mixture_weigh(const PointerMixtureInputs<T> in, const PointerMixtureGradient<T> grad, int64_t tiles,
                          const double* partials, Real<T>* sums) {
  using R = Real<T>;
  const PointerSizes& s = in.sizes;
  const int64_t row = own_row();
  if (row >= s.rows) return;
  const PointerMixtureRow<T> mine(in, row, grad.lse[row]);
  const R* given = grad.log_probs.row(row);
  T* weights = grad.out.weights + row * s.positions;
  double generated = 0, copied = 0;
  if (mine.log_generate != -INFINITY)
    for (int64_t tile = lane_id(); tile < tiles; tile += kWarp) generated += partials[row * tiles + tile];
  for (int64_t t = lane_id(); t < s.positions; t += kWarp) {
    if (!is_first(mine.links[t])) {
      if (mine.ids[t] < 0 || mine.ids[t] >= in.extended) weights[t] = {};
      continue;
    }
    const PointerMixtureWeight<T> found(mine, t, given[mine.ids[t]]);
    T weight;
    narrow(found.weight, weight);
    copied += found.copied, generated += found.generated;
    each_linked(mine.links, t, [&](int64_t same) { weights[same] = weight; });
  }
  generated = warp_sum(generated);
  copied = warp_sum(copied);
  if (lane_id() != 0) return;
  narrow(gate_gradient(mine.gate, static_cast<R>(generated), static_cast<R>(copied)), grad.out.gate[row]);
  sums[row] = static_cast<R>(generated);
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_mixture_spread(const PointerMixtureInputs<T> in, const PointerMixtureGradient<T> grad,
                           const Real<T>* sums) {
  using R = Real<T>;
  const int64_t row = blockIdx.x, first = own_tile() * kTile, columns = in.sizes.vocab - first;
  if (columns <= 0) return;
  R x[kGroup];
  if (grad.lse[row] == -INFINITY || log_sigmoid<R>(real(in.gate[row])) == -INFINITY) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) x[i] = 0;
  } else {
    const ScaledSoftmax<R> softmax(grad.lse[row], sums[row]);
    R u[kGroup];
    load_both(in, grad.log_probs, row, first, x, u);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) x[i] = (x[i] == -INFINITY ? R(0) : u[i]) - softmax(x[i]);
  }
  store_group<T>(grad.out.logits + row * in.sizes.vocab + first, columns, x);
}

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_mixture_correct(const PointerMixtureInputs<T> in, const PointerMixtureGradient<T> grad,
                            const Real<T>* sums) {
  const int64_t row = blockIdx.x, t = own_position();
  if (t >= in.sizes.positions) return;
  const PointerMixtureRow<T> mine(in, row, grad.lse[row]);
  const int64_t id = mine.ids[t];
  if (is_first(mine.links[t]) && id < in.sizes.vocab)
    narrow(mine.logit_gradient(t, grad.log_probs.row(row)[id], sums[row]), grad.out.logits[row * in.sizes.vocab + id]);
}

}  // namespace cuda

int pointer_links_cuda(const PointerSizes& s, PointerRows<const int64_t> ids, int64_t extended, int32_t* links,
                       CudaFault* faults, CudaTarget target) {
  if (s.sources * s.positions == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  cuda::pointer_links<<<cuda::grid_of_positions(s.sources, s.positions), cuda::kPointerThreads, 0,
                        static_cast<cudaStream_t>(target.stream)>>>(ids, s.positions, extended, links, faults);
  return cudaGetLastError();
}

template <class T>
int pointer_mixture_cuda(const PointerMixtureInputs<T>& in, Real<T>* log_probs, Real<T>* lse, void* workspace,
                         CudaTarget target) {
  const PointerSizes& s = in.sizes;
  if (s.rows == 0) return cudaSuccess;
  if (const int error = pointer_scan_cuda<T>(in, lse, workspace, target)) return error;
  const auto stream = static_cast<cudaStream_t>(target.stream);
  if (in.extended)
    cuda::pointer_mixture_generate<T>
        <<<cuda::grid_of_tiles(s.rows, in.extended), cuda::kPointerThreads, 0, stream>>>(in, lse, log_probs);
  if (s.positions)
    cuda::pointer_mixture_copy<T>
        <<<cuda::grid_of_positions(s.rows, s.positions), cuda::kPointerThreads, 0, stream>>>(in, lse, log_probs);
  return cudaGetLastError();
}

template <class T>
int pointer_mixture_backward_cuda(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad,
                                  void* workspace, Real<T>* sums, CudaTarget target) {
  const PointerSizes& s = in.sizes;
  if (s.rows == 0) return cudaSuccess;
  if (const int error = cuda_set_device(target.device)) return error;
  const auto stream = static_cast<cudaStream_t>(target.stream);
  const int64_t tiles = cuda::tiles_of(s.vocab);
  const dim3 by_tiles = cuda::grid_of_tiles(s.rows, s.vocab);
  auto* partials = static_cast<double*>(workspace);
  if (tiles)
    cuda::pointer_mixture_sum<T><<<by_tiles, cuda::kPointerThreads, 0, stream>>>(in, grad.log_probs, tiles, partials);
  cuda::pointer_mixture_weigh<T>
      <<<cuda::grid_of_rows(s.rows), cuda::kPointerThreads, 0, stream>>>(in, grad, tiles, partials, sums);
  if (tiles) cuda::pointer_mixture_spread<T><<<by_tiles, cuda::kPointerThreads, 0, stream>>>(in, grad, sums);
  if (tiles && s.positions)
    cuda::pointer_mixture_correct<T>
        <<<cuda::grid_of_positions(s.rows, s.positions), cuda::kPointerThreads, 0, stream>>>(in, grad, sums);
  return cudaGetLastError();
}

#define S2SFAST_POINTER_MIXTURE(T)                                                                                    \
  template int pointer_mixture_cuda(const PointerMixtureInputs<T>&, Real<T>*, Real<T>*, void*, CudaTarget);           \
  template int pointer_mixture_backward_cuda(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, void*, \
                                             Real<T>*, CudaTarget);

S2SFAST_POINTER_MIXTURE(float)
S2SFAST_POINTER_MIXTURE(double)
S2SFAST_POINTER_MIXTURE(BFloat16)
S2SFAST_POINTER_MIXTURE(Half)

}  // namespace s2sfast
