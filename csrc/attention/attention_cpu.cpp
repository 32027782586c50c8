#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/attention.h"
#include "attention/positions.h"
#include "attention/softmax.h"
#include "common/cpu/lanes.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// out[i][j] = x_i . y_j
template <class R, int kX, int kY, class T>
inline void dot_products(const R* const* x, const T* const* y, int64_t width, R (&out)[kX][kY]) {
  V<R> sums[kX][kY] = {};
  each_lanes<R>(width, [&](int64_t d, int64_t lanes) {
    V<R> a[kX];
    for (int i = 0; i < kX; ++i) a[i] = load_lanes<R>(x[i] + d, lanes);
    for (int j = 0; j < kY; ++j) {
      const V<R> b = load_lanes<R>(y[j] + d, lanes);
      for (int i = 0; i < kX; ++i) sums[i][j] = fma(a[i], b, sums[i][j]);
    }
  });
  for (int i = 0; i < kX; ++i)
    for (int j = 0; j < kY; ++j) out[i][j] = sum_of(sums[i][j]);
}

// Rows of x and of outputs at a time: as many sums as there are registers for.
constexpr int kBlock = kLanes == 16 ? 5 : 3;
constexpr int kDotPositions = 4;

template <class T>
struct SentenceDots {
  using R = Real<T>;
  const AttentionDots<T>& stage;
  int64_t sentence;

  template <int kX, int kY>
  void block(int64_t q, const int32_t* at) const {
    const R* queries[kX];
    const T* keys[kY];
    for (int i = 0; i < kX; ++i) queries[i] = stage.x.row(sentence, q + i);
    for (int j = 0; j < kY; ++j) keys[j] = stage.y.row(sentence, at[j]);
    R found[kX][kY];
    dot_products<R, kX, kY>(queries, keys, stage.x.width, found);
    for (int i = 0; i < kX; ++i)
      for (int j = 0; j < kY; ++j) row(q + i)[at[j]] = static_cast<R>(stage.scale) * found[i][j];
  }

  R* row(int64_t q) const { return stage.out + (sentence * stage.sizes.queries + q) * stage.sizes.positions; }

  void operator()(int64_t begin, int64_t end, const Positions& list) const {
    in_blocks<kBlock>(begin, end, [&]<int kX>(int64_t q) {
      int i = 0;
      for (; i + kDotPositions <= list.count; i += kDotPositions) block<kX, kDotPositions>(q, list.at + i);
      for (; i < list.count; ++i) block<kX, 1>(q, list.at + i);
    });
  }
};

// out[i][e] += sum_n weights[i][n] rows[n][e] for kVectors vectors of columns; the last has `lanes`.
template <class R, int kX, int kVectors, class T>
inline void weighted_rows(const R* const* weights, const int32_t* at, int count, const Rows<T>& rows, int64_t sentence,
                          int64_t column, int64_t lanes, R* const* out) {
  V<R> sums[kX][kVectors];
  const auto lanes_of = [&](int v) { return v == kVectors - 1 ? lanes : kCount<R>; };
  for (int i = 0; i < kX; ++i)
    for (int v = 0; v < kVectors; ++v) sums[i][v] = load_lanes<R>(out[i] + column + v * kCount<R>, lanes_of(v));
  for (int n = 0; n < count; ++n) {
    const auto* row = rows.row(sentence, at[n]) + column;
    for (int v = 0; v < kVectors; ++v) {
      const V<R> y = load_lanes<R>(row + v * kCount<R>, lanes_of(v));
      for (int i = 0; i < kX; ++i) sums[i][v] = fma(Lanes<R>::splat(weights[i][at[n]]), y, sums[i][v]);
    }
  }
  for (int i = 0; i < kX; ++i)
    for (int v = 0; v < kVectors; ++v) store_lanes<R>(out[i] + column + v * kCount<R>, sums[i][v], lanes_of(v));
}

// out[i][begin, end) += sum_n weights[i][at[n]] rows[at[n]]
template <class R, int kX, class T>
inline void add_weighted_rows(const R* const* weights, const int32_t* at, int count, const Rows<T>& rows,
                              int64_t sentence, int64_t begin, int64_t end, R* const* out) {
  constexpr int kVectors = 4;
  int64_t e = begin;
  for (; e + kVectors * kCount<R> <= end; e += kVectors * kCount<R>)
    weighted_rows<R, kX, kVectors>(weights, at, count, rows, sentence, e, kCount<R>, out);
  for (; e < end; e += kCount<R>)
    weighted_rows<R, kX, 1>(weights, at, count, rows, sentence, e, std::min<int64_t>(kCount<R>, end - e), out);
}

