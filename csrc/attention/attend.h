#pragma once
// The halves that every attention has in common: from scores to a context, and back from its gradient to dscores.
#include "attention/arguments.h"
#include "attention/decode.h"
#include "attention/stages.h"

namespace s2sfast {

template <class T>
AttentionSoftmax<Real<T>> softmax_stage(const AttentionArguments& a, const Tensor& scores) {
  return {a.sizes(), a.mask(), out<Real<T>>(scores)};
}

template <class T>
AttentionSum<T> context_stage(const AttentionArguments& a, const Tensor& weights, const Tensor& context) {
  return {a.sizes(), a.mask(), in<Real<T>>(weights), a.values<T>(), new_rows_of<Real<T>>(context)};
}

template <class T>
AttentionDots<T> query_key_dots(const AttentionArguments& a, double scale, Real<T> masked, const Tensor& pairs) {
  return {a.sizes(), a.mask(), scale, a.query<T>(), a.keys<T>(), masked, out<Real<T>>(pairs)};
}

inline double work_of(const AttentionArguments& a, double per_key_number) {
  const auto& [B, Q, T] = a.sizes();
  return static_cast<double>(B) * Q * T * (per_key_number * a.width() + a.value_width());
}

// --- on which device ------------------------------------------------------------------------------------

inline CudaFault* length_faults(const AttentionArguments& a, CudaTarget target) {
  return a.mask().lengths ? fault_slot(a.op(), CudaOp::attention, target.device) : nullptr;
}

// Reports a length out of [0, T], in the op's name. Once a call: the backward is of lengths that the forward has seen.
inline void find_bad_lengths(const AttentionArguments& a) {
  if constexpr (kBuiltWithCuda) {
    if (!on_cuda(a.like()) || !a.mask().lengths) return;
    const CudaCall call(a.like());
    CudaFault* faults = length_faults(a, call.target());
    check_launch(a.op(), attention_check_cuda(a.mask(), a.sizes(), a.number(), faults, call.target()));
  }
}

inline void run_stages(const AttentionArguments& a, double work, std::initializer_list<Stage> stages) {
  run_stages(a.like(), a.op(), a.sizes().sentences, work, stages);
}

// Few queries on the device, the beams of a sentence: scores, weights and context in two launches.
inline bool decodes(const AttentionArguments& a) {
  return on_cuda(a.like()) && a.sizes().queries <= kDecodeMostQueries;
}

// Calls launch(AttentionDecode<T>, CudaTarget).
template <class T, class Launch>
void run_decode(const AttentionArguments& a, int64_t reading, const Tensor& weights, const Tensor& context,
                Launch launch) {
  using R = Real<T>;
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(a.like());
    AttentionDecode<T> in{.sizes = a.sizes(),
                          .mask = a.mask(),
                          .query = a.query<T>(),
                          .keys = a.keys<T>(),
                          .values = a.values<T>(),
                          .context = out<R>(context),
                          .weights = out<R>(weights),
                          .workspace = nullptr,
                          .faults = length_faults(a, call.target()),
                          .what = a.number()};
    // Torch's allocator hands it to nobody before this stream is past the launches below.
    const Tensor workspace = new_tensor(a.like(), {attention_decode_bytes(in, reading)}, ScalarType::Byte);
    in.workspace = workspace.mutable_data_ptr();
    check_launch(a.op(), launch(in, call.target()));
  }
}

// The gradients of context and weights, as the kernels want them.
struct AttentionGradients {
  Tensor context;
  std::optional<Tensor> weights;

  AttentionGradients(const AttentionArguments& a, const Tensor& grad_context, const std::optional<Tensor>& grad_weights)
      : context(dense_rows(a.real("the gradient of the context", grad_context))) {
    const auto& [B, Q, T] = a.sizes();
    check(context.dim() == 3 && context.size(0) == B && context.size(1) == Q && context.size(2) == a.value_width(),
          a.op(), ": expected the gradient of the context (B, Q, E)=(", B, ", ", Q, ", ", a.value_width(), "); got ",
          Shape{context});
    if (grad_weights) weights = dense(checked_pairs(a, "the gradient of the weights", *grad_weights));
  }

  static Tensor checked_pairs(const AttentionArguments& a, const char* name, const Tensor& t) {
    const auto& [B, Q, T] = a.sizes();
    check(t.dim() == 3 && t.size(0) == B && t.size(1) == Q && t.size(2) == T, a.op(), ": expected ", name,
          " (B, Q, T)=(", B, ", ", Q, ", ", T, "); got ", Shape{t});
    return a.real(name, t);
  }
};

template <class T>
AttentionDots<T> context_dots(const AttentionArguments& a, const AttentionGradients& g, const Tensor& d) {
  return {a.sizes(), a.mask(), 1.0, rows_of<Real<T>>(g.context), a.values<T>(), Real<T>{0}, out<Real<T>>(d)};
}

template <class T>
AttentionSoftmaxBackward<Real<T>> softmax_backward(const AttentionArguments& a, const AttentionGradients& g,
                                                   const Tensor& weights, double scale, const Tensor& d) {
  using R = Real<T>;
  return {a.sizes(), scale, in<R>(weights), g.weights ? in<R>(*g.weights) : nullptr, out<R>(d)};
}

template <class T>
AttentionSpread<Real<T>> spread(const AttentionArguments& a, const Tensor& weights, Rows<const Real<T>> x, bool add,
                                const Tensor& into) {
  return {a.sizes(), a.mask(), in<Real<T>>(weights), x, add, new_rows_of<Real<T>>(into)};
}

template <class T>
AttentionSum<T> sum_of_keys(const AttentionArguments& a, const Tensor& weights, const Tensor& into) {
  return {a.sizes(), a.mask(), in<Real<T>>(weights), a.keys<T>(), new_rows_of<Real<T>>(into)};
}

}  // namespace s2sfast
