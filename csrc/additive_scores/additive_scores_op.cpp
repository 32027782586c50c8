#include "additive_scores/additive.h"

namespace s2sfast {
namespace {

Tensor additive_scores(const Tensor& query, const Tensor& keys, const Tensor& v, std::optional<Tensor> features,
                       std::optional<Tensor> feature_weight, std::optional<Tensor> mask,
                       std::optional<Tensor> lengths) {
  const AttentionArguments a("additive_scores", query, keys, {}, mask, lengths);
  const AdditiveArguments additive(a, v, features, feature_weight);
  const Tensor scores = a.pairs();
  find_bad_lengths(a);
  with_type(a.type(),
            [&]<class T>(T) { run_stages(a, work_of(a, kAdditiveWork), {Stage(additive.scores<T>(scores))}); });
  return as_type(scores, a.type());
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> additive_scores_backward(
    const Tensor& grad_scores, const Tensor& query, const Tensor& keys, const Tensor& v, std::optional<Tensor> features,
    std::optional<Tensor> feature_weight, std::optional<Tensor> mask, std::optional<Tensor> lengths) {
  const AttentionArguments a("additive_scores", query, keys, {}, mask, lengths);
  const AdditiveArguments additive(a, v, features, feature_weight);
  const Tensor given = dense(AttentionGradients::checked_pairs(a, "the gradient of the scores", grad_scores));
  const Tensor d = a.pairs();
  const AdditiveResults results(additive);
  with_type(a.type(), [&]<class T>(T) {
    using R = Real<T>;
    run_stages(a, work_of(a, kAdditiveWork),
               {Stage(AttentionKeep<R>{a.sizes(), a.mask(), in<R>(given), out<R>(d)}), Stage(results.stage<T>(d))});
    results.join<R>();
  });
  return {results.query, results.keys, results.v, results.features, results.feature_weight};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "additive_scores(Tensor query, Tensor keys, Tensor v, Tensor? features, Tensor? feature_weight, Tensor? mask, "
      "Tensor? lengths) -> Tensor",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "additive_scores_backward(Tensor grad_scores, Tensor query, Tensor keys, Tensor v, Tensor? features, "
      "Tensor? feature_weight, Tensor? mask, Tensor? lengths) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("additive_scores", TORCH_BOX(&additive_scores));
  m.impl("additive_scores_backward", TORCH_BOX(&additive_scores_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("additive_scores", TORCH_BOX(&additive_scores));
  m.impl("additive_scores_backward", TORCH_BOX(&additive_scores_backward));
}

}  // namespace s2sfast
