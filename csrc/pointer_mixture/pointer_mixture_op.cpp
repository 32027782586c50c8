#include <tuple>

#include "pointer_mixture/pointer_mixture.h"
#include "pointer_mixture/pointer_op.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "pointer_mixture";

void raise_bad_id(int64_t source, int64_t position, int64_t got, int64_t extended, const char* when) {
  check(false, kName, ": expected source_ids < V'=", extended, "; got ", got, " for source ", source, ", position ",
        position, when);
}

void raise_late(const CudaFault& fault) {
  const auto& [source, position, got, extended, _] = fault.details;
  raise_bad_id(source, position, got, extended, kFoundLate);
}

PointerSizes checked_sizes(const PointerTensors& in, int64_t extended) {
  const PointerSizes s = checked_pointer_sizes(kName, in);
  check(extended >= s.vocab, kName, ": expected extended_size >= V=", s.vocab, "; got ", extended);
  check(s.positions <= std::numeric_limits<int32_t>::max(), kName, ": expected T < 2^31; got ", s.positions);
  check(!on_cuda(in.logits) || extended <= int64_t{1} << 26, kName, ": expected extended_size <= 2^26 on CUDA; got ",
        extended);
  return s;
}

void link_cpu(const PointerSizes& s, PointerRows<const int64_t> ids, int64_t extended, int32_t* links) {
  auto* table = static_cast<int32_t*>(thread_scratch(pointer_table_size(s.positions) * sizeof(int32_t)));
  if (!table) throw std::bad_alloc();
  for (int64_t source = 0; source < s.sources; ++source) {
    const int64_t* mine = ids.row(source);
    const int64_t bad =
        S2SFAST_DISPATCH(pointer_links, mine, s.positions, extended, table, links + source * s.positions);
    if (bad >= 0) raise_bad_id(source, bad, mine[bad], extended, "");
  }
}

template <class T>
void run_cpu(const PointerMixtureInputs<T>& in, Real<T>* log_probs, Real<T>* lse, int32_t* links) {
  link_cpu(in.sizes, in.ids, in.extended, links);
  const int64_t pieces = pointer_pieces(in.sizes.vocab);
  over_rows(
      in.sizes,
      PointerStep{pieces, [&](int64_t row, PointerWork& work, int64_t begin,
                              int64_t end) { S2SFAST_DISPATCH(pointer_scan, in, row, work.partials, begin, end); }},
      PointerStep{1, [&](int64_t row, PointerWork& work, int64_t,
                         int64_t) { lse[row] = static_cast<Real<T>>(log_of(work.partials, pieces)); }},
      PointerStep{pointer_pieces(in.extended),
                  [&](int64_t row, PointerWork&, int64_t begin, int64_t end) {
                    S2SFAST_DISPATCH(pointer_mixture_generate, in, row, lse[row], log_probs, begin, end);
                  }},
      PointerStep{1, [&](int64_t row, PointerWork&, int64_t, int64_t) {
                    S2SFAST_DISPATCH(pointer_mixture_copy, in, row, lse[row], log_probs);
                  }});
}

template <class T>
void run_cuda(const PointerMixtureInputs<T>& in, const Tensor& like, Real<T>* log_probs, Real<T>* lse, int32_t* links) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    CudaFault* faults = fault_slot(kName, CudaOp::pointer_mixture, call.target().device);
    check_launch(kName, pointer_links_cuda(in.sizes, in.ids, in.extended, links, faults, call.target()));
    const auto bytes = static_cast<int64_t>(pointer_scan_cuda_workspace_bytes(in.sizes));
    // Torch's allocator hands it to nobody before this stream is past the launches below.
    const Tensor workspace = new_tensor(like, {bytes}, ScalarType::Byte);
    check_launch(kName, pointer_mixture_cuda(in, log_probs, lse, workspace.mutable_data_ptr(), call.target()));
  }
}

std::tuple<Tensor, Tensor, Tensor> pointer_mixture_op(const Tensor& logits, const Tensor& weights, const Tensor& ids,
                                                      const Tensor& gate, int64_t extended) {
  const PointerTensors given{logits, weights, ids, gate};
  const PointerSizes s = checked_sizes(given, extended);
  const PointerDense held(given);
  Tensor log_probs = new_rows(logits, extended, real_type(logits.scalar_type())),
         lse = new_tensor(logits, {s.rows}, real_type(logits.scalar_type())),
         links = new_tensor(logits, {s.sources, s.positions}, ScalarType::Int);
  with_type(logits.scalar_type(), [&]<class T>(T) {
    auto* linked = out<int32_t>(links);
    const PointerMixtureInputs<T> inputs{held.inputs<T>(s), extended, linked};
    if (on_cuda(logits))
      run_cuda(inputs, logits, out<Real<T>>(log_probs), out<Real<T>>(lse), linked);
    else
      run_cpu(inputs, out<Real<T>>(log_probs), out<Real<T>>(lse), linked);
  });
  return {log_probs, lse, links};
}

