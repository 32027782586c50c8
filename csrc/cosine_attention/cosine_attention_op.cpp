#include "attention/attend.h"
#include "cosine_attention/cosine_attention.h"

namespace s2sfast {

template <class T>
int64_t pieces_of(const CosineSquares<T>& a) {
  return a.rows_per_sentence;
}
template <class T>
void run_pieces(const CosineSquares<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(cosine_squares, a, b, i, j);
}
template <class T>
int launch_stage(const CosineSquares<T>& a, CudaTarget target) {
  return cosine_squares_cuda(a, target);
}
template <class R>
int64_t pieces_of(const CosineScores<R>& a) {
  return a.in.sizes.queries;
}
template <class R>
void run_pieces(const CosineScores<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(cosine_scores, a, b, i, j);
}
template <class R>
int launch_stage(const CosineScores<R>& a, CudaTarget target) {
  return cosine_scores_cuda(a, target);
}
template <class R>
int64_t pieces_of(const CosineBackward<R>&) {
  return 1;
}
template <class R>
void run_pieces(const CosineBackward<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(cosine_backward, a, b, i, j);
}
template <class R>
int launch_stage(const CosineBackward<R>& a, CudaTarget target) {
  return cosine_backward_cuda(a, target);
}
template <class T>
int64_t pieces_of(const CosineCorrect<T>& a) {
  return a.rows_per_sentence;
}
template <class T>
void run_pieces(const CosineCorrect<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(cosine_correct, a, b, i, j);
}
template <class T>
int launch_stage(const CosineCorrect<T>& a, CudaTarget target) {
  return cosine_correct_cuda(a, target);
}

namespace {

// What both directions need beside the common arguments.
struct Norms {
  CosineRule rule;
  double scale;
  std::optional<Tensor> strength;
  Tensor query_squares, key_squares;

  Norms(const AttentionArguments& a, const std::optional<Tensor>& strength_, double scale, double eps, int64_t mode)
      : rule(checked_rule(a.op(), eps, mode)),
        scale(scale),
        query_squares(a.per_query(1)),
        key_squares(a.per_position(1)) {
    const auto& [B, Q, T] = a.sizes();
    if (!strength_) return;
    check(strength_->dim() == 2 && strength_->size(0) == B && strength_->size(1) == Q, a.op(),
          ": expected strength (B, Q)=(", B, ", ", Q, "); got ", Shape{*strength_});
    a.check_like("strength", *strength_);
    strength = dense(a.real("strength", *strength_));
  }

