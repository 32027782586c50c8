#pragma once
// What every *_op.cpp needs to call its CUDA kernels.
#include "common/device.h"
#include "common/torch.h"

namespace s2sfast {

#ifdef S2SFAST_CUDA
inline constexpr bool kBuiltWithCuda = true;
#else
inline constexpr bool kBuiltWithCuda = false;
#endif

void check_built_with_cuda(const char* op);
void check_launch(const char* op, int error);

// --- faults in the data, which the device finds when the call has long returned ---------------------

enum class CudaOp { beam_topk, backtrace, attention, pointer_mixture, pointer_nll, location_address, count };

inline constexpr const char kFoundLate[] = " (found on the device by an earlier call)";

// `raise` throws what a fault of the op means. For a constant's initializer: true.
bool describe_faults(CudaOp op, void (*raise)(const CudaFault&));

// Where the op's kernels leave a fault. Raises what they and others have left there before.
CudaFault* fault_slot(const char* op_name, CudaOp op, int device);

// Raises a fault that has arrived from any device, whoever's call it was; does not wait for one.
void raise_faults();

}  // namespace s2sfast
