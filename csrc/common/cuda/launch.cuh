#pragma once
// Launches of kernels that do some things a block.
#include <cuda_runtime.h>

#include "common/cuda/fault.h"

namespace s2sfast::cuda {

// Of a kernel for `count` things, `per_block` of them in a block.
template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), int64_t count, int per_block, int threads, CudaTarget target,
           const Arguments&... arguments) {
  if (count == 0) return cudaSuccess;
  if (const int error = cuda_set_device(target.device)) return error;
  kernel<<<static_cast<unsigned>((count + per_block - 1) / per_block), threads, 0,
           static_cast<cudaStream_t>(target.stream)>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace s2sfast::cuda
