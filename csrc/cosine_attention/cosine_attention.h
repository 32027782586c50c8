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
#include "attention/attention.h"

namespace s2sfast {

enum class CosineEps : int { clamp, sqrt, product };

template <class R>
struct CosineInputs {
  AttentionSizes sizes;
  CosineEps mode;
  double eps;
  const R* strength;                     // (B, Q), or null
  double scale;                          // times it
  const R *query_squares, *key_squares;  // (B, Q) and (B, T): sums of squares
};

template <class R>
struct CosineGradients {
  R* pairs;                  // (B, Q, T): dscores in, a out
  R *from_query, *from_key;  // (B, Q), (B, T)
  R* strength;               // (B, Q), or null
};

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // Sums of squares of rows [begin, end) of a sentence.
    template <class T> void cosine_squares(AttentionRows<const T> rows, int64_t rows_per_sentence, Real<T>* squares,
                                           int64_t sentence, int64_t begin, int64_t end);
    // Dot products to scores in place; masked ones, -inf, stay. A piece is a query.
    template <class R> void cosine_scores(const CosineInputs<R>&, const AttentionMask&, R* scores, int64_t sentence,
                                          int64_t begin, int64_t end);
    // A whole sentence; `dots` as attention_dots leaves them, 0 where masked.
    template <class R> void cosine_scores_backward(const CosineInputs<R>&, const AttentionMask&, const R* dots,
                                                   const CosineGradients<R>&, int64_t sentence);)
