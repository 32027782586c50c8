// Additive scores on the device. Forward one launch; backward one for what has columns, and one for the features.
// Nothing is added up by atomics; what the blocks leave in parts, the op joins in their order.
#include <cuda_runtime.h>

#include "additive_scores/additive_scores.h"
#include "additive_scores/columns.cuh"
#include "additive_scores/tiles.cuh"

namespace s2sfast {
namespace {

template <bool kFeatures, class T, class Result>
int launch_tiles(const AdditiveInputs<T>& in, const Result& result, CudaTarget target) {
  const auto& [B, Q, P] = in.sizes;
  const int64_t tiles = B * attention_blocks(Q, cuda::kTileQueries) * attention_blocks(P, cuda::kTilePositions);
  if (tiles == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(result.channel_groups()));
  cuda::additive_tiles<T, kFeatures>
      <<<grid, cuda::kTileThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(in, result);
  return cudaGetLastError();
}

template <class T>
int launch_columns(const AdditiveBackward<T>& stage, CudaTarget target) {
  const int64_t blocks = stage.in.sizes.sentences * attention_blocks(stage.in.width, cuda::kWarp);
  const int64_t channels = std::max<int64_t>(attention_blocks(stage.in.channels, cuda::kColumnChannels), 1);
  if (blocks == 0) return cudaSuccess;
  if (const int error = cuda_set_device(target.device)) return error;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(additive_splits(stage.in.sizes.positions)),
                  static_cast<unsigned>(channels));
  const auto stream = static_cast<cudaStream_t>(target.stream);
  if (stage.in.channels)
    cuda::additive_columns<T, true><<<grid, cuda::kColumnThreads, 0, stream>>>(stage);
  else
    cuda::additive_columns<T, false><<<grid, cuda::kColumnThreads, 0, stream>>>(stage);
  return cudaGetLastError();
}

}  // namespace

template <class T>
int additive_scores_cuda(const AdditiveScores<T>& stage, CudaTarget target) {
  const cuda::ScoreResult<T> result{stage};
  return stage.in.channels ? launch_tiles<true>(stage.in, result, target)
                           : launch_tiles<false>(stage.in, result, target);
}

template <class T>
int additive_scores_backward_cuda(const AdditiveBackward<T>& stage, CudaTarget target) {
  if (const int error = launch_columns(stage, target)) return error;
  return stage.in.channels ? launch_tiles<true>(stage.in, cuda::FeatureResult<T>{stage}, target) : cudaSuccess;
}

template int additive_scores_cuda(const AdditiveScores<float>&, CudaTarget);
template int additive_scores_cuda(const AdditiveScores<double>&, CudaTarget);
template int additive_scores_cuda(const AdditiveScores<BFloat16>&, CudaTarget);
template int additive_scores_cuda(const AdditiveScores<Half>&, CudaTarget);
template int additive_scores_backward_cuda(const AdditiveBackward<float>&, CudaTarget);
template int additive_scores_backward_cuda(const AdditiveBackward<double>&, CudaTarget);
template int additive_scores_backward_cuda(const AdditiveBackward<BFloat16>&, CudaTarget);
template int additive_scores_backward_cuda(const AdditiveBackward<Half>&, CudaTarget);

}  // namespace s2sfast
