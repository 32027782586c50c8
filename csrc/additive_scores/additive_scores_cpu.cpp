#include <algorithm>
#include <limits>

#include "additive_scores/additive_scores.h"
#include "attention/positions.h"
#include "common/cpu/tanh.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// The argument of tanh for one pair, some columns at a time.
template <class T, bool kFeatures>
struct Pair {
  using R = Real<T>;
  const R* query;
  const T* key;
  const T* features;
  const AdditiveInputs<T>& in;

  Pair(const AdditiveInputs<T>& in, int64_t b, int64_t q, int64_t t)
      : query(in.query.row(b, q)),
        key(in.keys.row(b, t)),
        features(kFeatures ? in.features_of(b, q, t) : nullptr),
        in(in) {}

  V<R> inside(V<R> q, int64_t d, int64_t lanes) const {
    V<R> x = q + load_lanes<R>(key + d, lanes);
    if constexpr (kFeatures)
      for (int64_t c = 0; c < in.channels; ++c)
        x = fma(Lanes<R>::splat(to_real(R{}, features[c])), load_lanes<R>(in.feature_weight + c * in.width + d, lanes),
                x);
    return x;
  }
};

// The scores of kPositions positions for one query.
template <class T, bool kFeatures, int kPositions>
inline void score(const AdditiveInputs<T>& in, int64_t b, int64_t q, const int32_t* at, Real<T>* row) {
  using R = Real<T>;
  const auto pair = [&](int j) { return Pair<T, kFeatures>(in, b, q, at[j]); };
  V<R> sums[kPositions] = {};
  const R* query = in.query.row(b, q);
  each_lanes<R>(in.width, [&](int64_t d, int64_t lanes) {
    const V<R> x = load_lanes<R>(query + d, lanes), v = load_lanes<R>(in.v + d, lanes);
    for (int j = 0; j < kPositions; ++j) sums[j] = fma(v, tanh(pair(j).inside(x, d, lanes)), sums[j]);
  });
  for (int j = 0; j < kPositions; ++j) row[at[j]] = sum_of(sums[j]);
}

template <class T, bool kFeatures>
void score_pieces(const AdditiveScores<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  constexpr int kPositions = 4;
  using R = Real<T>;
  const AdditiveInputs<T>& in = stage.in;
  const auto row = [&](int64_t q) { return stage.scores + (sentence * in.sizes.queries + q) * in.sizes.positions; };
  for (int64_t piece = begin; piece < end; ++piece) {
    const PairBlock block = pair_block(in.sizes, piece);
    for (int64_t q = block.first_query; q < block.last_query; ++q)
      std::fill(row(q) + block.first_position, row(q) + block.last_position, -std::numeric_limits<R>::infinity());
    each_group(in.sizes, in.mask, sentence, block, [&](int64_t q, int64_t group_end, const Positions& list) {
      for (; q < group_end; ++q) {
        int i = 0;
        for (; i + kPositions <= list.count; i += kPositions)
          score<T, kFeatures, kPositions>(in, sentence, q, list.at + i, row(q));
        for (; i < list.count; ++i) score<T, kFeatures, 1>(in, sentence, q, list.at + i, row(q));
      }
    });
  }
}

// --- backward ------------------------------------------------------------------------------------------

// Without features: kVectors vectors of columns of the keys stay in registers while the queries pass.
template <class T, int kVectors>
void columns_backward(const AdditiveBackward<T>& stage, int64_t b, int64_t column, int64_t lanes) {
  using R = Real<T>;
  constexpr int64_t kQueries = 32;  // their columns and those of their gradients stay in L1
  const AdditiveInputs<T>& in = stage.in;
  const auto& [B, Q, P] = in.sizes;
  const auto at = [&](int i) { return column + i * kCount<R>; };
  const auto lanes_of = [&](int i) { return i == kVectors - 1 ? lanes : kCount<R>; };
  const V<R> one = Lanes<R>::splat(1);
  V<R> v[kVectors], dv[kVectors] = {};
  for (int i = 0; i < kVectors; ++i) v[i] = load_lanes<R>(in.v + at(i), lanes_of(i));

  for (int64_t first = 0; first < Q; first += kQueries) {
    const int64_t last = std::min(first + kQueries, Q);
    for (int64_t t = 0; t < in.mask.length(b, P); ++t) {
      R* line = stage.keys + (b * P + t) * in.width;
      V<R> key[kVectors], dkey[kVectors];
      for (int i = 0; i < kVectors; ++i) {
        key[i] = load_lanes<R>(in.keys.row(b, t) + at(i), lanes_of(i));
        dkey[i] = load_lanes<R>(line + at(i), lanes_of(i));
      }
      for (int64_t q = first; q < last; ++q) {
        const R dscore = stage.dscores[(b * Q + q) * P + t];
        if (dscore == 0) continue;
        const R* query = in.query.row(b, q);
        R* dquery = stage.query + (b * Q + q) * in.width;
        for (int i = 0; i < kVectors; ++i) {
          const V<R> y = tanh(load_lanes<R>(query + at(i), lanes_of(i)) + key[i]);
          const V<R> d = Lanes<R>::splat(dscore), u = d * v[i] * fma(-y, y, one);
          dv[i] = fma(d, y, dv[i]);
          dkey[i] += u;
          store_lanes<R>(dquery + at(i), load_lanes<R>(dquery + at(i), lanes_of(i)) + u, lanes_of(i));
        }
      }
      for (int i = 0; i < kVectors; ++i) store_lanes<R>(line + at(i), dkey[i], lanes_of(i));
    }
  }
  for (int i = 0; i < kVectors; ++i) store_lanes<R>(stage.v + b * in.width + at(i), dv[i], lanes_of(i));
}

