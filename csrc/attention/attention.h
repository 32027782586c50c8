#pragma once
// What the attentions share: scores become weights, weights become a context, and gradients go back.
//
//   weights[b, q, t] = softmax over the allowed t of scores[b, q, t];   context[b, q] = sum_t weights[b, q, t]
//   values[b, t]
//
// and from the gradients c of the context and w of the weights, with p = weights:
//
//   d[b, q, t] = w[b, q, t] + c[b, q] . values[b, t];   dscores = p (d - sum_t p d);   dvalues[b, t] = sum_q p c[b, q]
//
// The scores, then the weights, stand in one (B, Q, T) array; nothing of (B, Q, T, D) exists. A pair of query and
// position that is masked is left out of every sum, so that it does not matter what stands there.
#include <cstdint>

#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/numbers.h"
#include "common/rows.h"

namespace s2sfast {

struct AttentionSizes {
  int64_t sentences, queries, positions;
};

// Which positions a query may attend to: those below the sentence's length that `allowed` does not forbid.
struct AttentionMask {
  const bool* allowed = nullptr;  // null: all
  int64_t sentence_stride = 0, query_stride = 0, position_stride = 0;
  const int64_t* lengths = nullptr;  // (B,) in [0, T], or null

  constexpr bool one_for_all_queries() const { return !allowed || query_stride == 0; }
  constexpr int64_t length(int64_t sentence, int64_t positions) const {
    return lengths ? lengths[sentence] : positions;
  }
  // Of a position below the length.
  constexpr bool allows(int64_t sentence, int64_t query, int64_t position) const {
    return !allowed || allowed[sentence * sentence_stride + query * query_stride + position * position_stride];
  }
};

// The work on a sentence is cut into pieces of these sizes, whatever the number of threads.
inline constexpr int64_t kAttentionQueries = 16, kAttentionPositions = 64, kAttentionColumns = 128;
constexpr int64_t attention_blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

// --- the stages, each with what it reads and writes; R is Real<T> ------------------------------------

// out[q, t] = scale x[q] . y[t], `masked` where masked. A piece is a block of queries and one of positions.
template <class T>
struct AttentionDots {
  AttentionSizes sizes;
  AttentionMask mask;
  double scale;
  Rows<const Real<T>> x;
  Rows<const T> y;
  Real<T> masked;
  Real<T>* out;
};

// Scores to weights in place, subnormal ones to 0. A piece is a query.
template <class R>
struct AttentionSoftmax {
  AttentionSizes sizes;
  AttentionMask mask;
  R* scores;  // -inf where masked
};

// Dot products, times `scale`, to weights in place; what stands at masked pairs is not looked at. On the CPU only. A
// piece is a query.
template <class R>
struct AttentionProducts {
  AttentionSizes sizes;
  AttentionMask mask;
  double scale;
  R* products;
};

// d to scale dscores in place, subnormal ones to 0. A piece is a query.
template <class R>
struct AttentionSoftmaxBackward {
  AttentionSizes sizes;
  double scale;
  const R* weights;
  const R* more;  // added to d before; or null
  R* d;
};

// out[q] = sum_t weights[q, t] y[t]. A piece is a block of queries and one of columns.
template <class T>
struct AttentionSum {
  AttentionSizes sizes;
  AttentionMask mask;
  const Real<T>* weights;
  Rows<const T> y;
  Rows<Real<T>> out;
};

// out[t] = sum_q weights[q, t] x[q], or added to it. A piece is a block of positions.
template <class R>
struct AttentionSpread {
  AttentionSizes sizes;
  AttentionMask mask;
  const R* weights;
  Rows<const R> x;
  bool add;
  Rows<R> out;
};

// out[q, t] = in[q, t], 0 where masked. A piece is a query.
template <class R>
struct AttentionKeep {
  AttentionSizes sizes;
  AttentionMask mask;
  const R* in;
  R* out;
};

// out[i] = sum_n parts[n, i], in this order. A piece is an i; there is one sentence.
template <class R>
struct AttentionJoin {
  const R* parts;
  int64_t count, width;
  R* out;
};

// --- on the device: each stage for all sentences, launched on the target's stream; a cudaError_t ----------

template <class T>
int attention_dots_cuda(const AttentionDots<T>&, CudaTarget);
template <class R>
int attention_softmax_cuda(const AttentionSoftmax<R>&, CudaTarget);
template <class R>
int attention_softmax_backward_cuda(const AttentionSoftmaxBackward<R>&, CudaTarget);
template <class T>
int attention_sum_cuda(const AttentionSum<T>&, CudaTarget);
template <class R>
int attention_spread_cuda(const AttentionSpread<R>&, CudaTarget);
template <class R>
int attention_keep_cuda(const AttentionKeep<R>&, CudaTarget);
template <class R>
int attention_join_cuda(const AttentionJoin<R>&, CudaTarget);

// Kernels take a length outside of [0, T] for the nearer end. This one reports it, as the fault `what`: sentence,
// length, T.
int attention_check_cuda(const AttentionMask&, const AttentionSizes&, int what, CudaFault* faults, CudaTarget);

}  // namespace s2sfast

// Each works on pieces [begin, end) of one sentence.
S2SFAST_DECLARE_KERNELS(
    template <class T> void attention_dots(const AttentionDots<T>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R>
    void attention_products(const AttentionProducts<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void attention_softmax(const AttentionSoftmax<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R>
    void attention_softmax_backward(const AttentionSoftmaxBackward<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class T> void attention_sum(const AttentionSum<T>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void attention_spread(const AttentionSpread<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void attention_keep(const AttentionKeep<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void attention_join(const AttentionJoin<R>&, int64_t sentence, int64_t begin, int64_t end);
    bool all_finite(const float* x, int64_t n); bool all_finite(const double* x, int64_t n);)
