// Writing on the device: a block of threads for a piece of a sentence's memory.
#include "common/cuda/launch.cuh"
#include "memory_write/write.cuh"

namespace s2sfast {
namespace cuda {

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    memory_write_pieces(const __grid_constant__ MemoryWrite<R> stage, int64_t pieces) {
  write_piece(stage, blockIdx.x / pieces, slots_of(stage.in.sizes, blockIdx.x % pieces));
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    memory_write_backward_pieces(const __grid_constant__ MemoryWriteBackward<R> stage, int64_t pieces) {
  __shared__ ColumnSums<R> shared;
  write_piece_backward(stage, blockIdx.x / pieces, blockIdx.x % pieces, shared);
}

}  // namespace cuda

template <class R>
int memory_write_cuda(const MemoryWrite<R>& stage, CudaTarget target) {
  const int64_t pieces = slot_pieces(stage.in.sizes);
  return cuda::launch(cuda::memory_write_pieces<R>, stage.in.sizes.sentences * pieces, 1, cuda::kBlockThreads, target,
                      stage, pieces);
}

template <class R>
int memory_write_backward_cuda(const MemoryWriteBackward<R>& stage, CudaTarget target) {
  const int64_t pieces = slot_pieces(stage.in.sizes);
  return cuda::launch(cuda::memory_write_backward_pieces<R>, stage.in.sizes.sentences * pieces, 1, cuda::kBlockThreads,
                      target, stage, pieces);
}

template int memory_write_cuda(const MemoryWrite<float>&, CudaTarget);
template int memory_write_cuda(const MemoryWrite<double>&, CudaTarget);
template int memory_write_backward_cuda(const MemoryWriteBackward<float>&, CudaTarget);
template int memory_write_backward_cuda(const MemoryWriteBackward<double>&, CudaTarget);

}  // namespace s2sfast
