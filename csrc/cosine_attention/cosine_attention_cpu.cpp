#include <algorithm>
#include <cmath>

#include "common/cpu/cosine.h"
#include "common/cpu/lanes.h"
#include "cosine_attention/cosine_attention.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// The factor of the strength for each query.
template <class R>
R strength_of(const CosineInputs<R>& in, int64_t query) {
  return static_cast<R>(in.scale) * (in.strength ? in.strength[query] : R{1});
}

}  // namespace

template <class T>
void cosine_squares(const CosineSquares<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  using R = Real<T>;
  for (int64_t i = begin; i < end; ++i) {
    const T* row = stage.rows.row(sentence, i);
    V<R> sum = Lanes<R>::splat(0);
    each_lanes<R>(stage.rows.width, [&](int64_t d, int64_t lanes) {
      const V<R> x = load_lanes<R>(row + d, lanes);
      sum = fma(x, x, sum);
    });
    stage.squares[sentence * stage.rows_per_sentence + i] = sum_of(sum);
  }
}

template <class R>
void cosine_scores(const CosineScores<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const CosineInputs<R>& in = stage.in;
  const int64_t P = in.sizes.positions;
  const R* squares = in.key_squares + sentence * P;
  const R eps = static_cast<R>(in.eps), extra = in.mode == CosineEps::product ? eps : R{0};
  for (int64_t q = begin; q < end; ++q) {
    const int64_t query = sentence * in.sizes.queries + q;
    const R strength = strength_of(in, query), norm = norm_of(in.mode, eps, in.query_squares[query]);
    R* row = stage.scores + query * P;
    for (int64_t t = 0; t < in.mask.length(sentence, P); ++t)
      if (in.mask.allows(sentence, q, t))
        row[t] = strength * (row[t] / (norm * norm_of(in.mode, eps, squares[t]) + extra));
  }
}

template <class R>
void cosine_backward(const CosineBackward<R>& stage, int64_t sentence, int64_t /*begin*/, int64_t /*end*/) {
  const CosineInputs<R>& in = stage.in;
  const auto& [B, Q, P] = in.sizes;
  const R eps = static_cast<R>(in.eps), extra = in.mode == CosineEps::product ? eps : R{0};
  const R* squares = in.key_squares + sentence * P;
  R* from_key = stage.from_key + sentence * P;
  std::fill_n(from_key, P, R{0});
  for (int64_t q = 0; q < Q; ++q) {
    const int64_t query = sentence * Q + q;
    const R strength = strength_of(in, query), square = in.query_squares[query], norm = norm_of(in.mode, eps, square);
    const R slope = slope_of(in.mode, eps, square);
    R from_query = 0, dstrength = 0;
    for (int64_t t = 0; t < in.mask.length(sentence, P); ++t) {
      if (!in.mask.allows(sentence, q, t)) continue;
      const int64_t pair = query * P + t;
      const R norms = norm * norm_of(in.mode, eps, squares[t]), denominator = norms + extra;
      const R cosine = stage.dots[pair] / denominator, dscore = stage.pairs[pair];
      // The share of the norms in the denominator: d log(denominator) = share (d log |q| + d log |k|).
      const R share = extra > 0 ? norms / denominator : R{1}, pull = dscore * strength * cosine * share;
      dstrength += dscore * cosine;
      from_query += pull * slope;
      from_key[t] += pull * slope_of(in.mode, eps, squares[t]);
      stage.pairs[pair] = dscore * strength / denominator;
    }
    stage.from_query[query] = from_query;
    if (stage.strength) stage.strength[query] = static_cast<R>(in.scale) * dstrength;
  }
}

template <class T>
void cosine_correct(const CosineCorrect<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  using R = Real<T>;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = sentence * stage.rows_per_sentence + i;
    if (stage.factors[at] == 0) continue;  // such as a masked row, which may hold anything
    const T* row = stage.rows.row(sentence, i);
    R* line = stage.lines + at * stage.rows.width;
    const V<R> factor = Lanes<R>::splat(-stage.factors[at]);
    each_lanes<R>(stage.rows.width, [&](int64_t d, int64_t lanes) {
      store_lanes<R>(line + d, fma(factor, load_lanes<R>(row + d, lanes), load_lanes<R>(line + d, lanes)), lanes);
    });
  }
}

template void cosine_squares(const CosineSquares<float>&, int64_t, int64_t, int64_t);
template void cosine_squares(const CosineSquares<double>&, int64_t, int64_t, int64_t);
template void cosine_squares(const CosineSquares<BFloat16>&, int64_t, int64_t, int64_t);
template void cosine_squares(const CosineSquares<Half>&, int64_t, int64_t, int64_t);
template void cosine_scores(const CosineScores<float>&, int64_t, int64_t, int64_t);
template void cosine_scores(const CosineScores<double>&, int64_t, int64_t, int64_t);
template void cosine_backward(const CosineBackward<float>&, int64_t, int64_t, int64_t);
template void cosine_backward(const CosineBackward<double>&, int64_t, int64_t, int64_t);
template void cosine_correct(const CosineCorrect<float>&, int64_t, int64_t, int64_t);
template void cosine_correct(const CosineCorrect<double>&, int64_t, int64_t, int64_t);
template void cosine_correct(const CosineCorrect<BFloat16>&, int64_t, int64_t, int64_t);
template void cosine_correct(const CosineCorrect<Half>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
