#include "attention/products.h"
#include "dot_attention/dot_attention.h"

namespace s2sfast {
namespace {

// A projected query comes from bilinear_attention, in the dtype of the computation.
const char* name_of(bool projected) { return projected ? "bilinear_attention" : "dot_attention"; }

std::tuple<Tensor, Tensor> dot_attention(const Tensor& query, const Tensor& keys, std::optional<Tensor> values,
                                         double scale, std::optional<Tensor> mask, std::optional<Tensor> lengths,
                                         bool projected) {
  const AttentionArguments a(name_of(projected), query, keys, values, mask, lengths, projected);
  if (by_matmul(a)) {
    Tensor weights = products(a.query_rows(), a.real_keys());
    softmax_of_products(a, scale, weights);
    const Tensor context = sums(weights, a.real_values());
    if (trustworthy(a, {&context})) return {as_type(context, a.type()), std::move(weights)};
  }
  Tensor weights = a.pairs(), context = a.per_query(a.value_width());
  with_type(a.type(), [&]<class T>(T) {
    if (decodes(a))
      return run_decode<T>(a, kDecodeBound, weights, context,
                           [&](const auto& in, CudaTarget target) { return dot_decode_cuda(in, scale, target); });
    find_bad_lengths(a);
    constexpr Real<T> kMasked = -std::numeric_limits<Real<T>>::infinity();
    run_stages(a, work_of(a, 1),
               {Stage(query_key_dots<T>(a, scale, kMasked, weights)), Stage(softmax_stage<T>(a, weights)),
                Stage(context_stage<T>(a, weights, context))});
  });
  return {as_type(context, a.type()), std::move(weights)};
}

std::tuple<Tensor, Tensor, Tensor> dot_attention_backward(const Tensor& grad_context,
                                                          std::optional<Tensor> grad_weights, const Tensor& query,
                                                          const Tensor& keys, std::optional<Tensor> values,
                                                          double scale, std::optional<Tensor> mask,
                                                          std::optional<Tensor> lengths, bool projected,
                                                          const Tensor& weights_) {
  const AttentionArguments a(name_of(projected), query, keys, values, mask, lengths, projected);
  const AttentionGradients g(a, grad_context, grad_weights);
  const Tensor weights = AttentionGradients::checked_pairs(a, "weights", weights_);
  if (by_matmul(a)) {
    const Tensor d = products(g.context, a.real_values());
    softmax_backward_of_products(a, g, weights, scale, d);
    Tensor dquery = sums(d, a.real_keys()), dkeys = spreads(d, a.query_rows()), dvalues = spreads(weights, g.context);
    if (trustworthy(a, {&dquery, &dkeys, &dvalues})) {
      if (a.has_values()) return {dquery, dkeys, dvalues};
      return {dquery, torch::stable::subtract(dkeys, dvalues, -1.0), new_tensor(keys, {0}, a.real_type())};
    }
  }
  const Tensor d = a.pairs(), dquery = a.per_query(a.width()), dkeys = a.per_position(a.width());
  const Tensor dvalues = a.has_values() ? a.per_position(a.value_width()) : dkeys;
  with_type(a.type(), [&]<class T>(T) {
    run_stages(a, 4 * work_of(a, 1),
               {Stage(context_dots<T>(a, g, d)), Stage(softmax_backward<T>(a, g, weights, scale, d)),
                Stage(sum_of_keys<T>(a, d, dquery)), Stage(spread<T>(a, d, a.query<T>(), false, dkeys)),
                Stage(spread<T>(a, weights, rows_of<Real<T>>(g.context), !a.has_values(), dvalues))});
  });
  return {dquery, dkeys, a.has_values() ? dvalues : new_tensor(keys, {0}, a.real_type())};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "dot_attention(Tensor query, Tensor keys, Tensor? values, float scale, Tensor? mask, Tensor? lengths, "
      "bool projected) -> (Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "dot_attention_backward(Tensor grad_context, Tensor? grad_weights, Tensor query, Tensor keys, Tensor? values, "
      "float scale, Tensor? mask, Tensor? lengths, bool projected, Tensor weights) -> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("dot_attention", TORCH_BOX(&dot_attention));
  m.impl("dot_attention_backward", TORCH_BOX(&dot_attention_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("dot_attention", TORCH_BOX(&dot_attention));
  m.impl("dot_attention_backward", TORCH_BOX(&dot_attention_backward));
}

}  // namespace s2sfast
