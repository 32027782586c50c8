#include "pointer_mixture/softmax.h"
#include "pointer_nll/pointer_nll.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class T>
PointerTarget<Real<T>> target_of(const PointerNllInputs<T>& in, int64_t row, Real<T> lse) {
  using R = Real<T>;
  const PointerSizes& s = in.sizes;
  const int64_t target = in.targets[row];
  const T* weights = in.weights.row(row);
  const int64_t* ids = in.ids.row(s.source_of(row));
  double mass = 0;
  for (int64_t t = 0; t < s.positions; ++t)
    if (ids[t] == target) mass += to_double(weights[t]);
  const R gate = real_of(in.gate[row]);
  const R logit = target < s.vocab ? log_softmax(real_of(in.logits.row(row)[target]), lse) : kMinusInf<R>;
  return {log_sigmoid(gate) + logit, log_sigmoid(-gate), static_cast<R>(mass)};
}

}  // namespace

template <class T>
void pointer_nll(const PointerNllInputs<T>& in, int64_t row, const SumOfExps* partials, Real<T>* losses, Real<T>* lse) {
  lse[row] = static_cast<Real<T>>(log_of(partials, pointer_pieces(in.sizes.vocab)));
  if (in.targets[row] == in.ignore_index) {
    losses[row] = 0;
    return;
  }
  const auto target = target_of(in, row, lse[row]);
  losses[row] = -log_mix(target.generated, target.log_copy, target.mass);
}

template <class T>
Real<T> pointer_nll_weigh(const PointerNllInputs<T>& in, int64_t row, const Real<T>* lse, const Real<T>* grad,
                          const PointerGradients<T>& out) {
  using R = Real<T>;
  const PointerSizes& s = in.sizes;
  T* weights = out.weights + row * s.positions;
  std::fill_n(weights, s.positions, T{});
  out.gate[row] = {};
  const R by_log_prob = -grad[row];
  if (in.targets[row] == in.ignore_index || by_log_prob == 0) return 0;

  const auto target = target_of(in, row, lse[row]);
  const PointerShares<R> shares = shares_of(target.generated, target.log_copy, target.mass);
  const R gate = gate_gradient(real_of(in.gate[row]), by_log_prob * shares.generated, by_log_prob * shares.copied);
  narrow(gate, out.gate[row]);
  T weight;
  narrow(saturated<T>(by_log_prob * shares.slope), weight);
  const int64_t* ids = in.ids.row(s.source_of(row));
  for (int64_t t = 0; t < s.positions; ++t)
    if (ids[t] == in.targets[row]) weights[t] = weight;
  return -by_log_prob * shares.generated;
}

template <class T>
void pointer_nll_spread(const PointerNllInputs<T>& in, int64_t row, const Real<T>* lse, Real<T> factor, T* out,
                        int64_t begin, int64_t end) {
  using R = Real<T>;
  const T* logits = in.logits.row(row);
  T* line = out + row * in.sizes.vocab;
  const int64_t first = begin * kPointerPiece, last = std::min(end * kPointerPiece, in.sizes.vocab);
  if (factor == 0) {  // a row that does not count is not looked at
    std::fill(line + first, line + last, T{});
    return;
  }
  const ScaledSoftmax<R> softmax(lse[row], factor);
  each_lanes<R>(last - first, [&](int64_t i, int64_t lanes) {
    store_narrow(line + first + i, softmax(load_lanes<R>(logits + first + i, lanes)), lanes);
  });
  const int64_t target = in.targets[row];
  if (target >= first && target < last)
    narrow(factor * (std::exp(real_of(logits[target]) - lse[row]) - 1), line[target]);
}

#define S2SFAST_POINTER_NLL(T)                                                                            \
  template void pointer_nll(const PointerNllInputs<T>&, int64_t, const SumOfExps*, Real<T>*, Real<T>*);   \
  template Real<T> pointer_nll_weigh(const PointerNllInputs<T>&, int64_t, const Real<T>*, const Real<T>*, \
                                     const PointerGradients<T>&);                                         \
  template void pointer_nll_spread(const PointerNllInputs<T>&, int64_t, const Real<T>*, Real<T>, T*, int64_t, int64_t);

S2SFAST_POINTER_NLL(float)
S2SFAST_POINTER_NLL(double)
S2SFAST_POINTER_NLL(BFloat16)
S2SFAST_POINTER_NLL(Half)

}  // namespace s2sfast::S2SFAST_ISA