  template <class T>
  CosineSquares<Real<T>> of_query(const AttentionArguments& a) const {
    return {a.query<T>(), a.sizes().sentences, a.sizes().queries, out<Real<T>>(query_squares)};
  }
  template <class T>
  CosineSquares<T> of_keys(const AttentionArguments& a) const {
    return {a.keys<T>(), a.sizes().sentences, a.sizes().positions, out<Real<T>>(key_squares)};
  }
  template <class R>
  CosineInputs<R> inputs(const AttentionArguments& a) const {
    return {a.sizes(),
            a.mask(),
            rule.mode,
            rule.eps,
            strength ? in<R>(*strength) : nullptr,
            scale,
            in<R>(query_squares),
            in<R>(key_squares)};
  }
};

std::tuple<Tensor, Tensor> cosine_attention(const Tensor& query, const Tensor& keys, std::optional<Tensor> values,
                                            std::optional<Tensor> strength, double scale, double eps, int64_t eps_mode,
                                            std::optional<Tensor> mask, std::optional<Tensor> lengths) {
  const AttentionArguments a("cosine_attention", query, keys, values, mask, lengths);
  const Norms norms(a, strength, scale, eps, eps_mode);
  Tensor weights = a.pairs(), context = a.per_query(a.value_width());
  with_type(a.type(), [&]<class T>(T) {
    using R = Real<T>;
    if (decodes(a))
      return run_decode<T>(a, kDecodeBound, weights, context, [&](const auto& in, CudaTarget target) {
        return cosine_decode_cuda(in, norms.inputs<R>(a), target);
      });
    find_bad_lengths(a);
    constexpr R kMasked = -std::numeric_limits<R>::infinity();
    run_stages(
        a, work_of(a, 1),
        {Stage(norms.of_query<T>(a)), Stage(norms.of_keys<T>(a)), Stage(query_key_dots<T>(a, 1.0, kMasked, weights)),
         Stage(CosineScores<R>{norms.inputs<R>(a), out<R>(weights)}), Stage(softmax_stage<T>(a, weights)),
         Stage(context_stage<T>(a, weights, context))});
  });
  return {as_type(context, a.type()), std::move(weights)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> cosine_attention_backward(
    const Tensor& grad_context, std::optional<Tensor> grad_weights, const Tensor& query, const Tensor& keys,
    std::optional<Tensor> values, std::optional<Tensor> strength, double scale, double eps, int64_t eps_mode,
    std::optional<Tensor> mask, std::optional<Tensor> lengths, const Tensor& weights_) {
  const AttentionArguments a("cosine_attention", query, keys, values, mask, lengths);
  const AttentionGradients g(a, grad_context, grad_weights);
  const Tensor weights = AttentionGradients::checked_pairs(a, "weights", weights_);
  const Norms norms(a, strength, scale, eps, eps_mode);
  const Tensor d = a.pairs(), dots = a.pairs(), dquery = a.per_query(a.width()), dkeys = a.per_position(a.width());
  const Tensor dvalues = a.has_values() ? a.per_position(a.value_width()) : dkeys;
  const Tensor from_query = a.per_query(1), from_keys = a.per_position(1);
  const auto& [B, Q, P] = a.sizes();
  Tensor dstrength = new_tensor(keys, {strength ? B : 0, Q}, a.real_type());
  with_type(a.type(), [&]<class T>(T) {
    using R = Real<T>;
    const CosineBackward<R> backward{norms.inputs<R>(a), in<R>(dots),       out<R>(d),
                                     out<R>(from_query), out<R>(from_keys), strength ? out<R>(dstrength) : nullptr};
    run_stages(a, 5 * work_of(a, 1),
               {Stage(norms.of_query<T>(a)), Stage(norms.of_keys<T>(a)), Stage(query_key_dots<T>(a, 1.0, R{0}, dots)),
                Stage(context_dots<T>(a, g, d)), Stage(softmax_backward<T>(a, g, weights, 1.0, d)), Stage(backward),
                Stage(sum_of_keys<T>(a, d, dquery)),
                Stage(CosineCorrect<R>{a.query<T>(), B, Q, in<R>(from_query), out<R>(dquery)}),
                Stage(spread<T>(a, d, a.query<T>(), false, dkeys)),
                Stage(CosineCorrect<T>{a.keys<T>(), B, P, in<R>(from_keys), out<R>(dkeys)}),
                Stage(spread<T>(a, weights, rows_of<R>(g.context), !a.has_values(), dvalues))});
  });
  return {dquery, dkeys, a.has_values() ? dvalues : new_tensor(keys, {0}, a.real_type()), dstrength};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "cosine_attention(Tensor query, Tensor keys, Tensor? values, Tensor? strength, float scale, float eps, "
      "int eps_mode, Tensor? mask, Tensor? lengths) -> (Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "cosine_attention_backward(Tensor grad_context, Tensor? grad_weights, Tensor query, Tensor keys, Tensor? values, "
      "Tensor? strength, float scale, float eps, int eps_mode, Tensor? mask, Tensor? lengths, Tensor weights) "
      "-> (Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("cosine_attention", TORCH_BOX(&cosine_attention));
  m.impl("cosine_attention_backward", TORCH_BOX(&cosine_attention_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("cosine_attention", TORCH_BOX(&cosine_attention));
  m.impl("cosine_attention_backward", TORCH_BOX(&cosine_attention_backward));
}

}  // namespace s2sfast
