#pragma once
// Stands in for csrc/common/device.h: every tensor of this machine, on the CPU though it is, is taken for one of a CUDA
// device that exists only in software (tests/ptx). So the ops themselves, their checks and their launches run
// unchanged.
#include "common/cuda/fault.h"
#include "common/torch.h"

namespace s2sfast {

inline bool on_cuda(const Tensor&) { return true; }

class CudaCall {
 public:
  explicit CudaCall(const Tensor&) {}
  CudaTarget target() const { return {0, nullptr}; }
};

}  // namespace s2sfast
