// The kernels of attention on buffers of exactly their sizes, against loops in double: what they compute, and, under
// the sanitizers, what they touch.
#include <cmath>
#include <cstdlib>
#include <vector>

#include "additive_scores/additive_scores.h"
#include "check.h"
#include "cosine_attention/cosine_attention.h"

namespace s2sfast::test {
namespace {

using Floats = std::vector<float>;
constexpr double kTolerance = 2e-5;

struct Problem {
  AttentionSizes sizes;
  int64_t width, channels;
  Floats query, keys, v, features, feature_weight;
  std::vector<int64_t> lengths;
  std::vector<uint8_t> allowed;

  explicit Problem(Random& random)
      : sizes{random.between(0, 3), random.between(0, 40), random.between(0, 140)},
        width(random.between(1, 150)),
        channels(random.chance(0.5) ? 0 : random.between(1, 4)) {
    const auto& [B, Q, T] = sizes;
    const auto draw = [&](Floats& x, int64_t n) {
      x.resize(n);
      for (float& number : x) number = static_cast<float>(random.uniform(-1.5, 1.5));
    };
    draw(query, B * Q * width);
    draw(keys, B * T * width);
    draw(v, width);
    draw(features, B * Q * T * channels);
    draw(feature_weight, channels * width);
    if (random.chance(0.5))
      for (int64_t b = 0; b < B; ++b) lengths.push_back(random.between(0, T));
    if (random.chance(0.5))
      for (int64_t i = 0; i < B * Q * T; ++i) allowed.push_back(random.chance(0.7));
    spoil(random);
  }

  // Masked keys hold NaN, where all queries agree on it.
  void spoil(Random& random) {
    if (!allowed.empty() || lengths.empty() || !random.chance(0.7)) return;
    for (int64_t b = 0; b < sizes.sentences; ++b)
      for (int64_t t = lengths[b]; t < sizes.positions; ++t) keys[(b * sizes.positions + t) * width] = NAN;
  }

  bool attends(int64_t b, int64_t q, int64_t t) const {
    if (!lengths.empty() && t >= lengths[b]) return false;
    return allowed.empty() || allowed[(b * sizes.queries + q) * sizes.positions + t];
  }
  AttentionMask mask() const {
    AttentionMask m;
    if (!lengths.empty()) m.lengths = lengths.data();
    if (!allowed.empty()) {
      m.allowed = reinterpret_cast<const bool*>(allowed.data());
      m.sentence_stride = sizes.queries * sizes.positions;
      m.query_stride = sizes.positions;
      m.position_stride = 1;
    }
    return m;
  }
  Rows<const float> query_rows() const { return {query.data(), width, sizes.queries * width, width}; }
  Rows<const float> key_rows() const { return {keys.data(), width, sizes.positions * width, width}; }
  int64_t pairs() const { return sizes.sentences * sizes.queries * sizes.positions; }
  int64_t pair(int64_t b, int64_t q, int64_t t) const { return (b * sizes.queries + q) * sizes.positions + t; }
  float query_at(int64_t b, int64_t q, int64_t d) const { return query[(b * sizes.queries + q) * width + d]; }
  float key_at(int64_t b, int64_t t, int64_t d) const { return keys[(b * sizes.positions + t) * width + d]; }

  template <class Each>
  void each_pair(Each each) const {
    for (int64_t b = 0; b < sizes.sentences; ++b)
      for (int64_t q = 0; q < sizes.queries; ++q)
        for (int64_t t = 0; t < sizes.positions; ++t)
          if (attends(b, q, t)) each(b, q, t);
  }

