#pragma once
// Scores of additive attention (Bahdanau, Cho & Bengio 2015, appendix A.1.2; coverage as a feature: See, Liu & Manning
// 2017, equation 11):
//
//   x[d] = query[b, q, d] + keys[b, t, d] + sum_c features[b, q, t, c] feature_weight[c, d]
//   score[b, q, t] = sum_d v[d] tanh(x[d])
//
// and back, with u[d] = dscore v[d] (1 - tanh(x[d])^2):
//
//   dquery = sum_t u;  dkeys = sum_q u;  dv = sum_bqt dscore tanh(x);  dfeatures[c] = feature_weight[c] . u;
//   dfeature_weight[c] = sum_bqt features[c] u
//
// One tanh for an element forward, one backward, where a piece is some columns of a sentence: all sums but those over
// the sentences and of dfeatures are its own. Where dscore is 0, as at masked pairs, nothing is looked at.
#include "attention/attention.h"

namespace s2sfast {

template <class T>
struct AdditiveInputs {
  AttentionSizes sizes;
  AttentionMask mask;
  int64_t width;                            // D
  Rows<const Real<T>> query;                // (B, Q, D)
  Rows<const T> keys;                       // (B, T, D)
  const Real<T>* v;                         // (D,)
  int64_t channels = 0;                     // C; 0: no features
  const T* features = nullptr;              // (B, Q, T, C)
  int64_t feature_strides[3] = {};          // of B, Q, T in elements; the channels are neighbours
  const Real<T>* feature_weight = nullptr;  // (C, D)

  constexpr const T* features_of(int64_t b, int64_t q, int64_t t) const {
    return features + b * feature_strides[0] + q * feature_strides[1] + t * feature_strides[2];
  }
};

// -inf where masked. A piece is a block of queries and one of positions, as of AttentionDots.
template <class T>
struct AdditiveScores {
  AdditiveInputs<T> in;
  Real<T>* scores;  // (B, Q, T)
};

// A piece is a group of columns.
template <class T>
struct AdditiveBackward {
  AdditiveInputs<T> in;
  const Real<T>* dscores;   // (B, Q, T), 0 where masked
  Real<T>*query, *keys;     // (splits, B, Q, D), (B, T, D)
  Real<T>* v;               // (splits, B, D), a part for each split and sentence
  Real<T>* features;        // (groups, B, Q, T, C), a part for each group of columns
  Real<T>* feature_weight;  // (splits, B, C, D)
};

// Columns of a group. With features there are at most four groups, since each has a part of dfeatures.
constexpr int64_t additive_group_width(int64_t width, int64_t channels) {
  if (channels == 0) return 64;
  const int64_t quarter = (width + 255) / 256 * 64;
  return quarter < 128 ? 128 : quarter;
}

// On the device a sentence's positions are shared out in at most eight splits, which leave a part each of what sums
// over positions; columns are one group. On the CPU there is one split.
inline constexpr int64_t kAdditiveSplitUnit = 32, kAdditiveMostSplits = 8;
constexpr int64_t additive_split_positions(int64_t positions) {
  const int64_t units = attention_blocks(attention_blocks(positions, kAdditiveSplitUnit), kAdditiveMostSplits);
  return (units ? units : 1) * kAdditiveSplitUnit;
}
constexpr int64_t additive_splits(int64_t positions) {
  return positions ? attention_blocks(positions, additive_split_positions(positions)) : 1;
}

// As of attention.h.
template <class T>
int additive_scores_cuda(const AdditiveScores<T>&, CudaTarget);
template <class T>
int additive_scores_backward_cuda(const AdditiveBackward<T>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(template <class T>
                        void additive_scores(const AdditiveScores<T>&, int64_t sentence, int64_t begin, int64_t end);
                        template <class T> void additive_scores_backward(const AdditiveBackward<T>&, int64_t sentence,
                                                                         int64_t begin, int64_t end);)
