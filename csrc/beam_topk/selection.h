#pragma once
// The second look: the k best, from the few groups that can hold them. Internal to the kernel of one instruction set.
#include <bit>

#include "beam_topk/collector.h"
#include "beam_topk/scan.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// Floats in their order: neighbours have neighbouring places.
inline uint32_t place_of(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
inline float float_at(uint32_t place) {
  return std::bit_cast<float>(place & 0x80000000u ? place & 0x7fffffffu : ~place);
}

template <class T>
class Selection {
 public:
  Selection(const BeamTopkInputs<T>& in, int64_t sentence, const BeamTopkScratch& scratch)
      : in_(in), s_(in.sizes), sentence_(sentence), scratch_(scratch), lossy_(in.bias.data || sizeof(T) == 8) {}

  BeamTopkFault join_pieces();
  int64_t run();  // returns how many of scratch.best are filled, best first

 private:
  // Score and last-token log-probability of a column, as the contract words them.
  struct Value {
    float score, token;
  };
  Value value(const BeamTopkRow& row, double logit, double bias) const {
    const double token = (in_.normalized ? logit : (logit - row.max) - row.log_sum) + bias;
    return {static_cast<float>(row.score + token), static_cast<float>(token)};
  }

  // The smallest logit (plus bias) that a column needs to reach `score` and `token`; never too large, a little too
  // small: the slack covers every rounding on the way, and what passes is judged by value().
  float bound(const BeamTopkRow& row, float score, double token) const {
    const double shift = in_.normalized ? 0 : row.max + row.log_sum;
    const double by_score = score - row.score, need = std::max(by_score, token) + shift;
    const double slack = (std::fabs(need) + std::fabs(by_score) + std::fabs(row.score) + std::fabs(row.max)) * 0x1p-21;
    const double low = need - slack - kSmallest;  // NaN where nothing is finite: then everything passes
    return low > -kLargest ? static_cast<float>(std::min<double>(low, kLargest)) : -kLargest;
  }

  // The smallest logit whose score passes `bar`, from `low` on, which does not pass: a score rises with its logit.
  float first_above(const BeamTopkRow& row, float bar, float low) const {
    const auto passes = [&](uint32_t place) { return value(row, float_at(place), 0).score > bar; };
    uint32_t below = place_of(low), step = 1;
    const uint32_t last = place_of(kLargest);
    while (last - below > step && !passes(below + step)) below += step, step *= 2;
    uint32_t above = below + std::min(step, last - below);
    while (above - below > 1) {
      const uint32_t middle = below + (above - below) / 2;
      (passes(middle) ? above : below) = middle;
    }
    return float_at(above);
  }

  double log_sum(const BeamTopkPartial* part, int64_t pieces, double max) const;
  class Gate;
  template <class Visit>
  void each_group(int64_t beam, const float& bound, Visit visit) const;
  template <class Visit>
  void each_column(int64_t beam, const float& bound, Visit visit) const;
  void find_best();
  float best_of(int64_t beam, float Value::* which) const;
  float seed();
  void seed_beam(int64_t beam, Collector& list) const;
  void collect(int64_t beam, double token_floor, Collector& list) const;
  void pass_on(int64_t beam, Collector& own, Collector& list) const;

  const BeamTopkInputs<T>& in_;
  const BeamTopkSizes& s_;
  const int64_t sentence_;
  const BeamTopkScratch& scratch_;
  const bool lossy_;            // group maxima are rounded: a bias was added, or float64 made float
  double score_floor_ = -kInf;  // what pruning allows
  double token_floor_ = -kInf;
};

template <class T>
BeamTopkFault Selection<T>::join_pieces() {
  const int64_t pieces = beam_topk_pieces_per_beam(s_);
  for (int64_t p = 0; p < s_.beams; ++p) {
    BeamTopkRow& row = scratch_.rows[p];
    row = {in_.score(sentence_, p), -kInf, 0};
    if (in_.check_nan && !(row.score < kInf)) return {BeamTopkFault::scores, p};
    if (std::isnan(row.score)) row.score = -kInf;
    if (row.score == -kInf) continue;
    const BeamTopkPartial* part = scratch_.partials + p * pieces;
    bool bad_logit = false, bad_bias = false;
    for (int64_t i = 0; i < pieces; ++i) {
      bad_logit |= part[i].bad, bad_bias |= part[i].bad_bias;
      row.max = std::max(row.max, part[i].max);
    }
    if (in_.check_nan && bad_logit) return {BeamTopkFault::logits, p};
    if (in_.check_nan && bad_bias) return {BeamTopkFault::bias, p};
    if (row.max == -kInf || (bad_logit && !in_.normalized))
      row.score = -kInf;  // nothing on offer
    else
      row.log_sum = log_sum(part, pieces, row.max);
  }
  return {};
}

template <class T>
double Selection<T>::log_sum(const BeamTopkPartial* part, int64_t pieces, double max) const {
  double sum = 0;
  for (int64_t i = 0; i < pieces; ++i)
    if (part[i].max > -kInf) sum += part[i].sum * std::exp(part[i].pivot - max);
  return in_.normalized ? 0 : std::max(0.0, std::log(sum));  // the largest logit's own term is 1
}

// Visits the group maxima at or above `bound`, which the visitor may raise.
template <class T>
template <class Visit>
void Selection<T>::each_group(int64_t beam, const float& bound, Visit visit) const {
  const float* groups = scratch_.groups(beam);
  const int64_t count = (s_.vocab + kBlock - 1) / kBlock * kLanes;
  for (int64_t g = 0; g < count; g += kLanes)
    for (uint32_t lanes = lanes_at_least(load(groups + g), splat(bound)); lanes; lanes &= lanes - 1) {
      const float logit = groups[g + std::countr_zero(lanes)];
      if (logit >= bound) visit(logit);
    }
}

// Visits, in their order, the columns whose logit (plus bias) is at or above `bound`, which the visitor may raise.
template <class T>
template <class Visit>
void Selection<T>::each_column(int64_t beam, const float& bound, Visit visit) const {
  const float* groups = scratch_.groups(beam);
  const Row<T> row = row_of(in_, sentence_, beam);
  for (int64_t begin = 0; begin < s_.vocab; begin += kBlock, groups += kLanes) {
    if (!lanes_at_least(load(groups), splat(bound))) continue;
    const int64_t n = std::min(kBlock, s_.vocab - begin);
    const auto visit_lanes = [&](Vec x, int64_t i) {
      for (uint32_t lanes = lanes_at_least(x, splat(bound)); lanes; lanes &= lanes - 1) {
        const int64_t t = begin + i + std::countr_zero(lanes);
        visit(t, to_double(row.logits[t]), row.bias ? to_double(row.bias[t]) : 0.0);
      }
    };
    if (row.bias)
      each_biased_vector(row.from(begin), n, visit_lanes);
    else
      each_vector(row.logits + begin, n, -kInf, visit_lanes);
  }
}

template <class T>
float Selection<T>::best_of(int64_t beam, float Value::* which) const {
  const BeamTopkRow& row = scratch_.rows[beam];
  if (!in_.bias.data) return value(row, row.max, 0).*which;
  float best = -kInf, bound = -kLargest;
  each_column(beam, bound, [&](int64_t, double logit, double bias) {
    const Value v = value(row, logit, bias);
    if (!(v.*which > best)) return;
    best = v.*which;
    bound = this->bound(row, v.score, -kInf);
  });
  return best;
}

// What the best candidate and the best last token let pass.
template <class T>
void Selection<T>::find_best() {
  const BeamTopkPruning& rule = in_.pruning;
  float score = -kInf, token = -kInf;
  for (int64_t p = 0; p < s_.beams; ++p) {
    if (scratch_.rows[p].score == -kInf) continue;
    score = std::max(score, best_of(p, &Value::score));
    token = std::max(token, best_of(p, &Value::token));
  }
  // A rule that is off reaches down to -inf; added to a score of +inf it would be NaN.
  const double reach = std::max(rule.log_relative, -rule.absolute);
  if (reach > -kInf) score_floor_ = score + reach;
  if (rule.log_relative_local > -kInf) token_floor_ = token + rule.log_relative_local;
}

// The smallest float32 that is at least x.
inline float round_up(double x) {
  const float y = static_cast<float>(x);
  return y < x ? std::nextafter(y, kInf) : y;
}

// What passes the bound and still scores no better than the bar is a near tie. A few are nothing; where there are many
// (all logits equal, say), the bound is made sharp.
template <class T>
class Selection<T>::Gate {
 public:
  Gate(const Selection& selection, int64_t beam, double token_floor, Collector& list)
      : selection_(selection), row_(selection.scratch_.rows[beam]), token_floor_(token_floor), list_(list) {
    follow();
  }

  void offer(Value v, uint32_t beam, uint32_t column) {
    if (v.score > list_.bar() && v.token >= token_floor_) {
      list_.push({v.score, beam, column});
      follow();
    } else if (!(v.score > list_.bar()) && ++near_ties_ == kManyTies && !selection_.lossy_) {
      bound = selection_.first_above(row_, list_.bar(), bound);
    }
  }

  float bound;

 private:
  static constexpr int kManyTies = 16;

  void follow() {
    bound = selection_.bound(row_, list_.bar(), token_floor_);
    near_ties_ = 0;
  }

  const Selection& selection_;
  const BeamTopkRow& row_;
  const double token_floor_;
  Collector& list_;
  int near_ties_ = 0;
};

// Pushes one candidate of each group, the one that is sure to be there: the list's k-th is then no better than the k-th
// of all.
template <class T>
void Selection<T>::seed_beam(int64_t beam, Collector& list) const {
  Gate gate(*this, beam, token_floor_, list);
  each_group(beam, gate.bound, [&](float logit) {
    if (logit == kInf) return;  // beyond float32: no lower bound of anything
    if (lossy_) logit -= std::fabs(logit) * 0x1p-22f + kSmallest;
    gate.offer(value(scratch_.rows[beam], logit, 0), 0, 0);
  });
}

// A lower bound of the sentence's k-th best score.
template <class T>
float Selection<T>::seed() {
  const float floor = round_up(score_floor_);
  // Which group maxima are among their beam's best and also pass by their tokens, only their columns could tell.
  if (scratch_.limited && token_floor_ > -kInf) return floor;
  Collector list(scratch_.best, scratch_.best_k, floor);
  for (int64_t p = 0; p < s_.beams; ++p) {
    if (scratch_.rows[p].score == -kInf) continue;
    if (!scratch_.limited) {
      seed_beam(p, list);
      continue;
    }
    Collector own(scratch_.beam_best, scratch_.beam_k, floor);
    seed_beam(p, own);
    own.finish();
    for (int64_t i = 0; i < own.size(); ++i) list.push(own[i]);
  }
  list.finish();
  return list.size() == scratch_.best_k ? std::max(floor, list[scratch_.best_k - 1].score) : floor;
}

template <class T>
void Selection<T>::collect(int64_t beam, double token_floor, Collector& list) const {
  Gate gate(*this, beam, token_floor, list);
  each_column(beam, gate.bound, [&](int64_t t, double logit, double bias) {
    gate.offer(value(scratch_.rows[beam], logit, bias), static_cast<uint32_t>(beam), static_cast<uint32_t>(t));
  });
}

// A beam's max_per_beam best are counted before any other rule drops some of them.
template <class T>
void Selection<T>::pass_on(int64_t beam, Collector& own, Collector& list) const {
  own.finish();
  const Row<T> row = row_of(in_, sentence_, beam);
  for (int64_t i = 0; i < own.size(); ++i) {
    const int64_t t = own[i].column;
    const double logit = to_double(row.logits[t]), bias = row.bias ? to_double(row.bias[t]) : 0.0;
    if (value(scratch_.rows[beam], logit, bias).token >= token_floor_) list.push(own[i]);
  }
}

template <class T>
int64_t Selection<T>::run() {
  if (scratch_.best_k == 0) return 0;
  const BeamTopkPruning none, &rule = in_.pruning;
  if (rule.log_relative != none.log_relative || rule.absolute != none.absolute ||
      rule.log_relative_local != none.log_relative_local)
    find_best();
  Collector list(scratch_.best, scratch_.best_k, seed());
  for (int64_t p = 0; p < s_.beams; ++p) {
    if (scratch_.rows[p].score == -kInf) continue;
    Collector own(scratch_.beam_best, scratch_.beam_k, list.bar());
    const bool limited = scratch_.limited;  // one call of collect: with two the compiler keeps its loop out of line
    collect(p, limited ? -kInf : token_floor_, limited ? own : list);
    if (limited) pass_on(p, own, list);
  }
  list.finish();
  return list.size();
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
