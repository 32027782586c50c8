#pragma once
// The same products as stages do, by torch's matmul: at many queries it is the faster one (docs/decisions/007).
//
// It multiplies masked pairs by 0 instead of leaving them out, which is the same unless a NaN or an infinity stands
// there. Then one comes out, is found, and the stages do it again.
#include "attention/attend.h"

namespace s2sfast {

inline bool by_matmul(const AttentionArguments& a) {
  return a.like().is_cpu() && a.sizes().queries > kAttentionQueries && a.sizes().positions > 0;
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

// Products to weights, in place.
inline void softmax_of_products(const AttentionArguments& a, double scale, const Tensor& dots) {
  const auto& [B, Q, P] = a.sizes();
  const double work = 8.0 * B * Q * P;
  with_type(a.real_type(), [&]<class R>(R) {
    if constexpr (std::is_same_v<R, Real<R>>) {
      if (!a.masked()) return run_stages(B, work, {Stage(softmax_stage<R>(a, dots, scale))});
      const AttentionScale<R> scaled{a.sizes(), a.mask(), scale, out<R>(dots)};
      run_stages(B, work, {Stage(scaled), Stage(softmax_stage<R>(a, dots))});
    }
  });
}

}  // namespace s2sfast
