#pragma once
// log P of every id in [0, V'), formula and source in pointer.h. Most ids are not in the source: theirs is a logit plus
// a number of the row. The rest, at most T, are put right afterwards. With u = grad, s the share of generating in P(w)
// and the sums over w in [0, V'),
//
//   dlogits_v = u_v s_v - softmax_v sum_w u_w s_w,   dweights_t = u_w (1 - p) / P(w) for w = ids_t
//
// Equal ids of a source are linked, once for all of its rows, so that their weights add up in the order of positions:
// links[t] >= 0 where t is the first position of its id. It, or its complement at the later ones, is the next position
// of the id, or 0: there is none.
#include "common/saturated.h"
#include "pointer_mixture/pointer.h"

namespace s2sfast {

inline constexpr int32_t kPointerIgnored = -1;  // a link of a negative id

template <class T>
struct PointerMixtureInputs : PointerInputs<T> {
  int64_t extended;      // V'
  const int32_t* links;  // (S, T)
};

// Of a gradient's rows.
template <class T>
struct PointerMixtureGradient {
  PointerRows<const Real<T>> log_probs;  // (R, V'), given
  const Real<T>* lse;                    // (R,)
  PointerGradients<T> out;
};

// An id that is V' or more is left in `faults`, with source, position, id and V'; it is then ignored.
enum PointerMixtureCudaFault : int { kPointerMixtureBadId = 1 };
int pointer_links_cuda(const PointerSizes&, PointerRows<const int64_t> ids, int64_t extended, int32_t* links,
                       CudaFault* faults, CudaTarget);
template <class T>
int pointer_mixture_cuda(const PointerMixtureInputs<T>&, Real<T>* log_probs, Real<T>* lse, void* workspace, CudaTarget);
// The workspace is pointer_scan_cuda's, and a number for each row.
template <class T>
int pointer_mixture_backward_cuda(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&, void* workspace,
                                  Real<T>* sums, CudaTarget);

namespace {

constexpr bool is_first(int32_t link) { return link >= 0; }
constexpr int64_t next_of(int32_t link) { return link >= 0 ? link : ~link; }

// Calls each(position) for a first position and all later ones of the same id.
template <class Each>
constexpr void each_linked(const int32_t* links, int64_t first, Each each) {
  int64_t t = first;
  do {
    each(t);
    t = next_of(links[t]);
  } while (t);
}

// What a row's ids are mixed of.
template <class T>
struct PointerMixtureRow {
  using R = Real<T>;
  constexpr PointerMixtureRow(const PointerMixtureInputs<T>& in, int64_t row, R lse)
      : logits(in.logits.row(row)),
        weights(in.weights.row(row)),
        ids(in.ids.row(in.sizes.source_of(row))),
        links(in.links + in.sizes.source_of(row) * in.sizes.positions),
        vocab(in.sizes.vocab),
        lse(lse),
        gate(real_of(in.gate[row])),
        log_generate(log_sigmoid(gate)),
        log_copy(log_sigmoid(-gate)) {}

  constexpr R log_softmax_of(int64_t id) const {
    return id < vocab ? log_softmax(real_of(logits[id]), lse) : kMinusInf<R>;
  }
  constexpr R generated(int64_t id) const { return log_generate + log_softmax_of(id); }
  constexpr R mass(int64_t first) const {
    double sum = 0;
    each_linked(links, first, [&](int64_t t) { sum += to_double(weights[t]); });
    return static_cast<R>(sum);
  }
  constexpr R log_prob(int64_t first) const { return log_mix(generated(ids[first]), log_copy, mass(first)); }
  constexpr PointerShares<R> shares(int64_t first) const {
    return shares_of(generated(ids[first]), log_copy, mass(first));
  }
  // The gradient of the logit of an id that is in the source; `sum`: of u s.
  constexpr R logit_gradient(int64_t first, R given, R sum) const {
    const PointerShares<R> mine = shares(first);
    const R by_generated = mine.log_prob == kMinusInf<R> ? R(0) : given * mine.generated;
    return by_generated - std::exp(log_softmax_of(ids[first])) * sum;
  }

  const T *logits, *weights;
  const int64_t* ids;
  const int32_t* links;
  const int64_t vocab;
  const R lse, gate, log_generate, log_copy;
};

// The gradient of each weight of an id, what it adds to the gradient by log(1 - p), and to that by log p beyond
// `given`, which is counted already where the id can be generated.
template <class T>
struct PointerMixtureWeight {
  Real<T> weight = 0;
  double copied = 0, generated = 0;
  constexpr PointerMixtureWeight(const PointerMixtureRow<T>& row, int64_t first, Real<T> given) {
    const Real<T> can_be = row.generated(row.ids[first]);
    const auto shares = shares_of(can_be, row.log_copy, row.mass(first));
    if (shares.log_prob == kMinusInf<Real<T>>) return;  // what cannot be has no gradient, whatever is given
    weight = given == 0 ? Real<T>(0) : saturated<T>(given * shares.slope);
    copied = given * shares.copied;
    if (can_be != kMinusInf<Real<T>>) generated = -copied;
  }
};

}  // namespace
}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // Links the T ids of a source; `table` has room for pointer_table_size(T). Returns the first position of an id that
    // is V' or more, or -1.
    int64_t pointer_links(const int64_t* ids, int64_t positions, int64_t extended, int32_t* table, int32_t* links);
    // After pointer_scan: pieces [begin, end) as if nothing was copied; then what was.
    template <class T> void pointer_mixture_generate(const PointerMixtureInputs<T>&, int64_t row, Real<T> lse,
                                                     Real<T>* log_probs, int64_t begin, int64_t end);
    template <class T>
    void pointer_mixture_copy(const PointerMixtureInputs<T>&, int64_t row, Real<T> lse, Real<T>* log_probs);
    // Backward: the sums of pieces [begin, end); the row's gradients but that of the logits, and the sum of u s; pieces
    // of that one as if nothing was copied; then what was.
    template <class T> void pointer_mixture_sum(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&,
                                                int64_t row, SumOfExps* partials, int64_t begin, int64_t end);
    template <class T> Real<T> pointer_mixture_weigh(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&,
                                                     int64_t row, const SumOfExps* partials);
    template <class T> void pointer_mixture_spread(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&,
                                                   int64_t row, Real<T> sum, int64_t begin, int64_t end);
    template <class T> void pointer_mixture_correct(const PointerMixtureInputs<T>&, const PointerMixtureGradient<T>&,
                                                    int64_t row, Real<T> sum);)

namespace s2sfast {
constexpr int64_t pointer_table_size(int64_t positions) {
  int64_t size = 16;
  while (size < 2 * positions) size *= 2;
  return size;
}
}  // namespace s2sfast
