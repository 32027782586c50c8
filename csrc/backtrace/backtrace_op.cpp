#include <optional>

#include "backtrace/backtrace.h"
#include "common/cuda_calls.h"
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
    check(same_device(*all[i], parents), "backtrace: expected ", names[i], " on the device of parents");
  }
  return s;
}

void check_steps(bool ok, int64_t length, int64_t got, int64_t sentence, int64_t hypothesis, const char* when) {
  check(ok, "backtrace: expected steps in [0, L]=[0, ", length, "]; got ", got, " for sentence ", sentence,
        ", hypothesis ", hypothesis, when);
}

void check_slots(bool ok, int64_t beams, int64_t got, int64_t sentence, int64_t hypothesis, int64_t step,
                 const char* when) {
  check(ok, "backtrace: expected beams and parents in [0, K)=[0, ", beams, "); got ", got, " on the way of sentence ",
        sentence, ", hypothesis ", hypothesis, " at step ", step, when);
}

void raise_late(const CudaFault& fault) {
  const auto& [sentence, hypothesis, step, got, limit] = fault.details;
  check_steps(fault.what != kBacktraceBadSteps, limit, got, sentence, hypothesis, kFoundLate);
  check_slots(fault.what != kBacktraceBadSlot, limit, got, sentence, hypothesis, step, kFoundLate);
}

void run_cpu(const BacktraceInputs& in, int64_t* sequences) {
  const BacktraceSizes& s = in.sizes;
  const BacktraceFault fault = S2SFAST_DISPATCH(backtrace, in, sequences, 0, s.sentences * s.hypotheses);
  if (!fault.found) return;
  const int64_t sentence = fault.row / s.hypotheses, hypothesis = fault.row % s.hypotheses;
  check_steps(fault.step >= 0, s.length, fault.beam, sentence, hypothesis, "");
  check_slots(false, s.beams, fault.beam, sentence, hypothesis, fault.step, "");
}

void run_cuda(const BacktraceInputs& in, const Tensor& like, int64_t* sequences) {
  check_built_with_cuda("backtrace");
  const BacktraceSizes& s = in.sizes;
  check(s.sentences <= std::numeric_limits<int32_t>::max() && s.hypotheses <= kBacktraceCudaMostHypotheses,
        "backtrace: expected B < 2^31 and n <= 2^22 on CUDA; got (B, n)=(", s.sentences, ", ", s.hypotheses, ")");
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    CudaFault* faults = fault_slot("backtrace", CudaOp::backtrace, call.target().device);
    check_launch("backtrace", backtrace_cuda(in, sequences, faults, call.target()));
  }
}

Tensor backtrace_op(const Tensor& parents_, const Tensor& tokens_, const Tensor& beams_, std::optional<Tensor> steps_) {
  const BacktraceSizes s = checked_sizes(parents_, tokens_, beams_, steps_);
  const Tensor parents = dense(parents_), tokens = dense(tokens_), beams = dense(beams_);
  const Tensor steps = steps_ ? dense(*steps_) : beams;
  Tensor sequences = new_tensor(parents, {s.sentences, s.hypotheses, s.length}, ScalarType::Long);
  const BacktraceInputs inputs{s, in<int64_t>(parents), in<int64_t>(tokens), in<int64_t>(beams),
                               steps_ ? in<int64_t>(steps) : nullptr};
  if (on_cuda(parents))
    run_cuda(inputs, parents, out<int64_t>(sequences));
  else
    run_cpu(inputs, out<int64_t>(sequences));
  return sequences;
}

const bool registered = describe_faults(CudaOp::backtrace, &raise_late);

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def("backtrace(Tensor parents, Tensor tokens, Tensor beams, Tensor? steps) -> Tensor",
        {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) { m.impl("backtrace", TORCH_BOX(&backtrace_op)); }
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) { m.impl("backtrace", TORCH_BOX(&backtrace_op)); }

}  // namespace s2sfast
