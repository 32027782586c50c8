#pragma once
// What a kernel found in its data that has no place there. The host cannot be told while a kernel runs, so the first
// fault waits in memory that both sides see, until the host looks: at the next call of the op, at
// s2sfast.synchronize(), or where a search waits for the device anyway.
#include <cstdint>

namespace s2sfast {

struct CudaTarget {
  int device;
  void* stream;  // cudaStream_t
};

struct CudaFault {
  enum State : int { empty, writing, complete };
  int state;           // of the first fault; later ones are dropped
  int what;            // the op's own number of it
  int64_t details[5];  // the op's own
};

// `count` of them for each device, in mapped host memory; made at the first call, also while a graph is captured.
// Returns a cudaError_t.
int cuda_fault_slots(int device, int count, CudaFault** slots);

// The runtime in this library has a current device of its own, beside torch's. Returns a cudaError_t.
int cuda_set_device(int device);

// Text of a cudaError_t.
const char* cuda_error_text(int error);

}  // namespace s2sfast
