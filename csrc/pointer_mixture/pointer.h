#pragma once
// What pointer_mixture and pointer_nll share: the mixture of generating and copying of See, Liu & Manning 2017, "Get To
// The Point: Summarization with Pointer-Generator Networks", arXiv:1704.04368, equations 8 and 9,
//
//   P(w) = p softmax(logits)_w + (1 - p) sum_{t: ids_t = w} weights_t,     p = sigmoid(gate)
//
// always as a logarithm, so that nothing underflows before the two are joined:
//
//   generated = log_sigmoid(gate) + logit_w - logsumexp(logits)
//   log P(w) = logaddexp(generated, log_sigmoid(-gate) + log mass_w)
#include <cmath>
#include <cstdint>
#include <limits>

#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/numbers.h"
#include "common/sum_of_exps.h"

namespace s2sfast {

struct PointerSizes {
  int64_t rows, vocab, positions, sources;
  uint32_t beams;  // of a source: rows / sources; rows are sentence-major
  constexpr int64_t source_of(int64_t row) const { return static_cast<uint32_t>(row) / beams; }
};

// Rows whose numbers are neighbours.
template <class T>
struct PointerRows {
  T* data = nullptr;
  int64_t stride = 0;
  constexpr T* row(int64_t i) const { return data + i * stride; }
};

template <class T>
struct PointerInputs {
  PointerSizes sizes;
  PointerRows<const T> logits, weights;  // (R, V), (R, T)
  PointerRows<const int64_t> ids;        // (S, T); a negative one is ignored
  const T* gate;                         // (R,)
};

template <class T>
struct PointerGradients {
  T *logits, *weights, *gate;  // (R, V), (R, T), (R,)
};

// On the device: the log-sum-exp of each row, by a workspace.
size_t pointer_scan_cuda_workspace_bytes(const PointerSizes&);
template <class T>
int pointer_scan_cuda(const PointerInputs<T>&, Real<T>* lse, void* workspace, CudaTarget);

// The work on a row is cut into pieces of so many columns, whatever the number of threads.
inline constexpr int64_t kPointerPiece = 16384;
constexpr int64_t pointer_pieces(int64_t columns) { return (columns + kPointerPiece - 1) / kPointerPiece; }

namespace {

template <class R>
constexpr R kMinusInf = -std::numeric_limits<R>::infinity();

template <class T>
constexpr Real<T> real_of(T x) {
  return static_cast<Real<T>>(to_double(x));
}

template <class R>
constexpr R log_sigmoid(R x) {
  return (x < 0 ? x : R(0)) - std::log1p(std::exp(-std::abs(x)));
}
template <class R>
constexpr R sigmoid(R x) {
  return std::exp(log_sigmoid(x));
}

// log softmax of one logit; a row of -inf has nothing to offer.
template <class R>
constexpr R log_softmax(R logit, R lse) {
  return lse == kMinusInf<R> ? lse : logit - lse;
}

// log(exp(generated) + exp(log_copy) mass). A mass below 0 is none that a softmax gives, but has a meaning as long as
// the sum is above 0.
template <class R>
constexpr R log_mix(R generated, R log_copy, R mass) {
  if (mass == 0) return generated;
  const R copied = log_copy + std::log(std::abs(mass));
  if (copied == kMinusInf<R>) return generated;
  const bool positive = !(mass < 0);
  const R ratio = std::exp(positive ? -std::abs(generated - copied) : copied - generated);
  return (positive && !(generated > copied) ? copied : generated) + std::log1p(positive ? ratio : -ratio);
}

// log P and its derivatives.
template <class R>
struct PointerShares {
  R log_prob;
  R generated, copied;  // by log p and by log(1 - p): the two parts of P, in its measure
  R slope;              // by the mass
};

// All 0 where P is; finite otherwise.
template <class R>
constexpr PointerShares<R> shares_of(R generated, R log_copy, R mass) {
  const R log_prob = log_mix(generated, log_copy, mass);
  if (log_prob == kMinusInf<R>) return {log_prob, 0, 0, 0};
  constexpr R largest = std::numeric_limits<R>::max();
  const R share = std::exp(generated - log_prob), slope = std::exp(log_copy - log_prob);
  const R finite = slope > largest ? largest : slope;
  return {log_prob, share, share < R(0.5) ? 1 - share : finite * mass, finite};
}

// The derivative by the gate, from those by log p and log(1 - p).
template <class R>
constexpr R gate_gradient(R gate, R by_generated, R by_copied) {
  return by_generated * sigmoid(-gate) - by_copied * sigmoid(gate);
}

}  // namespace
}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // Pieces [begin, end) of a row's logits.
    template <class T>
    void pointer_scan(const PointerInputs<T>&, int64_t row, SumOfExps* partials, int64_t begin, int64_t end);)
