#pragma once
// Scores of attention by cosine similarity (Graves, Wayne & Danihelka 2014, equations 5 and 6):
//
//   score[b, q, t] = strength[b, q] cosine(query[b, q], keys[b, t])
//
// with a norm that is never 0, in one of three ways:
//
//   clamp    q . k / (max(|q|, eps) max(|k|, eps))           torch.nn.functional.cosine_similarity
//   sqrt     q . k / (sqrt(|q|^2 + eps) sqrt(|k|^2 + eps))   its gradient is bounded, by about eps^-1/2
//   product  q . k / (|q| |k| + eps)
//
// Back: dquery[q] = sum_t a[q, t] k[t] - from_query[q] q and dkeys[t] = sum_q a[q, t] q - from_key[t] k[t], with
// a = dscore strength / denominator, and what the norms contribute in from_query and from_key. |x| has gradient 0 at 0.
#include "attention/decode.h"
#include "common/cosine.h"

namespace s2sfast {

// Sums of squares of rows. A piece is a row.
template <class T>
struct CosineSquares {
  Rows<const T> rows;
  int64_t sentences, rows_per_sentence;
  Real<T>* squares;
};

template <class R>
struct CosineInputs {
  AttentionSizes sizes;
  AttentionMask mask;
  CosineEps mode;
  double eps;
  const R* strength;                     // (B, Q), or null
  double scale;                          // times it
  const R *query_squares, *key_squares;  // (B, Q) and (B, T)
};

// Dot products to scores in place; masked ones, -inf, stay. A piece is a query.
template <class R>
struct CosineScores {
  CosineInputs<R> in;
  R* scores;  // (B, Q, T)
};

// A piece is a sentence.
template <class R>
struct CosineBackward {
  CosineInputs<R> in;
  const R* dots;             // (B, Q, T)
  R* pairs;                  // (B, Q, T): dscores before, a after
  R *from_query, *from_key;  // (B, Q), (B, T)
  R* strength;               // (B, Q), or null
};

// line[i] -= factor[i] row[i], the norm's part of a gradient. A piece is a row.
template <class T>
struct CosineCorrect {
  Rows<const T> rows;
  int64_t sentences, rows_per_sentence;
  const Real<T>* factors;
  Real<T>* lines;
};

// As of attention.h, and decode.h; there the squares are computed on the way.
template <class T>
int cosine_squares_cuda(const CosineSquares<T>&, CudaTarget);
template <class R>
int cosine_scores_cuda(const CosineScores<R>&, CudaTarget);
template <class R>
int cosine_backward_cuda(const CosineBackward<R>&, CudaTarget);
template <class T>
int cosine_correct_cuda(const CosineCorrect<T>&, CudaTarget);
template <class T>
int cosine_decode_cuda(const AttentionDecode<T>&, const CosineInputs<Real<T>>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    template <class T> void cosine_squares(const CosineSquares<T>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void cosine_scores(const CosineScores<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void cosine_backward(const CosineBackward<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class T> void cosine_correct(const CosineCorrect<T>&, int64_t sentence, int64_t begin, int64_t end);)
