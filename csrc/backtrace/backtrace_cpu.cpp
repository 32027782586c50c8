#include "backtrace/backtrace.h"

namespace s2sfast::S2SFAST_ISA {

BacktraceFault backtrace(const BacktraceInputs& in, int64_t* out, int64_t begin, int64_t end) {
  const BacktraceSizes& s = in.sizes;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t sentence = row / s.hypotheses, steps = in.steps ? in.steps[row] : s.length;
    if (steps < 0 || steps > s.length) return {true, row, -1, steps};
    int64_t *line = out + row * s.length, slot = in.ends[row];
    for (int64_t l = s.length - 1; l >= steps; --l) line[l] = -1;
    for (int64_t l = steps - 1; l >= 0; --l) {
      if (slot < 0 || slot >= s.beams) return {true, row, l, slot};
      const int64_t at = (l * s.sentences + sentence) * s.beams + slot;
      line[l] = in.tokens[at];
      slot = in.parents[at];
    }
  }
  return {};
}

}  // namespace s2sfast::S2SFAST_ISA
