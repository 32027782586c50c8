// The stages of attention on the device, each for all sentences in one launch; nothing is allocated.
#include <cuda_runtime.h>

#include "attention/product.cuh"
#include "attention/softmax.cuh"
#include "common/cuda/launch.cuh"

namespace s2sfast {
namespace cuda {

constexpr int kElementThreads = 256;

template <class R>
__global__ void __launch_bounds__(kElementThreads) attention_keep_pairs(const AttentionKeep<R> stage) {
  const AttentionSizes& s = stage.sizes;
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= s.sentences * s.queries * s.positions) return;
  const int64_t t = i % s.positions, row = i / s.positions, q = row % s.queries, b = row / s.queries;
  stage.out[i] = attends(stage.mask, b, q, t, length_of(stage.mask, b, s.positions)) ? stage.in[i] : R(0);
}

template <class R>
__global__ void __launch_bounds__(kElementThreads) attention_join_parts(const AttentionJoin<R> stage) {
  constexpr int kInFlight = 4;
  const int64_t i = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (i >= stage.width) return;
  R sum = 0;
  for (int64_t first = 0; first < stage.count; first += kInFlight) {
    R x[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      x[j] = first + j < stage.count ? stage.parts[(first + j) * stage.width + i] : R(0);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      if (first + j < stage.count) sum += x[j];
  }
  stage.out[i] = sum;
}

__global__ void __launch_bounds__(kElementThreads)
    attention_check(const AttentionMask mask, const AttentionSizes sizes, int what, CudaFault* faults) {
  const int64_t b = int64_t{blockIdx.x} * kElementThreads + threadIdx.x;
  if (b < sizes.sentences) check_length(mask, b, sizes.positions, what, faults);
}

}  // namespace cuda

namespace {

template <class Product>
int multiply(const Product& product, CudaTarget target) {
  const int64_t blocks = product.stage.sizes.sentences * attention_blocks(product.rows(), cuda::kProductTile) *
                         attention_blocks(product.columns(), cuda::kProductTile);
  if (blocks == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  cuda::attention_product<<<static_cast<unsigned>(blocks), cuda::kProductThreads, 0,
                            static_cast<cudaStream_t>(target.stream)>>>(product);
  return cudaGetLastError();
}

template <class Stage>
int64_t rows_of(const Stage& stage) {
  return stage.sizes.positions ? stage.sizes.sentences * stage.sizes.queries : 0;
}

}  // namespace

template <class T>
int attention_dots_cuda(const AttentionDots<T>& stage, CudaTarget target) {
  return multiply(cuda::DotsProduct<T>{stage}, target);
}

template <class T>
int attention_sum_cuda(const AttentionSum<T>& stage, CudaTarget target) {
  if (stage.mask.one_for_all_queries()) return multiply(cuda::SumProduct<T, false>{stage}, target);
  return multiply(cuda::SumProduct<T, true>{stage}, target);
}

template <class R>
int attention_spread_cuda(const AttentionSpread<R>& stage, CudaTarget target) {
  if (stage.mask.one_for_all_queries()) return multiply(cuda::SpreadProduct<R, false>{stage}, target);
  return multiply(cuda::SpreadProduct<R, true>{stage}, target);
}

template <class R>
int attention_softmax_cuda(const AttentionSoftmax<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::attention_softmax_rows<R>, rows_of(stage), cuda::kSoftmaxRows, cuda::kSoftmaxThreads,
                      target, stage);
}

template <class R>
int attention_softmax_backward_cuda(const AttentionSoftmaxBackward<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::attention_softmax_backward_rows<R>, rows_of(stage), cuda::kSoftmaxRows,
                      cuda::kSoftmaxThreads, target, stage);
}

template <class R>
int attention_keep_cuda(const AttentionKeep<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::attention_keep_pairs<R>, rows_of(stage) * stage.sizes.positions, cuda::kElementThreads,
                      cuda::kElementThreads, target, stage);
}

template <class R>
int attention_join_cuda(const AttentionJoin<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::attention_join_parts<R>, stage.width, cuda::kElementThreads, cuda::kElementThreads, target,
                      stage);
}

int attention_check_cuda(const AttentionMask& mask, const AttentionSizes& sizes, int what, CudaFault* faults,
                         CudaTarget target) {
  return cuda::launch(cuda::attention_check, mask.lengths ? sizes.sentences : 0, cuda::kElementThreads,
                      cuda::kElementThreads, target, mask, sizes, what, faults);
}

template int attention_dots_cuda(const AttentionDots<float>&, CudaTarget);
template int attention_dots_cuda(const AttentionDots<double>&, CudaTarget);
template int attention_dots_cuda(const AttentionDots<BFloat16>&, CudaTarget);
template int attention_dots_cuda(const AttentionDots<Half>&, CudaTarget);
template int attention_sum_cuda(const AttentionSum<float>&, CudaTarget);
template int attention_sum_cuda(const AttentionSum<double>&, CudaTarget);
template int attention_sum_cuda(const AttentionSum<BFloat16>&, CudaTarget);
template int attention_sum_cuda(const AttentionSum<Half>&, CudaTarget);
template int attention_spread_cuda(const AttentionSpread<float>&, CudaTarget);
template int attention_spread_cuda(const AttentionSpread<double>&, CudaTarget);
template int attention_softmax_cuda(const AttentionSoftmax<float>&, CudaTarget);
template int attention_softmax_cuda(const AttentionSoftmax<double>&, CudaTarget);
template int attention_softmax_backward_cuda(const AttentionSoftmaxBackward<float>&, CudaTarget);
template int attention_softmax_backward_cuda(const AttentionSoftmaxBackward<double>&, CudaTarget);
template int attention_keep_cuda(const AttentionKeep<float>&, CudaTarget);
template int attention_keep_cuda(const AttentionKeep<double>&, CudaTarget);
template int attention_join_cuda(const AttentionJoin<float>&, CudaTarget);
template int attention_join_cuda(const AttentionJoin<double>&, CudaTarget);

}  // namespace s2sfast
