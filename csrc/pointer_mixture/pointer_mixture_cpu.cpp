#include "pointer_mixture/pointer_mixture.h"
#include "pointer_mixture/softmax.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class R>
struct Total;
template <>
struct Total<float> {
  WideSum sum;
  void add(Vec x) { sum.add(x); }
};
template <>
struct Total<double> {
  Doubles sum{};
  void add(Doubles x) { sum += x; }
};

// The part of [begin, end) pieces that is below `columns`.
struct Columns {
  Columns(int64_t begin, int64_t end, int64_t columns)
      : first(std::min(begin * kPointerPiece, columns)), count(std::min(end * kPointerPiece, columns) - first) {}
  const int64_t first, count;
};

}  // namespace

int64_t pointer_links(const int64_t* ids, int64_t positions, int64_t extended, int32_t* table, int32_t* links) {
  // Open addressing: a place holds the last position of its id.
  const auto size = static_cast<uint64_t>(pointer_table_size(positions));
  std::fill_n(table, size, -1);
  for (int64_t t = 0; t < positions; ++t) {
    links[t] = kPointerIgnored;
    if (ids[t] < 0) continue;
    if (ids[t] >= extended) return t;
    uint64_t place = (static_cast<uint64_t>(ids[t]) * 0x9e3779b97f4a7c15u >> 32) & (size - 1);
    while (table[place] >= 0 && ids[table[place]] != ids[t]) place = (place + 1) & (size - 1);
    const int32_t before = table[place], here = static_cast<int32_t>(t);
    if (before < 0)
      links[t] = 0;
    else
      links[before] = links[before] < 0 ? ~here : here;
    table[place] = here;
  }
  return -1;
}

template <class T>
void pointer_mixture_generate(const PointerMixtureInputs<T>& in, int64_t row, Real<T> lse, Real<T>* log_probs,
                              int64_t begin, int64_t end) {
  using R = Real<T>;
  const Columns all(begin, end, in.extended), words(begin, end, in.sizes.vocab);
  const T* logits = in.logits.row(row) + words.first;
  R* out = log_probs + row * in.extended + all.first;
  const R log_generate = log_sigmoid(real_of(in.gate[row]));
  // A row of -inf stays one, whatever is added.
  const V<R> offset = Lanes<R>::splat(lse == kMinusInf<R> ? R(0) : log_generate - lse);
  each_lanes<R>(words.count, [&](int64_t i, int64_t lanes) {
    store_lanes(out + i, V<R>(load_lanes<R>(logits + i, lanes) + offset), lanes);
  });
  std::fill(out + words.count, out + all.count, kMinusInf<R>);
}

template <class T>
void pointer_mixture_copy(const PointerMixtureInputs<T>& in, int64_t row, Real<T> lse, Real<T>* log_probs) {
  const PointerMixtureRow<T> mine(in, row, lse);
  for (int64_t t = 0; t < in.sizes.positions; ++t) {
    if (is_first(mine.links[t])) log_probs[row * in.extended + mine.ids[t]] = mine.log_prob(t);
  }
}

template <class T>
void pointer_mixture_sum(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad, int64_t row,
                         SumOfExps* partials, int64_t begin, int64_t end) {
  using R = Real<T>;
  for (int64_t piece = begin; piece < end; ++piece) {
    const Columns words(piece, piece + 1, in.sizes.vocab);
    const T* logits = in.logits.row(row) + words.first;
    const R* given = grad.log_probs.row(row) + words.first;
    const V<R> none = Lanes<R>::splat(kMinusInf<R>), zero{};
    Total<R> total;
    each_lanes<R>(words.count, [&](int64_t i, int64_t lanes) {
      total.add(load_lanes<R>(logits + i, lanes) > none ? load_lanes<R>(given + i, lanes) : zero);
    });
    partials[piece] = {sum_of(total.sum), 0, false};
  }
}

