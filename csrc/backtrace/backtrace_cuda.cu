// backtrace on the device: a block per sentence and 128 hypotheses. Steps depend on each other, so what counts is how
// long one takes: the parents of many steps are first copied to shared memory, where a step costs some 30 cycles
// instead of the several hundred of a trip to global memory. The tokens are off that chain.
#include <cuda_runtime.h>

#include "backtrace/backtrace.h"
#include "common/cuda/fault.cuh"

namespace s2sfast {
namespace cuda {

constexpr int kBacktraceThreads = 128;
constexpr int kStagedParents = 4096;  // of 8 bytes: 32 KB of shared memory

// One hypothesis on its way back.
class BacktraceWalk {
 public:
  __device__ __forceinline__ BacktraceWalk(const BacktraceInputs& in, int64_t sentence, int64_t hypothesis,
                                           CudaFault* faults)
      : in_(in), sentence_(sentence), hypothesis_(hypothesis), faults_(faults) {
    const int64_t row = sentence * in.sizes.hypotheses + hypothesis;
    slot_ = in.ends[row];
    steps_ = in.steps ? in.steps[row] : in.sizes.length;
    if (steps_ < 0 || steps_ > in.sizes.length) fail(-1, steps_);
  }

  // `parents` holds those of this step, one for each beam.
  __device__ __forceinline__ int64_t token(int64_t step, const int64_t* parents) {
    if (step >= steps_) return -1;
    if (slot_ < 0 || slot_ >= in_.sizes.beams) {
      fail(step, slot_);
      return -1;
    }
    const int64_t token = in_.tokens[(step * in_.sizes.sentences + sentence_) * in_.sizes.beams + slot_];
    slot_ = parents[slot_];
    return token;
  }

 private:
  __device__ __forceinline__ void fail(int64_t step, int64_t got) {
    const bool bad_steps = step < 0;
    report(faults_, bad_steps ? kBacktraceBadSteps : kBacktraceBadSlot, sentence_, hypothesis_, step, got,
           bad_steps ? in_.sizes.length : in_.sizes.beams);
    steps_ = 0;  // nothing more is followed
  }

  const BacktraceInputs& in_;
  const int64_t sentence_, hypothesis_;
  CudaFault* const faults_;
  int64_t slot_, steps_;
};

__global__ void __launch_bounds__(kBacktraceThreads)
    backtrace_kernel(const BacktraceInputs in, int64_t* __restrict__ out, CudaFault* faults) {
  __shared__ int64_t staged[kStagedParents];
  const BacktraceSizes& s = in.sizes;
  const int64_t sentence = blockIdx.x, hypothesis = int64_t{blockIdx.y} * kBacktraceThreads + threadIdx.x;
  const bool present = hypothesis < s.hypotheses;
  BacktraceWalk walk(in, sentence, present ? hypothesis : 0, faults);
  int64_t* line = out + (sentence * s.hypotheses + hypothesis) * s.length;

  // Too many beams for the shared memory to hold those of one step: then they are read where they are.
  const int64_t chunk = s.beams <= kStagedParents ? kStagedParents / max(s.beams, int64_t{1}) : s.length;
  for (int64_t end = s.length; end > 0; end -= chunk) {
    const int64_t begin = max(end - chunk, int64_t{0});
    if (s.beams <= kStagedParents) {
      const uint32_t beams = static_cast<uint32_t>(s.beams), count = static_cast<uint32_t>(end - begin) * beams;
      __syncthreads();  // the chunk before is no longer read
      for (uint32_t i = threadIdx.x; i < count; i += kBacktraceThreads)
        staged[i] = in.parents[((begin + i / beams) * s.sentences + sentence) * s.beams + i % beams];
      __syncthreads();
    }
    if (!present) continue;
    for (int64_t step = end - 1; step >= begin; --step) {
      const int64_t* parents = s.beams <= kStagedParents ? staged + (step - begin) * s.beams
                                                         : in.parents + (step * s.sentences + sentence) * s.beams;
      line[step] = walk.token(step, parents);
    }
  }
}

}  // namespace cuda

int backtrace_cuda(const BacktraceInputs& in, int64_t* out, CudaFault* faults, CudaTarget target) {
  const BacktraceSizes& s = in.sizes;
  if (s.sentences * s.hypotheses * s.length == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const cudaError_t error = cudaSetDevice(target.device)) return error;
  const dim3 grid(static_cast<unsigned>(s.sentences),
                  static_cast<unsigned>((s.hypotheses + cuda::kBacktraceThreads - 1) / cuda::kBacktraceThreads));
  cuda::backtrace_kernel<<<grid, cuda::kBacktraceThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(in, out,
                                                                                                         faults);
  return cudaGetLastError();
}

}  // namespace s2sfast
