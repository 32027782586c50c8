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

// An error that the caller hears of must not be taken for that of the next launch.
int reported(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error;
}

}  // namespace

int cuda_set_device(int device) { return reported(cudaSetDevice(device)); }

int cuda_fault_slots(int device, int count, CudaFault** slots) {
  static std::mutex mutex;
  static std::map<int, CudaFault*> known;  // never freed: kernels may still run when the process ends
  const std::lock_guard lock(mutex);
  CudaFault*& mine = known[device];
  if (!mine) {
    const OutsideCapture outside;
    void* memory = nullptr;
    if (const int error = cuda_set_device(device)) return error;
    constexpr unsigned flags = cudaHostAllocMapped | cudaHostAllocPortable;
    if (const int error = reported(cudaHostAlloc(&memory, count * sizeof(CudaFault), flags))) return error;
    mine = static_cast<CudaFault*>(memory);
    for (int i = 0; i < count; ++i) mine[i] = {};
  }
  *slots = mine;
  return cudaSuccess;
}

const char* cuda_error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace s2sfast
