#pragma once
// Follows backpointers from the end of a hypothesis to its beginning.
//
//   slot = beams[b, i];  for l = steps[b, i] - 1 ... 0:  out[b, i, l] = tokens[l, b, slot];  slot = parents[l, b, slot]
//
// and -1 from steps[b, i] on.
#include <cstdint>

#include "common/cpu/isa.h"
#include "common/cuda/fault.h"

namespace s2sfast {

struct BacktraceSizes {
  int64_t length, sentences, beams, hypotheses;
};

struct BacktraceInputs {
  BacktraceSizes sizes;
  const int64_t *parents, *tokens;  // (L, B, K)
  const int64_t* ends;              // (B, n) the beam slot of each hypothesis' last token
  const int64_t* steps;             // (B, n) or null: all L
};

struct BacktraceFault {  // step -1: steps[row] itself is out of [0, L]
  bool found = false;
  int64_t row = 0, step = 0, beam = 0;
};

// Launches on the target's stream and returns a cudaError_t. A fault is left in `faults`, with sentence, hypothesis,
// step, what was found, and the limit that it passes, L or K.
inline constexpr int64_t kBacktraceCudaMostHypotheses = int64_t{1} << 22;
enum BacktraceCudaFault : int { kBacktraceBadSteps = 1, kBacktraceBadSlot };
int backtrace_cuda(const BacktraceInputs&, int64_t* out, CudaFault* faults, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // Rows [begin, end) of B * n; stops at the first fault.
    BacktraceFault backtrace(const BacktraceInputs&, int64_t* out, int64_t begin, int64_t end);)