// The weights of a row of scores. Without a finite score: all is masked, or a NaN or infinity is spread over what is
// attended to, and over nothing else.
template <class R>
inline void softmax_or_nan(const AttentionSizes& s, const AttentionMask& mask, R scale, int64_t b, int64_t q, R* row) {
  if (softmax_row(row, scale, s.positions)) return;
  const int64_t length = mask.length(b, s.positions);
  for (int64_t t = 0; t < s.positions; ++t)
    row[t] = t < length && mask.allows(b, q, t) ? std::numeric_limits<R>::quiet_NaN() : R{0};
}

}  // namespace

template <class T>
void attention_dots(const AttentionDots<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const SentenceDots<T> dots{stage, sentence};
  for (int64_t piece = begin; piece < end; ++piece) {
    const PairBlock block = pair_block(stage.sizes, piece);
    for (int64_t q = block.first_query; q < block.last_query; ++q)
      std::fill(dots.row(q) + block.first_position, dots.row(q) + block.last_position, stage.masked);
    each_group(stage.sizes, stage.mask, sentence, block, dots);
  }
}

template <class R>
void attention_softmax(const AttentionSoftmax<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t q = begin; q < end; ++q)
    softmax_or_nan(stage.sizes, stage.mask, R{1}, sentence, q,
                   stage.scores + (sentence * stage.sizes.queries + q) * stage.sizes.positions);
}

template <class R>
void attention_products(const AttentionProducts<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const int64_t T = stage.sizes.positions, length = stage.mask.length(sentence, T);
  const bool masked = stage.mask.allowed || length < T;
  const R scale = static_cast<R>(stage.scale);
  for (int64_t q = begin; q < end; ++q) {
    R* row = stage.products + (sentence * stage.sizes.queries + q) * T;
    if (masked) {  // the scale first: -inf could not bear a negative one, or 0
      for (int64_t t = 0; t < length; ++t) row[t] *= scale;
      for (int64_t t = 0; t < length && stage.mask.allowed; ++t)
        if (!stage.mask.allows(sentence, q, t)) row[t] = -std::numeric_limits<R>::infinity();
      std::fill(row + length, row + T, -std::numeric_limits<R>::infinity());
    }
    softmax_or_nan(stage.sizes, stage.mask, masked ? R{1} : scale, sentence, q, row);
  }
}

template <class R>
void attention_softmax_backward(const AttentionSoftmaxBackward<R>& stage, int64_t sentence, int64_t begin,
                                int64_t end) {
  for (int64_t q = begin; q < end; ++q) {
    const int64_t at = (sentence * stage.sizes.queries + q) * stage.sizes.positions;
    softmax_row_backward(stage.weights + at, stage.more ? stage.more + at : nullptr, stage.d + at,
                         static_cast<R>(stage.scale), stage.sizes.positions);
  }
}

template <class T>
void attention_sum(const AttentionSum<T>& stage, int64_t sentence, int64_t begin, int64_t end) {
  using R = Real<T>;
  const AttentionSizes& s = stage.sizes;
  const int64_t column_blocks = attention_blocks(stage.out.width, kAttentionColumns);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t column = piece % column_blocks * kAttentionColumns;
    const int64_t columns_end = std::min(column + kAttentionColumns, stage.out.width);
    PairBlock block{piece / column_blocks * kAttentionQueries, 0, 0, 0};
    block.last_query = std::min(block.first_query + kAttentionQueries, s.queries);
    for (int64_t q = block.first_query; q < block.last_query; ++q)
      std::fill(stage.out.row(sentence, q) + column, stage.out.row(sentence, q) + columns_end, R{0});

    const auto add = [&]<int kX>(int64_t q, const Positions& list) {
      const R* weights[kX];
      R* lines[kX];
      for (int i = 0; i < kX; ++i) {
        weights[i] = stage.weights + (sentence * s.queries + q + i) * s.positions;
        lines[i] = stage.out.row(sentence, q + i);
      }
      add_weighted_rows<R, kX>(weights, list.at, list.count, stage.y, sentence, column, columns_end, lines);
    };
    for (; block.first_position < s.positions; block.first_position = block.last_position) {
      block.last_position = std::min(block.first_position + kAttentionPositions, s.positions);
      each_group(s, stage.mask, sentence, block, [&](int64_t q, int64_t group_end, const Positions& list) {
        in_blocks<kBlock>(q, group_end, [&]<int kX>(int64_t first) { add.template operator()<kX>(first, list); });
      });
    }
  }
}

