// backtrace on the device: a block per sentence and 128 hypotheses. Steps depend on each other, so what counts is how
// long one takes: the parents of many steps are first copied to shared memory, where a step costs some 30 cycles
// instead of the several hundred of a trip to global memory. The walk leaves the slots in the output; then the whole
// block puts the tokens in their place, many at a time.
#include <cuda_runtime.h>

#include "backtrace/backtrace.h"
#include "common/cuda/fault.cuh"
#include "common/cuda/warp.cuh"

namespace s2sfast {
namespace cuda {

constexpr int kBacktraceThreads = 128;
constexpr int kInFlight = 4;          // loads of a thread
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

  // The slot of this step, -1 where there is none; `parents` holds those of the step, one for each beam.
  __device__ __forceinline__ int64_t slot(int64_t step, const int64_t* parents) {
    if (step >= steps_) return -1;
    const int64_t here = slot_;
    if (here < 0 || here >= in_.sizes.beams) {
      fail(step, here);
      return -1;
    }
    slot_ = parents[here];
    return here;
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

// The parents of steps [begin, end), step after step. The whole block calls.
__device__ __forceinline__ void stage(const BacktraceInputs& in, int64_t sentence, int64_t begin, int64_t end,
                                      int64_t* staged) {
  const BacktraceSizes& s = in.sizes;
  const uint32_t beams = static_cast<uint32_t>(s.beams), count = static_cast<uint32_t>(end - begin) * beams;
  for (uint32_t first = threadIdx.x; first < count; first += kInFlight * kBacktraceThreads) {
    int64_t parents[kInFlight];
#pragma unroll
    for (uint32_t j = 0; j < kInFlight; ++j) {
      const uint32_t i = min(first + j * kBacktraceThreads, count - 1);
      parents[j] = in.parents[((begin + i / beams) * s.sentences + sentence) * s.beams + i % beams];
    }
#pragma unroll
    for (uint32_t j = 0; j < kInFlight; ++j)
      if (first + j * kBacktraceThreads < count) staged[first + j * kBacktraceThreads] = parents[j];
  }
}

// Tokens instead of slots, for steps [begin, end) of one hypothesis. A warp calls.
__device__ __forceinline__ void fetch_tokens(const BacktraceInputs& in, int64_t sentence, int64_t begin, int64_t end,
                                             int64_t* line) {
  const BacktraceSizes& s = in.sizes;
  for (int64_t first = begin + lane_id(); first < end; first += kInFlight * kWarp) {
    int64_t found[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) found[j] = first + j * kWarp < end ? line[first + j * kWarp] : -1;
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      if (found[j] >= 0) found[j] = in.tokens[((first + j * kWarp) * s.sentences + sentence) * s.beams + found[j]];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)
      if (first + j * kWarp < end) line[first + j * kWarp] = found[j];
  }
}

__global__ void __launch_bounds__(kBacktraceThreads)
    backtrace_kernel(const BacktraceInputs in, int64_t* out, CudaFault* faults) {
  __shared__ int64_t staged[kStagedParents];
  const BacktraceSizes& s = in.sizes;
  const int64_t sentence = blockIdx.x, first = int64_t{blockIdx.y} * kBacktraceThreads;
  const int64_t count = min(s.hypotheses - first, int64_t{kBacktraceThreads});
  const bool present = threadIdx.x < count;
  BacktraceWalk walk(in, sentence, first + (present ? threadIdx.x : 0), faults);
  int64_t* lines = out + (sentence * s.hypotheses + first) * s.length;

  // Too many beams for the shared memory to hold those of one step: then they are read where they are.
  const bool stages = s.beams <= kStagedParents;
  const int64_t chunk = stages ? kStagedParents / max(s.beams, int64_t{1}) : s.length;
  for (int64_t end = s.length; end > 0; end -= chunk) {
    const int64_t begin = max(end - chunk, int64_t{0});
    if (stages) stage(in, sentence, begin, end, staged);
    __syncthreads();
    for (int64_t step = end - 1; step >= begin && present; --step) {
      const int64_t* parents =
          stages ? staged + (step - begin) * s.beams : in.parents + (step * s.sentences + sentence) * s.beams;
      lines[threadIdx.x * s.length + step] = walk.slot(step, parents);
    }
    __syncthreads();  // the slots are there, and the parents are no longer read
    for (int64_t i = warp_id(); i < count; i += kBacktraceThreads / kWarp)
      fetch_tokens(in, sentence, begin, end, lines + i * s.length);
  }
}

}  // namespace cuda

int backtrace_cuda(const BacktraceInputs& in, int64_t* out, CudaFault* faults, CudaTarget target) {
  const BacktraceSizes& s = in.sizes;
  if (s.sentences * s.hypotheses * s.length == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  const dim3 grid(static_cast<unsigned>(s.sentences),
                  static_cast<unsigned>((s.hypotheses + cuda::kBacktraceThreads - 1) / cuda::kBacktraceThreads));
  cuda::backtrace_kernel<<<grid, cuda::kBacktraceThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(in, out,
                                                                                                         faults);
  return cudaGetLastError();
}

}  // namespace s2sfast