template <class T>
void run_backward_cpu(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad) {
  const int64_t pieces = pointer_pieces(in.sizes.vocab);
  over_rows(in.sizes,
            PointerStep{pieces,
                        [&](int64_t row, PointerWork& work, int64_t begin, int64_t end) {
                          S2SFAST_DISPATCH(pointer_mixture_sum, in, grad, row, work.partials, begin, end);
                        }},
            PointerStep{1,
                        [&](int64_t row, PointerWork& work, int64_t, int64_t) {
                          work.factor = S2SFAST_DISPATCH(pointer_mixture_weigh, in, grad, row, work.partials);
                        }},
            PointerStep{pieces,
                        [&](int64_t row, PointerWork& work, int64_t begin, int64_t end) {
                          const auto sum = static_cast<Real<T>>(work.factor);
                          S2SFAST_DISPATCH(pointer_mixture_spread, in, grad, row, sum, begin, end);
                        }},
            PointerStep{1, [&](int64_t row, PointerWork& work, int64_t, int64_t) {
                          const auto sum = static_cast<Real<T>>(work.factor);
                          S2SFAST_DISPATCH(pointer_mixture_correct, in, grad, row, sum);
                        }});
}

template <class T>
void run_backward_cuda(const PointerMixtureInputs<T>& in, const Tensor& like, const PointerMixtureGradient<T>& grad) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    const auto bytes = static_cast<int64_t>(pointer_scan_cuda_workspace_bytes(in.sizes));
    const Tensor workspace = new_tensor(like, {bytes}, ScalarType::Byte);
    const Tensor sums = new_tensor(like, {in.sizes.rows}, real_type(like.scalar_type()));
    check_launch(kName, pointer_mixture_backward_cuda(in, grad, workspace.mutable_data_ptr(), out<Real<T>>(sums),
                                                      call.target()));
  }
}

std::tuple<Tensor, Tensor, Tensor> pointer_mixture_backward_op(const Tensor& grad_, const Tensor& logits,
                                                               const Tensor& weights, const Tensor& ids,
                                                               const Tensor& gate, const Tensor& lse,
                                                               const Tensor& links) {
  const PointerTensors given{logits, weights, ids, gate};
  const PointerSizes s = checked_sizes(given, grad_.size(1));
  const PointerDense held(given);
  const Tensor grad = dense_rows(grad_);
  const ScalarType type = logits.scalar_type();
  Tensor by_logits = new_rows(logits, s.vocab, type), by_weights = new_tensor(logits, {s.rows, s.positions}, type),
         by_gate = new_tensor(logits, {s.rows}, type);
  with_type(logits.scalar_type(), [&]<class T>(T) {
    const PointerMixtureInputs<T> inputs{held.inputs<T>(s), grad.size(1), in<int32_t>(links)};
    const PointerMixtureGradient<T> gradients{
        rows_of<Real<T>>(grad), in<Real<T>>(lse), {out<T>(by_logits), out<T>(by_weights), out<T>(by_gate)}};
    if (on_cuda(logits))
      run_backward_cuda(inputs, logits, gradients);
    else
      run_backward_cpu(inputs, gradients);
  });
  return {by_logits, by_weights, by_gate};
}

const bool registered = describe_faults(CudaOp::pointer_mixture, &raise_late);

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "pointer_mixture(Tensor vocab_logits, Tensor copy_weights, Tensor source_ids, Tensor p_gen_logit, SymInt "
      "extended_size) -> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "pointer_mixture_backward(Tensor grad, Tensor vocab_logits, Tensor copy_weights, Tensor source_ids, Tensor "
      "p_gen_logit, Tensor lse, Tensor links) -> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("pointer_mixture", TORCH_BOX(&pointer_mixture_op));
  m.impl("pointer_mixture_backward", TORCH_BOX(&pointer_mixture_backward_op));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("pointer_mixture", TORCH_BOX(&pointer_mixture_op));
  m.impl("pointer_mixture_backward", TORCH_BOX(&pointer_mixture_backward_op));
}

}  // namespace s2sfast
