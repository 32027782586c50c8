// The few calls of the CUDA runtime that are not launches.
#include <cuda_runtime.h>

#include <array>
#include <map>
#include <mutex>

#include "common/cuda/fault.h"

namespace s2sfast {
namespace {

// A graph may be being captured on this thread, where allocating is forbidden because it may wait for the device; this
// allocation belongs to no graph, and the relaxed mode says so.
class OutsideCapture {
 public:
  OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

CudaFault* cuda_fault_slots(int device, int count) {
  static std::mutex mutex;
  static std::map<int, CudaFault*> slots;  // never freed: kernels may still run when the process ends
  const std::lock_guard lock(mutex);
  CudaFault*& mine = slots[device];
  if (mine) return mine;
  const OutsideCapture outside;
  void* memory = nullptr;
  if (cudaSetDevice(device) != cudaSuccess ||
      cudaHostAlloc(&memory, count * sizeof(CudaFault), cudaHostAllocMapped | cudaHostAllocPortable) != cudaSuccess)
    return nullptr;
  mine = static_cast<CudaFault*>(memory);
  for (int i = 0; i < count; ++i) mine[i] = {};
  return mine;
}

const char* cuda_error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace s2sfast
