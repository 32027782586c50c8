#include <optional>

#include "backtrace/backtrace.h"
#include "common/torch.h"

namespace s2sfast {
namespace {

BacktraceSizes checked_sizes(const Tensor& parents, const Tensor& tokens, const Tensor& beams,
                             const std::optional<Tensor>& steps) {
  check(parents.dim() == 3, "backtrace: expected parents (L, B, K); got ", Shape{parents});
  check(beams.dim() == 2, "backtrace: expected beams (B, n); got ", Shape{beams});
  const BacktraceSizes s{parents.size(0), parents.size(1), parents.size(2), beams.size(1)};
  check(tokens.dim() == 3 && tokens.size(0) == s.length && tokens.size(1) == s.sentences && tokens.size(2) == s.beams,
        "backtrace: expected tokens (L, B, K)=", Shape{parents}, "; got ", Shape{tokens});
  check(beams.size(0) == s.sentences, "backtrace: expected beams (B, n)=(", s.sentences, ", n); got ", Shape{beams});
  check(!steps || (steps->dim() == 2 && steps->size(0) == s.sentences && steps->size(1) == s.hypotheses),
        "backtrace: expected steps (B, n)=", Shape{beams}, "; got ", Shape{steps ? *steps : beams});
  const Tensor* all[] = {&parents, &tokens, &beams, steps ? &*steps : &beams};
  static const char* const names[] = {"parents", "tokens", "beams", "steps"};
  for (int i = 0; i < 4; ++i) {
    check(all[i]->scalar_type() == ScalarType::Long, "backtrace: expected int64 ", names[i], "; got another dtype");
    check(all[i]->is_cpu(), "backtrace: expected ", names[i],
          " on the CPU (this build has no CUDA kernels); got another device");
  }
  return s;
}

Tensor backtrace_op(const Tensor& parents_, const Tensor& tokens_, const Tensor& beams_, std::optional<Tensor> steps_) {
  const BacktraceSizes s = checked_sizes(parents_, tokens_, beams_, steps_);
  const Tensor parents = dense(parents_), tokens = dense(tokens_), beams = dense(beams_);
  const Tensor steps = steps_ ? dense(*steps_) : beams;
  Tensor sequences = new_tensor(parents, {s.sentences, s.hypotheses, s.length}, ScalarType::Long);
  const BacktraceInputs inputs{s, in<int64_t>(parents), in<int64_t>(tokens), in<int64_t>(beams),
                               steps_ ? in<int64_t>(steps) : nullptr};
  const BacktraceFault fault =
      S2SFAST_DISPATCH(backtrace, inputs, out<int64_t>(sequences), 0, s.sentences * s.hypotheses);
  if (fault.found && fault.step < 0)
    check(false, "backtrace: expected steps in [0, L]=[0, ", s.length, "]; got ", fault.beam, " for sentence ",
          fault.row / s.hypotheses, ", hypothesis ", fault.row % s.hypotheses);
  if (fault.found)
    check(false, "backtrace: expected beams and parents in [0, K)=[0, ", s.beams, "); got ", fault.beam,
          " on the way of sentence ", fault.row / s.hypotheses, ", hypothesis ", fault.row % s.hypotheses, " at step ",
          fault.step);
  return sequences;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def("backtrace(Tensor parents, Tensor tokens, Tensor beams, Tensor? steps) -> Tensor",
        {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) { m.impl("backtrace", TORCH_BOX(&backtrace_op)); }

}  // namespace s2sfast
