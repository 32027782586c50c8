#include "common/cuda_calls.h"

#include <pthread.h>

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

// Where faults arrive, kOps places for each device that has been used.
class Slots {
 public:
  Slots() {
    // The memory is the parent's: a forked child must neither wait for it nor take faults out of it.
    pthread_atfork([] { mutex_.lock(); }, [] { mutex_.unlock(); }, [] { known_.clear(), mutex_.unlock(); });
  }

  void add(CudaFault* slots) {
    const std::lock_guard lock(mutex_);
    if (std::find(known_.begin(), known_.end(), slots) == known_.end()) known_.push_back(slots);
  }

  // Takes a complete fault out; false where there is none.
  bool take(CudaFault& fault, int& op) {
    const std::lock_guard lock(mutex_);
    for (CudaFault* slots : known_)
      for (op = 0; op < kOps; ++op) {
        std::atomic_ref state(slots[op].state);
        if (state.load(std::memory_order_acquire) != CudaFault::complete) continue;
        fault = slots[op];
        state.store(CudaFault::empty, std::memory_order_release);
        return true;
      }
    return false;
  }

 private:
  static inline std::mutex mutex_;
  static inline std::vector<CudaFault*> known_;
};

Slots& all_slots() {
  static Slots slots;
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
    CudaFault* slots = nullptr;
    check_launch(op_name, cuda_fault_slots(device, kOps, &slots));
    all_slots().add(slots);
    raise_faults();
    return slots + static_cast<int>(op);
  }
  return nullptr;
}

void raise_faults() {
  CudaFault fault;
  int op;
  if (all_slots().take(fault, op)) raise_of(op)(fault);
}

}  // namespace s2sfast