template <class T>
void group_backward(const AdditiveBackward<T>& stage, int64_t b, int64_t begin, int64_t end) {
  constexpr int kVectors = 2;
  constexpr int64_t kLanesOf = kCount<Real<T>>;
  int64_t column = begin;
  for (; column + kVectors * kLanesOf <= end; column += kVectors * kLanesOf)
    columns_backward<T, kVectors>(stage, b, column, kLanesOf);
  for (; column < end; column += kLanesOf)
    columns_backward<T, 1>(stage, b, column, std::min<int64_t>(kLanesOf, end - column));
}

template <class R>
inline void add_to(R* line, V<R> x, int64_t lanes) {
  store_lanes<R>(line, load_lanes<R>(line, lanes) + x, lanes);
}

// With features: pair after pair, since dfeatures of a pair sums over the columns.
template <class T>
void group_backward_with_features(const AdditiveBackward<T>& stage, int64_t b, int64_t begin, int64_t end,
                                  Real<T>* dfeatures) {
  using R = Real<T>;
  const AdditiveInputs<T>& in = stage.in;
  const auto& [B, Q, P] = in.sizes;
  const int64_t C = in.channels, D = in.width;
  const V<R> one = Lanes<R>::splat(1);
  R *dv = stage.v + b * D, *dweight = stage.feature_weight + b * C * D;
  for (int64_t t = 0; t < in.mask.length(b, P); ++t)
    for (int64_t q = 0; q < Q; ++q) {
      const int64_t pair = (b * Q + q) * P + t;
      const R dscore = stage.dscores[pair];
      if (dscore == 0) continue;
      const Pair<T, true> inputs(in, b, q, t);
      R *dquery = stage.query + (b * Q + q) * D, *dkey = stage.keys + (b * P + t) * D;
      R u[256];
      for (int64_t start = begin; start < end; start += 256) {
        const int64_t stop = std::min<int64_t>(start + 256, end);
        each_lanes<R>(stop - start, [&](int64_t i, int64_t lanes) {
          const int64_t d = start + i;
          const V<R> y = tanh(inputs.inside(load_lanes<R>(inputs.query + d, lanes), d, lanes));
          const V<R> g = Lanes<R>::splat(dscore), du = g * load_lanes<R>(in.v + d, lanes) * fma(-y, y, one);
          add_to<R>(dv + d, g * y, lanes);
          add_to<R>(dquery + d, du, lanes);
          add_to<R>(dkey + d, du, lanes);
          store_lanes<R>(u + i, du, lanes);
        });
        for (int64_t c = 0; c < C; ++c) {
          const V<R> feature = Lanes<R>::splat(to_real(R{}, inputs.features[c]));
          const R* weight = in.feature_weight + c * D + start;
          V<R> sum = Lanes<R>::splat(0);
          each_lanes<R>(stop - start, [&](int64_t i, int64_t lanes) {
            const V<R> du = load_lanes<R>(u + i, lanes);
            sum = fma(du, load_lanes<R>(weight + i, lanes), sum);
            add_to<R>(dweight + c * D + start + i, feature * du, lanes);
          });
          dfeatures[pair * C + c] += sum_of(sum);
        }
      }
    }
}

}  // namespace

template <class T>
void additive_scores(const AdditiveScores<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  if (stage.in.channels)
    score_pieces<T, true>(stage, sentence, begin, end);
  else
    score_pieces<T, false>(stage, sentence, begin, end);
}

template <class T>
void additive_scores_backward(const AdditiveBackward<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  using R = Real<T>;
  const AdditiveInputs<T>& in = stage.in;
  const auto& [B, Q, P] = in.sizes;
  const int64_t width = additive_group_width(in.width, in.channels), C = in.channels;
  for (int64_t group = begin; group < end; ++group) {
    const int64_t first = group * width, last = std::min(first + width, in.width);
    const auto clear = [&](R* lines, int64_t count) {
      for (int64_t i = 0; i < count; ++i) std::fill(lines + i * in.width + first, lines + i * in.width + last, R{0});
    };
    clear(stage.query + sentence * Q * in.width, Q);
    clear(stage.keys + sentence * P * in.width, P);
    if (C == 0) {
      group_backward(stage, sentence, first, last);
      continue;
    }
    clear(stage.v + sentence * in.width, 1);
    clear(stage.feature_weight + sentence * C * in.width, C);
    R* dfeatures = stage.features + group * B * Q * P * C;
    std::fill_n(dfeatures + sentence * Q * P * C, Q * P * C, R{0});
    group_backward_with_features(stage, sentence, first, last, dfeatures);
  }
}

template void additive_scores(const AdditiveScores<float>&, int64_t, int64_t, int64_t);
template void additive_scores(const AdditiveScores<double>&, int64_t, int64_t, int64_t);
template void additive_scores(const AdditiveScores<BFloat16>&, int64_t, int64_t, int64_t);
template void additive_scores(const AdditiveScores<Half>&, int64_t, int64_t, int64_t);
template void additive_scores_backward(const AdditiveBackward<float>&, int64_t, int64_t, int64_t);
template void additive_scores_backward(const AdditiveBackward<double>&, int64_t, int64_t, int64_t);
template void additive_scores_backward(const AdditiveBackward<BFloat16>&, int64_t, int64_t, int64_t);
template void additive_scores_backward(const AdditiveBackward<Half>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
