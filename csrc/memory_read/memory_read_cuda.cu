// Reading on the device: a block of threads for a piece of a sentence's memory, then a thread for a number of the
// reads.
#include "common/cuda/launch.cuh"
#include "content_address/match.cuh"
#include "memory_read/memory_read.h"
#include "memory_read/read.cuh"

namespace s2sfast {
namespace cuda {

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    memory_read_pieces(const __grid_constant__ MemoryRead<R> stage, int64_t pieces) {
  __shared__ ColumnSums<R> shared;
  const int64_t b = blockIdx.x / pieces, piece = blockIdx.x % pieces;
  read_piece(stage.memory, b, slots_of(stage.sizes, piece), stage.weights, stage.heads, stage.parts,
             piece * stage.heads, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    memory_read_join_pieces(const __grid_constant__ MemoryReadJoin<R> stage) {
  const int64_t per_sentence = stage.heads * stage.reads.width;
  const int64_t i = int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (i >= stage.sizes.sentences * per_sentence) return;
  const int64_t b = i / per_sentence, head = i % per_sentence / stage.reads.width, m = i % stage.reads.width;
  stage.reads.row(b, head)[m] = join_parts(stage.parts, b, slot_pieces(stage.sizes), stage.heads, head, m);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    memory_read_backward_pieces(const __grid_constant__ MemoryReadBackward<R> stage, int64_t pieces) {
  const int64_t b = blockIdx.x / pieces;
  const SlotRange range = slots_of(stage.sizes, blockIdx.x % pieces);
  match_piece<false>(
      stage.memory, b, range, stage.gradient, stage.heads,
      [&](int64_t h, int64_t n, R dot) { stage.dweights.row(b, h)[n] = dot; }, [](int64_t, R) {});
  spread_reads(stage.dmemory, b, range, stage.weights, stage.gradient, stage.heads);
}

}  // namespace cuda

template <class R>
int memory_read_cuda(const MemoryRead<R>& stage, CudaTarget target) {
  const int64_t pieces = slot_pieces(stage.sizes);
  return cuda::launch(cuda::memory_read_pieces<R>, stage.sizes.sentences * pieces, 1, cuda::kBlockThreads, target,
                      stage, pieces);
}

template <class R>
int memory_read_join_cuda(const MemoryReadJoin<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::memory_read_join_pieces<R>, stage.sizes.sentences * stage.heads * stage.reads.width,
                      cuda::kBlockThreads, cuda::kBlockThreads, target, stage);
}

template <class R>
int memory_read_backward_cuda(const MemoryReadBackward<R>& stage, CudaTarget target) {
  const int64_t pieces = slot_pieces(stage.sizes);
  return cuda::launch(cuda::memory_read_backward_pieces<R>, stage.sizes.sentences * pieces, 1, cuda::kBlockThreads,
                      target, stage, pieces);
}

template int memory_read_cuda(const MemoryRead<float>&, CudaTarget);
template int memory_read_cuda(const MemoryRead<double>&, CudaTarget);
template int memory_read_join_cuda(const MemoryReadJoin<float>&, CudaTarget);
template int memory_read_join_cuda(const MemoryReadJoin<double>&, CudaTarget);
template int memory_read_backward_cuda(const MemoryReadBackward<float>&, CudaTarget);
template int memory_read_backward_cuda(const MemoryReadBackward<double>&, CudaTarget);

}  // namespace s2sfast
