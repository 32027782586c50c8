#pragma once
// The same products as stages do, by torch's matmul: at many queries it is the faster one (docs/decisions/007).
//
// It multiplies masked pairs by 0 instead of leaving them out, which is the same unless a NaN or an infinity stands
// there. Then one comes out, is found, and the stages do it again.
#include "attention/attend.h"

namespace s2sfast {

inline bool by_matmul(const AttentionArguments& a) {
  return !on_cuda(a.like()) && a.sizes().queries > kAttentionQueries && a.sizes().positions > 0;
}

// x[q] . y[t]
inline Tensor products(const Tensor& x, const Tensor& y) {
  return torch::stable::matmul(x, torch::stable::transpose(y, 1, 2));
}
// sum_t w[q, t] y[t]
inline Tensor sums(const Tensor& w, const Tensor& y) { return torch::stable::matmul(w, y); }
// sum_q w[q, t] x[q]
inline Tensor spreads(const Tensor& w, const Tensor& x) {
  return torch::stable::matmul(torch::stable::transpose(w, 1, 2), x);
}

inline bool is_finite(const Tensor& dense) {
  return dense.scalar_type() == ScalarType::Double ? S2SFAST_DISPATCH(all_finite, in<double>(dense), dense.numel())
                                                   : S2SFAST_DISPATCH(all_finite, in<float>(dense), dense.numel());
}

// Whether what came out can stand: see above.
inline bool trustworthy(const AttentionArguments& a, std::initializer_list<const Tensor*> results) {
  if (!a.masked()) return true;
  for (const Tensor* result : results)
    if (!is_finite(*result)) return false;
  return true;
}

inline double work_on_pairs(const AttentionArguments& a) {
  return 8.0 * a.sizes().sentences * a.sizes().queries * a.sizes().positions;
}

// Calls call(R{}) for the type that the products are computed in.
template <class Call>
void with_real(const AttentionArguments& a, Call call) {
  a.real_type() == ScalarType::Double ? call(double{}) : call(float{});
}

// Products to weights, in place.
inline void softmax_of_products(const AttentionArguments& a, double scale, const Tensor& products) {
  with_real(a, [&]<class R>(R) {
    const AttentionProducts<R> stage{a.sizes(), a.mask(), scale, out<R>(products)};
    run_stages(a, work_on_pairs(a), {Stage(stage)});
  });
}

// What the products of the context's gradient and the values are for the scores, in place.
inline void softmax_backward_of_products(const AttentionArguments& a, const AttentionGradients& g,
                                         const Tensor& weights, double scale, const Tensor& products) {
  with_real(a, [&]<class R>(R) {
    run_stages(a, work_on_pairs(a), {Stage(softmax_backward<R>(a, g, weights, scale, products))});
  });
}

}  // namespace s2sfast