  double inside(int64_t b, int64_t q, int64_t t, int64_t d) const {
    double x = double{query_at(b, q, d)} + key_at(b, t, d);
    for (int64_t c = 0; c < channels; ++c)
      x += double{features[pair(b, q, t) * channels + c]} * feature_weight[c * width + d];
    return x;
  }
  AdditiveInputs<float> additive() const {
    AdditiveInputs<float> in{sizes, mask(), width, query_rows(), key_rows(), v.data()};
    if (channels == 0) return in;
    in.channels = channels;
    in.features = features.data();
    in.feature_strides[0] = sizes.queries * sizes.positions * channels;
    in.feature_strides[1] = sizes.positions * channels;
    in.feature_strides[2] = channels;
    in.feature_weight = feature_weight.data();
    return in;
  }
};

void check_near(const Floats& got, const std::vector<double>& expected, Place place) {
  double largest = 0;
  for (double x : expected) largest = std::max(largest, std::fabs(x));
  for (size_t i = 0; i < expected.size(); ++i)
    check(std::fabs(got[i] - expected[i]) <= kTolerance * (1 + largest), place, ", number ", i, ": expected ",
          expected[i], "; got ", got[i]);
}

int64_t pair_pieces(const AttentionSizes& s) {
  return attention_blocks(s.queries, kAttentionQueries) * attention_blocks(s.positions, kAttentionPositions);
}

template <class Run>
void each_sentence(const Problem& p, Run run) {
  for (int64_t b = 0; b < p.sizes.sentences; ++b) run(b);
}

// What dots leave, as weights, and back.
void check_stages(const Problem& p) {
  const AttentionSizes& s = p.sizes;
  Floats weights(p.pairs(), NAN), context(s.sentences * s.queries * p.width, NAN);
  Floats spread(s.sentences * s.positions * p.width, NAN);
  const Rows<float> out{context.data(), p.width, s.queries * p.width, p.width};
  const Rows<float> back{spread.data(), p.width, s.positions * p.width, p.width};
  const AttentionDots<float> dots{s, p.mask(), 0.25, p.query_rows(), p.key_rows(), -INFINITY, weights.data()};
  const AttentionSoftmax<float> softmax{s, p.mask(), weights.data()};
  const AttentionSum<float> sum{s, p.mask(), weights.data(), p.key_rows(), out};
  const AttentionSpread<float> to_keys{s, p.mask(), weights.data(), p.query_rows(), false, back};
  each_sentence(p, [&](int64_t b) {
    S2SFAST_DISPATCH(attention_dots, dots, b, 0, pair_pieces(s));
    S2SFAST_DISPATCH(attention_softmax, softmax, b, 0, s.queries);
    S2SFAST_DISPATCH(attention_sum, sum, b, 0,
                     attention_blocks(s.queries, kAttentionQueries) * attention_blocks(p.width, kAttentionColumns));
    S2SFAST_DISPATCH(attention_spread, to_keys, b, 0, attention_blocks(s.positions, kAttentionPositions));
  });

  std::vector<double> w(p.pairs(), 0), c(context.size(), 0), k(spread.size(), 0), totals(s.sentences * s.queries, 0);
  p.each_pair([&](int64_t b, int64_t q, int64_t t) {
    double dot = 0;
    for (int64_t d = 0; d < p.width; ++d) dot += double{p.query_at(b, q, d)} * p.key_at(b, t, d);
    totals[b * s.queries + q] += w[p.pair(b, q, t)] = std::exp(0.25 * dot);
  });
  p.each_pair([&](int64_t b, int64_t q, int64_t t) {
    const double weight = w[p.pair(b, q, t)] /= totals[b * s.queries + q];
    for (int64_t d = 0; d < p.width; ++d) {
      c[(b * s.queries + q) * p.width + d] += weight * p.key_at(b, t, d);
      k[(b * s.positions + t) * p.width + d] += weight * p.query_at(b, q, d);
    }
  });
  check_near(weights, w, "weights");
  check_near(context, c, "context");
  check_near(spread, k, "spread");
}

void check_additive(const Problem& p, Random& random) {
  const AttentionSizes& s = p.sizes;
  const int64_t D = p.width, C = p.channels, groups = attention_blocks(D, additive_group_width(D, C));
  Floats scores(p.pairs(), NAN), dscores(p.pairs(), 0);
  p.each_pair(
      [&](int64_t b, int64_t q, int64_t t) { dscores[p.pair(b, q, t)] = static_cast<float>(random.uniform(-1, 1)); });
  Floats dquery(p.query.size(), NAN), dkeys(p.keys.size(), NAN), dv(s.sentences * D, NAN);
  Floats dfeatures(groups * p.pairs() * C, NAN), dweight(s.sentences * C * D, NAN);
  const AdditiveScores<float> forward{p.additive(), scores.data()};
  const AdditiveBackward<float> backward{p.additive(), dscores.data(),   dquery.data(), dkeys.data(),
                                         dv.data(),    dfeatures.data(), dweight.data()};
  each_sentence(p, [&](int64_t b) {
    S2SFAST_DISPATCH(additive_scores, forward, b, 0, pair_pieces(s));
    S2SFAST_DISPATCH(additive_scores_backward, backward, b, 0, groups);
  });

  std::vector<double> e(p.pairs(), 0), q_(dquery.size(), 0), k_(dkeys.size(), 0), v_(dv.size(), 0);
  std::vector<double> f_(p.pairs() * C, 0), w_(dweight.size(), 0);
  p.each_pair([&](int64_t b, int64_t q, int64_t t) {
    const int64_t pair = p.pair(b, q, t);
    for (int64_t d = 0; d < D; ++d) {
      const double y = std::tanh(p.inside(b, q, t, d)), u = double{dscores[pair]} * p.v[d] * (1 - y * y);
      e[pair] += p.v[d] * y;
      v_[b * D + d] += dscores[pair] * y;
      q_[(b * s.queries + q) * D + d] += u;
      k_[(b * s.positions + t) * D + d] += u;
      for (int64_t c = 0; c < C; ++c) {
        f_[pair * C + c] += u * p.feature_weight[c * D + d];
        w_[(b * C + c) * D + d] += u * p.features[pair * C + c];
      }
    }
  });
  for (int64_t b = 0; b < s.sentences; ++b)
    for (int64_t q = 0; q < s.queries; ++q)
      for (int64_t t = 0; t < s.positions; ++t) {
        float& score = scores[p.pair(b, q, t)];
        if (p.attends(b, q, t)) continue;
        check(score == -INFINITY, "a masked score", ": got ", score);
        score = 0;
      }
  Floats joined(p.pairs() * C, NAN);
  const AttentionJoin<float> join{dfeatures.data(), groups, p.pairs() * C, joined.data()};
  S2SFAST_DISPATCH(attention_join, join, 0, 0, p.pairs() * C);
  check_near(scores, e, "additive scores");
  check_near(dquery, q_, "dquery");
  check_near(dkeys, k_, "dkeys");
  check_near(dv, v_, "dv");
  check_near(joined, f_, "dfeatures");
  check_near(dweight, w_, "dfeature_weight");
}

void check_cosine(const Problem& p) {
  const AttentionSizes& s = p.sizes;
  Floats scores(p.pairs(), NAN), query_squares(s.sentences * s.queries, NAN),
      key_squares(s.sentences * s.positions, NAN);
  const CosineSquares<float> of_query{p.query_rows(), s.sentences, s.queries, query_squares.data()};
  const CosineSquares<float> of_keys{p.key_rows(), s.sentences, s.positions, key_squares.data()};
  const AttentionDots<float> dots{s, p.mask(), 1.0, p.query_rows(), p.key_rows(), 0.0f, scores.data()};
  const CosineInputs<float> in{s,       p.mask(), CosineEps::product,   0.5,
                               nullptr, 2.0,      query_squares.data(), key_squares.data()};
  const CosineScores<float> stage{in, scores.data()};
  each_sentence(p, [&](int64_t b) {
    S2SFAST_DISPATCH(cosine_squares, of_query, b, 0, s.queries);
    S2SFAST_DISPATCH(cosine_squares, of_keys, b, 0, s.positions);
    S2SFAST_DISPATCH(attention_dots, dots, b, 0, pair_pieces(s));
    S2SFAST_DISPATCH(cosine_scores, stage, b, 0, s.queries);
  });
  std::vector<double> expected(p.pairs(), 0);
  p.each_pair([&](int64_t b, int64_t q, int64_t t) {
    double dot = 0, qq = 0, kk = 0;
    for (int64_t d = 0; d < p.width; ++d) {
      const double x = p.query_at(b, q, d), y = p.key_at(b, t, d);
      dot += x * y, qq += x * x, kk += y * y;
    }
    expected[p.pair(b, q, t)] = 2 * dot / (std::sqrt(qq) * std::sqrt(kk) + 0.5);
  });
  check_near(scores, expected, "cosine scores");
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  using namespace s2sfast::test;
  setenv("S2SFAST_ISA", s2sfast::kIsaNames[static_cast<int>(isa_argument(argc, argv))], 1);
  Random random(1);
  for (int i = 0; i < 60; ++i) {
    const Problem problem(random);
    check_stages(problem);
    check_additive(problem, random);
    check_cosine(problem);
  }
  return exit_code();
}