template <class R>
void attention_spread(const AttentionSpread<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const AttentionSizes& s = stage.sizes;
  const R* weights = stage.weights + sentence * s.queries * s.positions;
  const int64_t length = stage.mask.length(sentence, s.positions);
  for (int64_t t = begin * kAttentionPositions; t < std::min(end * kAttentionPositions, s.positions); ++t) {
    R* line = stage.out.row(sentence, t);
    if (!stage.add) std::fill(line, line + stage.out.width, R{0});
    if (t >= length) continue;
    for (int64_t first = 0; first < s.queries; first += kAttentionQueries) {
      R column[kAttentionQueries];  // the weights of this position
      int32_t attending[kAttentionQueries];
      int count = 0;
      for (int64_t i = 0; i < std::min(kAttentionQueries, s.queries - first); ++i) {
        column[i] = weights[(first + i) * s.positions + t];
        if (stage.mask.allows(sentence, first + i, t)) attending[count++] = static_cast<int32_t>(i);
      }
      Rows<const R> rows = stage.x;
      rows.data = rows.row(0, first);
      const R* const all[] = {column};
      add_weighted_rows<R, 1>(all, attending, count, rows, sentence, 0, stage.out.width, &line);
    }
  }
}

template <class R>
void attention_keep(const AttentionKeep<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const int64_t T = stage.sizes.positions, length = stage.mask.length(sentence, T);
  for (int64_t q = begin; q < end; ++q) {
    const int64_t row = (sentence * stage.sizes.queries + q) * T;
    for (int64_t t = 0; t < T; ++t)
      stage.out[row + t] = t < length && stage.mask.allows(sentence, q, t) ? stage.in[row + t] : R{0};
  }
}

template <class R>
void attention_join(const AttentionJoin<R>& stage, int64_t, int64_t begin, int64_t end) {
  std::fill(stage.out + begin, stage.out + end, R{0});
  for (int64_t n = 0; n < stage.count; ++n)
    for (int64_t i = begin; i < end; ++i) stage.out[i] += stage.parts[n * stage.width + i];
}

namespace {
template <class R>
bool finite(const R* x, int64_t n) {
  V<R> sums = Lanes<R>::splat(0);  // x - x is 0 or NaN
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> v = load_lanes<R>(x + i, lanes);
    sums += v - v;
  });
  return sum_of(sums) == 0;
}
}  // namespace

bool all_finite(const float* x, int64_t n) { return finite(x, n); }
bool all_finite(const double* x, int64_t n) { return finite(x, n); }

template void attention_dots(const AttentionDots<float>&, int64_t, int64_t, int64_t);
template void attention_dots(const AttentionDots<double>&, int64_t, int64_t, int64_t);
template void attention_dots(const AttentionDots<BFloat16>&, int64_t, int64_t, int64_t);
template void attention_dots(const AttentionDots<Half>&, int64_t, int64_t, int64_t);
template void attention_products(const AttentionProducts<float>&, int64_t, int64_t, int64_t);
template void attention_products(const AttentionProducts<double>&, int64_t, int64_t, int64_t);
template void attention_softmax(const AttentionSoftmax<float>&, int64_t, int64_t, int64_t);
template void attention_softmax(const AttentionSoftmax<double>&, int64_t, int64_t, int64_t);
template void attention_softmax_backward(const AttentionSoftmaxBackward<float>&, int64_t, int64_t, int64_t);
template void attention_softmax_backward(const AttentionSoftmaxBackward<double>&, int64_t, int64_t, int64_t);
template void attention_sum(const AttentionSum<float>&, int64_t, int64_t, int64_t);
template void attention_sum(const AttentionSum<double>&, int64_t, int64_t, int64_t);
template void attention_sum(const AttentionSum<BFloat16>&, int64_t, int64_t, int64_t);
template void attention_sum(const AttentionSum<Half>&, int64_t, int64_t, int64_t);
template void attention_spread(const AttentionSpread<float>&, int64_t, int64_t, int64_t);
template void attention_spread(const AttentionSpread<double>&, int64_t, int64_t, int64_t);
template void attention_keep(const AttentionKeep<float>&, int64_t, int64_t, int64_t);
template void attention_keep(const AttentionKeep<double>&, int64_t, int64_t, int64_t);
template void attention_join(const AttentionJoin<float>&, int64_t, int64_t, int64_t);
template void attention_join(const AttentionJoin<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