template <class T>
Real<T> pointer_mixture_weigh(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad, int64_t row,
                              const SumOfExps* partials) {
  using R = Real<T>;
  const PointerMixtureRow<T> mine(in, row, grad.lse[row]);
  const R* given = grad.log_probs.row(row);
  T* weights = grad.out.weights + row * in.sizes.positions;
  double generated = 0, copied = 0;
  if (mine.log_generate != kMinusInf<R>)
    for (int64_t piece = 0; piece < pointer_pieces(in.sizes.vocab); ++piece) generated += partials[piece].sum;
  for (int64_t t = 0; t < in.sizes.positions; ++t) {
    if (mine.ids[t] < 0) weights[t] = {};
    if (!is_first(mine.links[t])) continue;
    const PointerMixtureWeight<T> found(mine, t, given[mine.ids[t]]);
    T weight;
    narrow(found.weight, weight);
    copied += found.copied, generated += found.generated;
    each_linked(mine.links, t, [&](int64_t same) { weights[same] = weight; });
  }
  narrow(gate_gradient(mine.gate, static_cast<R>(generated), static_cast<R>(copied)), grad.out.gate[row]);
  return static_cast<R>(generated);
}

template <class T>
void pointer_mixture_spread(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad, int64_t row,
                            Real<T> sum, int64_t begin, int64_t end) {
  using R = Real<T>;
  const Columns words(begin, end, in.sizes.vocab);
  const T* logits = in.logits.row(row) + words.first;
  const R *given = grad.log_probs.row(row) + words.first, lse = grad.lse[row];
  T* out = grad.out.logits + row * in.sizes.vocab + words.first;
  if (lse == kMinusInf<R> || log_sigmoid(real_of(in.gate[row])) == kMinusInf<R>) {
    std::fill_n(out, words.count, T{});
    return;
  }
  const ScaledSoftmax<R> softmax(lse, sum);
  const V<R> none = Lanes<R>::splat(kMinusInf<R>), zero{};
  each_lanes<R>(words.count, [&](int64_t i, int64_t lanes) {
    const V<R> x = load_lanes<R>(logits + i, lanes), u = load_lanes<R>(given + i, lanes);
    store_narrow(out + i, V<R>((x == none ? zero : u) - softmax(x)), lanes);
  });
}

template <class T>
void pointer_mixture_correct(const PointerMixtureInputs<T>& in, const PointerMixtureGradient<T>& grad, int64_t row,
                             Real<T> sum) {
  const PointerMixtureRow<T> mine(in, row, grad.lse[row]);
  for (int64_t t = 0; t < in.sizes.positions; ++t) {
    const int64_t id = mine.ids[t];
    if (is_first(mine.links[t]) && id < in.sizes.vocab)
      narrow(mine.logit_gradient(t, grad.log_probs.row(row)[id], sum), grad.out.logits[row * in.sizes.vocab + id]);
  }
}

#define S2SFAST_POINTER_MIXTURE(T)                                                                                  \
  template void pointer_mixture_generate(const PointerMixtureInputs<T>&, int64_t, Real<T>, Real<T>*, int64_t,       \
                                         int64_t);                                                                  \
  template void pointer_mixture_copy(const PointerMixtureInputs<T>&, int64_t, Real<T>, Real<T>*);                   \
  template void pointer_mixture_sum(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, int64_t,      \
                                    SumOfExps*, int64_t, int64_t);                                                  \
  template Real<T> pointer_mixture_weigh(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, int64_t, \
                                         const SumOfExps*);                                                         \
  template void pointer_mixture_spread(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, int64_t,   \
                                       Real<T>, int64_t, int64_t);                                                  \
  template void pointer_mixture_correct(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, int64_t,  \
                                        Real<T>);

S2SFAST_POINTER_MIXTURE(float)
S2SFAST_POINTER_MIXTURE(double)
S2SFAST_POINTER_MIXTURE(BFloat16)
S2SFAST_POINTER_MIXTURE(Half)

}  // namespace s2sfast::S2SFAST_ISA
