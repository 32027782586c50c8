#include <tuple>

#include "pointer_mixture/pointer_op.h"
#include "pointer_nll/pointer_nll.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "pointer_nll";

void raise_bad_target(int64_t row, int64_t got, int64_t ignore_index, const char* when) {
  check(false, kName, ": expected targets >= 0 or ignore_index=", ignore_index, "; got ", got, " for row ", row, when);
}

void raise_late(const CudaFault& fault) {
  raise_bad_target(fault.details[0], fault.details[1], fault.details[2], kFoundLate);
}

PointerSizes checked_sizes(const PointerTensors& in, const Tensor& targets) {
  const PointerSizes s = checked_pointer_sizes(kName, in);
  check(targets.dim() == 1 && targets.size(0) == s.rows, kName, ": expected targets (R,)=(", s.rows, ",); got ",
        Shape{targets});
  check_pointer_integers(kName, "targets", targets, in.logits);
  return s;
}

template <class T>
void run_cpu(const PointerNllInputs<T>& in, Real<T>* losses, Real<T>* lse) {
  for (int64_t row = 0; row < in.sizes.rows; ++row)
    if (in.targets[row] < 0 && in.targets[row] != in.ignore_index)
      raise_bad_target(row, in.targets[row], in.ignore_index, "");
  over_rows(in.sizes,
            PointerStep{pointer_pieces(in.sizes.vocab),
                        [&](int64_t row, PointerWork& work, int64_t begin, int64_t end) {
                          S2SFAST_DISPATCH(pointer_scan, in, row, work.partials, begin, end);
                        }},
            PointerStep{1, [&](int64_t row, PointerWork& work, int64_t, int64_t) {
                          S2SFAST_DISPATCH(pointer_nll, in, row, work.partials, losses, lse);
                        }});
}

template <class T>
void run_cuda(const PointerNllInputs<T>& in, const Tensor& like, Real<T>* losses, Real<T>* lse) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    CudaFault* faults = fault_slot(kName, CudaOp::pointer_nll, call.target().device);
    const auto bytes = static_cast<int64_t>(pointer_scan_cuda_workspace_bytes(in.sizes));
    // Torch's allocator hands it to nobody before this stream is past the launches below.
    const Tensor workspace = new_tensor(like, {bytes}, ScalarType::Byte);
    check_launch(kName, pointer_nll_cuda(in, losses, lse, workspace.mutable_data_ptr(), faults, call.target()));
  }
}

std::tuple<Tensor, Tensor> pointer_nll_op(const Tensor& logits, const Tensor& weights, const Tensor& ids,
                                          const Tensor& gate, const Tensor& targets_, int64_t ignore_index) {
  const PointerTensors given{logits, weights, ids, gate};
  const PointerSizes s = checked_sizes(given, targets_);
  const PointerDense held(given);
  const Tensor targets = dense(targets_);
  Tensor losses = new_tensor(logits, {s.rows}, real_type(logits.scalar_type())),
         lse = new_tensor(logits, {s.rows}, real_type(logits.scalar_type()));
  with_type(logits.scalar_type(), [&]<class T>(T) {
    const PointerNllInputs<T> inputs{held.inputs<T>(s), in<int64_t>(targets), ignore_index};
    if (on_cuda(logits))
      run_cuda(inputs, logits, out<Real<T>>(losses), out<Real<T>>(lse));
    else
      run_cpu(inputs, out<Real<T>>(losses), out<Real<T>>(lse));
  });
  return {losses, lse};
}

template <class T>
void run_backward_cpu(const PointerNllInputs<T>& in, const Real<T>* lse, const Real<T>* grad,
                      const PointerGradients<T>& out) {
  over_rows(
      in.sizes,
      PointerStep{1, [&](int64_t row, PointerWork& work, int64_t,
                         int64_t) { work.factor = S2SFAST_DISPATCH(pointer_nll_weigh, in, row, lse, grad, out); }},
      PointerStep{pointer_pieces(in.sizes.vocab), [&](int64_t row, PointerWork& work, int64_t begin, int64_t end) {
                    const auto factor = static_cast<Real<T>>(work.factor);
                    S2SFAST_DISPATCH(pointer_nll_spread, in, row, lse, factor, out.logits, begin, end);
                  }});
}

template <class T>
void run_backward_cuda(const PointerNllInputs<T>& in, const Tensor& like, const Real<T>* lse, const Real<T>* grad,
                       const PointerGradients<T>& gradients) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    const Tensor factors = new_tensor(like, {in.sizes.rows}, real_type(like.scalar_type()));
    check_launch(kName, pointer_nll_backward_cuda(in, lse, grad, gradients, out<Real<T>>(factors), call.target()));
  }
}

std::tuple<Tensor, Tensor, Tensor> pointer_nll_backward_op(const Tensor& grad_, const Tensor& logits,
                                                           const Tensor& weights, const Tensor& ids, const Tensor& gate,
                                                           const Tensor& targets_, const Tensor& lse,
                                                           int64_t ignore_index) {
  const PointerTensors given{logits, weights, ids, gate};
  const PointerSizes s = checked_sizes(given, targets_);
  const PointerDense held(given);
  const Tensor targets = dense(targets_), grad = dense(grad_);
  const ScalarType type = logits.scalar_type();
  Tensor by_logits = new_rows(logits, s.vocab, type), by_weights = new_tensor(logits, {s.rows, s.positions}, type),
         by_gate = new_tensor(logits, {s.rows}, type);
  with_type(logits.scalar_type(), [&]<class T>(T) {
    const PointerNllInputs<T> inputs{held.inputs<T>(s), in<int64_t>(targets), ignore_index};
    const PointerGradients<T> gradients{out<T>(by_logits), out<T>(by_weights), out<T>(by_gate)};
    if (on_cuda(logits))
      run_backward_cuda(inputs, logits, in<Real<T>>(lse), in<Real<T>>(grad), gradients);
    else
      run_backward_cpu(inputs, in<Real<T>>(lse), in<Real<T>>(grad), gradients);
  });
  return {by_logits, by_weights, by_gate};
}

const bool registered = describe_faults(CudaOp::pointer_nll, &raise_late);

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "pointer_nll(Tensor vocab_logits, Tensor copy_weights, Tensor source_ids, Tensor p_gen_logit, Tensor targets, "
      "int ignore_index) -> (Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "pointer_nll_backward(Tensor grad, Tensor vocab_logits, Tensor copy_weights, Tensor source_ids, Tensor "
      "p_gen_logit, Tensor targets, Tensor lse, int ignore_index) -> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("pointer_nll", TORCH_BOX(&pointer_nll_op));
  m.impl("pointer_nll_backward", TORCH_BOX(&pointer_nll_backward_op));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("pointer_nll", TORCH_BOX(&pointer_nll_op));
  m.impl("pointer_nll_backward", TORCH_BOX(&pointer_nll_backward_op));
}

}  // namespace s2sfast
