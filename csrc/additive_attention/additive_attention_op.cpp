#include "additive_attention/additive_attention.h"
#include "additive_scores/additive.h"

namespace s2sfast {
namespace {

std::tuple<Tensor, Tensor> additive_attention(const Tensor& query, const Tensor& keys, std::optional<Tensor> values,
                                              const Tensor& v, std::optional<Tensor> features,
                                              std::optional<Tensor> feature_weight, std::optional<Tensor> mask,
                                              std::optional<Tensor> lengths) {
  const AttentionArguments a("additive_attention", query, keys, values, mask, lengths);
  const AdditiveArguments additive(a, v, features, feature_weight);
  Tensor weights = a.pairs(), context = a.per_query(a.value_width());
  with_type(a.type(), [&]<class T>(T) {
    if (decodes(a))
      return run_decode<T>(a, kDecodeComputing, weights, context, [&](const auto& in, CudaTarget target) {
        return additive_decode_cuda(in, additive.inputs<T>(), target);
      });
    find_bad_lengths(a);
    run_stages(a, work_of(a, kAdditiveWork),
               {Stage(additive.scores<T>(weights)), Stage(softmax_stage<T>(a, weights)),
                Stage(context_stage<T>(a, weights, context))});
  });
  return {as_type(context, a.type()), std::move(weights)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> additive_attention_backward(
    const Tensor& grad_context, std::optional<Tensor> grad_weights, const Tensor& query, const Tensor& keys,
    std::optional<Tensor> values, const Tensor& v, std::optional<Tensor> features, std::optional<Tensor> feature_weight,
    std::optional<Tensor> mask, std::optional<Tensor> lengths, const Tensor& weights_) {
  const AttentionArguments a("additive_attention", query, keys, values, mask, lengths);
  const AdditiveArguments additive(a, v, features, feature_weight);
  const AttentionGradients g(a, grad_context, grad_weights);
  const Tensor weights = AttentionGradients::checked_pairs(a, "weights", weights_);
  const Tensor d = a.pairs();
  const AdditiveResults results(additive);
  const Tensor dvalues = a.has_values() ? a.per_position(a.value_width()) : results.keys;
  with_type(a.type(), [&]<class T>(T) {
    using R = Real<T>;
    run_stages(
        a, work_of(a, kAdditiveWork),
        {Stage(context_dots<T>(a, g, d)), Stage(softmax_backward<T>(a, g, weights, 1.0, d)), Stage(results.stage<T>(d)),
         Stage(spread<T>(a, weights, rows_of<R>(g.context), !a.has_values(), dvalues))});
    results.join<R>();
  });
  return {results.query, results.keys,     a.has_values() ? dvalues : new_tensor(keys, {0}, a.real_type()),
          results.v,     results.features, results.feature_weight};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "additive_attention(Tensor query, Tensor keys, Tensor? values, Tensor v, Tensor? features, "
      "Tensor? feature_weight, Tensor? mask, Tensor? lengths) -> (Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "additive_attention_backward(Tensor grad_context, Tensor? grad_weights, Tensor query, Tensor keys, "
      "Tensor? values, Tensor v, Tensor? features, Tensor? feature_weight, Tensor? mask, Tensor? lengths, "
      "Tensor weights) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("additive_attention", TORCH_BOX(&additive_attention));
  m.impl("additive_attention_backward", TORCH_BOX(&additive_attention_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("additive_attention", TORCH_BOX(&additive_attention));
  m.impl("additive_attention_backward", TORCH_BOX(&additive_attention_backward));
}

}  // namespace s2sfast
