#pragma once
// Which device a call is for, and the stream it has to work on. The tests put another file of this name in front, to
// run the same ops on a device that exists only in software (tests/ptx).
#include <torch/csrc/stable/accelerator.h>

#include "common/cuda/fault.h"
#include "common/torch.h"

namespace s2sfast {

inline bool on_cuda(const Tensor& t) { return t.is_cuda(); }

// Makes the tensor's device the current one while it lives.
class CudaCall {
 public:
  explicit CudaCall(const Tensor& like) : guard_(like.get_device_index()) {
    target_.device = like.get_device_index();
    target_.stream = torch::stable::accelerator::getCurrentStream(target_.device).nativeHandle();
  }
  CudaTarget target() const { return target_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  CudaTarget target_;
};

}  // namespace s2sfast
