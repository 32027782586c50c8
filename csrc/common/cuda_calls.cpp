#include "common/cuda_calls.h"

#include <atomic>
#include <mutex>
#include <vector>

namespace s2sfast {
namespace {

constexpr int kOps = static_cast<int>(CudaOp::count);

using Raise = void (*)(const CudaFault&);
Raise& raise_of(int op) {
  static Raise all[kOps] = {};
  return all[op];
}

std::mutex mutex;
std::vector<CudaFault*>& known_slots() {  // of each device that has been used, kOps in a row
  static std::vector<CudaFault*> slots;
  return slots;
}

}  // namespace

void check_built_with_cuda(const char* op) {
  check(kBuiltWithCuda, op,
        ": built without CUDA: install nvcc (a CUDA toolkit, or the extra [nvcc]) and build again with S2SFAST_CUDA=1; "
        "got tensors on a CUDA device");
}

void check_launch(const char* op, int error) {
  if constexpr (kBuiltWithCuda)
    if (error != 0) throw std::runtime_error(std::string(op) + ": CUDA error: " + cuda_error_text(error));
}

bool describe_faults(CudaOp op, Raise raise) {
  raise_of(static_cast<int>(op)) = raise;
  return true;
}

CudaFault* fault_slot(const char* op_name, CudaOp op, int device) {
  if constexpr (kBuiltWithCuda) {
    CudaFault* slots = cuda_fault_slots(device, kOps);
    if (!slots) throw std::runtime_error(std::string(op_name) + ": no host memory that the device can write to");
    {
      const std::lock_guard lock(mutex);
      auto& known = known_slots();
      if (std::find(known.begin(), known.end(), slots) == known.end()) known.push_back(slots);
    }
    raise_faults();
    return slots + static_cast<int>(op);
  }
  return nullptr;
}

void raise_faults() {
  const std::lock_guard lock(mutex);
  for (CudaFault* slots : known_slots())
    for (int op = 0; op < kOps; ++op) {
      std::atomic_ref state(slots[op].state);
      if (state.load(std::memory_order_acquire) != CudaFault::complete) continue;
      const CudaFault fault = slots[op];
      state.store(CudaFault::empty, std::memory_order_release);
      raise_of(op)(fault);
    }
}

}  // namespace s2sfast
