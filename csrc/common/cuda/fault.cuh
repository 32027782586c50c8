#pragma once
// The device's side of fault.h.
#include "common/cuda/fault.h"

namespace s2sfast::cuda {

// Of all faults, in any block, the first to come is kept.
template <class... Details>
__device__ __forceinline__ void report(CudaFault* fault, int what, Details... details) {
  if (atomicCAS_system(&fault->state, CudaFault::empty, CudaFault::writing) != CudaFault::empty) return;
  fault->what = what;
  int64_t* next = fault->details;
  ((*next++ = details), ...);
  __threadfence_system();  // the host must not see the state before the rest
  atomicExch_system(&fault->state, CudaFault::complete);
}

}  // namespace s2sfast::cuda
