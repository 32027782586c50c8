// Location addressing on the device: a block of threads for a head.
#include "common/cuda/launch.cuh"
#include "location_address/locate.cuh"

namespace s2sfast {
namespace cuda {

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    location_weigh_heads(const __grid_constant__ LocationWeights<R> stage, const __grid_constant__ ShiftTaps taps) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  locate(stage, taps, blockIdx.x / stage.in.heads, blockIdx.x % stage.in.heads, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    location_backward_heads(const __grid_constant__ LocationBackward<R> stage, const __grid_constant__ ShiftTaps taps) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  locate_backward(stage, taps, blockIdx.x / stage.in.heads, blockIdx.x % stage.in.heads, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads)
    location_check(const Rows<const R> sharpen, int64_t heads, int64_t count, int what, CudaFault* faults) {
  const int64_t i = int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (i >= count) return;
  if (faults) report_sharpen(*sharpen.row(i / heads, i % heads), i / heads, i % heads, what, faults);
}

}  // namespace cuda

template <class R>
int location_weights_cuda(const LocationWeights<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::location_weigh_heads<R>, stage.in.sentences * stage.in.heads, 1, cuda::kBlockThreads,
                      target, stage, cuda::ShiftTaps(stage.in));
}

template <class R>
int location_backward_cuda(const LocationBackward<R>& stage, CudaTarget target) {
  return cuda::launch(cuda::location_backward_heads<R>, stage.in.sentences * stage.in.heads, 1, cuda::kBlockThreads,
                      target, stage, cuda::ShiftTaps(stage.in));
}

template <class R>
int location_check_cuda(const Rows<const R>& sharpen, int64_t sentences, int64_t heads, int what, CudaFault* faults,
                        CudaTarget target) {
  return cuda::launch(cuda::location_check<R>, sentences * heads, cuda::kBlockThreads, cuda::kBlockThreads, target,
                      sharpen, heads, sentences * heads, what, faults);
}

template int location_weights_cuda(const LocationWeights<float>&, CudaTarget);
template int location_weights_cuda(const LocationWeights<double>&, CudaTarget);
template int location_backward_cuda(const LocationBackward<float>&, CudaTarget);
template int location_backward_cuda(const LocationBackward<double>&, CudaTarget);
template int location_check_cuda(const Rows<const float>&, int64_t, int64_t, int, CudaFault*, CudaTarget);
template int location_check_cuda(const Rows<const double>&, int64_t, int64_t, int, CudaFault*, CudaTarget);

}  // namespace s2sfast
