// Content addressing on the device: a block of threads for a piece of a sentence's memory, or for a head.
#include "common/cuda/launch.cuh"
#include "content_address/content.cuh"

namespace s2sfast {
namespace cuda {

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 2)
    content_match_pieces(const __grid_constant__ ContentMatch<R> stage, int pieces) {
  const int block = static_cast<int>(blockIdx.x);
  match_content(stage, block / pieces, slots_of(stage.in.sizes, block % pieces));
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads) content_weigh_heads(const __grid_constant__ ContentWeights<R> stage) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  weigh_content(stage, blockIdx.x / stage.in.heads, blockIdx.x % stage.in.heads, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    content_backward_heads(const __grid_constant__ ContentBackward<R> stage) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  weigh_content_backward(stage, blockIdx.x / stage.in.heads, blockIdx.x % stage.in.heads, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    content_spread_pieces(const __grid_constant__ ContentSpread<R> stage, int64_t pieces) {
  __shared__ ContentShared<R> shared;
  const Rows<const R> none;
  spread_piece(
      {stage.in, stage.memory, stage.norms, stage.cosines, stage.a, 0, none, none, stage.dmemory, stage.key_parts},
      none, blockIdx.x / pieces, blockIdx.x % pieces, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads) content_join_pieces(const __grid_constant__ ContentJoin<R> stage) {
  const int64_t per_sentence = stage.in.heads * stage.key.width;
  const int64_t i = int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (i >= stage.in.sizes.sentences * per_sentence) return;
  const int64_t b = i / per_sentence, head = i % per_sentence / stage.key.width, m = i % stage.key.width;
  stage.key.row(b, head)[m] = join_key(stage.in, stage.key_parts, stage.key_pull, b, head, m);
}

}  // namespace cuda

template <class R>
int content_match_cuda(const ContentMatch<R>& stage, CudaTarget target) {
  const int64_t pieces = stage.in.heads ? slot_pieces(stage.in.sizes) : 0;  // nobody asks
  return cuda::launch(cuda::content_match_pieces<R>, stage.in.sizes.sentences * pieces, 1, cuda::kBlockThreads, target,
                      stage, static_cast<int>(pieces));
}

template <class R>
int content_weights_cuda(const ContentWeights<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::content_weigh_heads<R>, stage.in.sizes.sentences * stage.in.heads, 1, cuda::kBlockThreads,
                      target, stage);
}

template <class R>
int content_backward_cuda(const ContentBackward<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::content_backward_heads<R>, stage.in.sizes.sentences * stage.in.heads, 1,
                      cuda::kBlockThreads, target, stage);
}

template <class R>
int content_spread_cuda(const ContentSpread<R>& stage, CudaTarget target) {
  const int64_t pieces = slot_pieces(stage.in.sizes);
  return cuda::launch(cuda::content_spread_pieces<R>, stage.in.sizes.sentences * pieces, 1, cuda::kBlockThreads, target,
                      stage, pieces);
}

template <class R>
int content_join_cuda(const ContentJoin<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::content_join_pieces<R>, stage.in.sizes.sentences * stage.in.heads * stage.key.width,
                      cuda::kBlockThreads, cuda::kBlockThreads, target, stage);
}

template int content_match_cuda(const ContentMatch<float>&, CudaTarget);
template int content_match_cuda(const ContentMatch<double>&, CudaTarget);
template int content_weights_cuda(const ContentWeights<float>&, CudaTarget);
template int content_weights_cuda(const ContentWeights<double>&, CudaTarget);
template int content_backward_cuda(const ContentBackward<float>&, CudaTarget);
template int content_backward_cuda(const ContentBackward<double>&, CudaTarget);
template int content_spread_cuda(const ContentSpread<float>&, CudaTarget);
template int content_spread_cuda(const ContentSpread<double>&, CudaTarget);
template int content_join_cuda(const ContentJoin<float>&, CudaTarget);
template int content_join_cuda(const ContentJoin<double>&, CudaTarget);

}  // namespace s2sfast
