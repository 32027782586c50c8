#include <bit>
#include <cmath>
#include <type_traits>

#include "beam_topk/beam_topk.h"
#include "beam_topk/collector.h"
#include "beam_topk/scratch.h"
#include "common/cpu/exp.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

constexpr float kInf = INFINITY, kLargest = std::numeric_limits<float>::max();

// How far above the pivot logits may stand: exp(40) is far from overflow. The sum is at least 1, the pivot's own term.
constexpr float kPivotSlack = 40;

// --- scan ------------------------------------------------------------------------------------------

template <class T>
struct Row {  // what is read of one beam
  const T* logits;
  const typename BeamTopkBias<T>::type* bias;  // or null

  Row from(int64_t column) const { return {logits + column, bias ? bias + column : nullptr}; }
};

template <class T>
Row<T> row_of(const BeamTopkInputs<T>& in, int64_t sentence, int64_t beam) {
  return {in.logits.row(sentence, beam), in.bias.data ? in.bias.row(sentence, beam) : nullptr};
}

// logit + bias, rounded once.
template <class T>
Vec load_biased(const T* logits, const float* bias) {
  return load(logits) + load(bias);
}
Vec load_biased(const double* logits, const double* bias) {
  double sum[kLanes];
  for (int i = 0; i < kLanes; ++i) sum[i] = logits[i] + bias[i];
  return load(sum);
}

// each_vector for logit + bias.
template <class T, class Each>
inline void each_biased_vector(const Row<T>& row, int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) each(load_biased(row.logits + i, row.bias + i), i);
  if (i == n) return;
  std::remove_cv_t<std::remove_pointer_t<decltype(row.bias)>> sum[kLanes];
  for (int64_t j = i; j < n; ++j) sum[j - i] = to_double(row.logits[j]) + row.bias[j];
  each(load_part(sum, n - i, -kInf), i);
}

template <class T>
bool has_nan_or_inf(const T* p, int64_t n) {
  uint32_t found = 0;
  each_vector(p, n, -kInf, [&](Vec x, int64_t) { found |= lanes_not_below(x, splat(kInf)); });
  return found != 0;
}

// The maxima of the block's groups: lane j of vectors 0, 1, ... is group j. With kCheck, says whether a NaN or +inf was
// among them; without, a NaN is passed over.
template <bool kCheck, class T>
Vec group_maxima(const T* p, int64_t n, bool& bad) {
  Vec a = splat(-kInf), b = a, c = a, d = a;
  uint32_t found = 0;
  const auto take = [&](Vec x, Vec& m) {
    m = max(x, m);
    if constexpr (kCheck) found |= lanes_not_below(x, splat(kInf));
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    take(load(p + i), a);
    take(load(p + i + kLanes), b);
    take(load(p + i + 2 * kLanes), c);
    take(load(p + i + 3 * kLanes), d);
  }
  each_vector(p + i, n - i, -kInf, [&](Vec x, int64_t) { take(x, a); });
  bad |= found != 0;
  return max(max(a, b), max(c, d));
}

template <class T>
Vec group_maxima_biased(const Row<T>& row, int64_t n) {
  Vec m = splat(-kInf);
  each_biased_vector(row, n, [&](Vec x, int64_t) { m = max(x, m); });
  return m;
}

// The sum of exp(logit - pivot) over a piece, and its group maxima, in one pass: the pivot is the maximum of the first
// block that has a finite logit, and moves up only when a block's maximum leaves it kPivotSlack behind. (The online
// softmax of Milakov & Gimelshein 2018, without a maximum before the exponentials.) Float32 within a block, float64
// across blocks.
template <class T>
class Normalizer {
 public:
  Vec add_block(const T* p, int64_t n) {
    Vec maxima = splat(-kInf);
    if (pivot_ > -kInf) {
      const Vec sum = sum_of_exp(p, n, maxima);
      const float top = max_of(maxima);
      max_ = std::max(max_, top);
      if (top <= pivot_ + kPivotSlack) {
        sum_.add(sum);
        return maxima;
      }
    } else {
      maxima = group_maxima<true>(p, n, bad_);
      max_ = max_of(maxima);
      if (max_ == -kInf) return maxima;
    }
    scale(sum_, std::exp(double{pivot_} - double{max_}));
    pivot_ = max_;
    sum_.add(sum_of_exp(p, n, maxima));
    return maxima;
  }
  BeamTopkPartial result() const {
    const double sum = sum_of(sum_);  // a NaN or +inf among the logits has made it NaN
    return {sum, pivot_, max_, bad_ || std::isnan(sum), false};
  }

 private:
  Vec sum_of_exp(const T* p, int64_t n, Vec& maxima) const {
    const Vec pivot = splat(pivot_);
    Vec a = splat(0), b = a, m = splat(-kInf), l = m;
    const auto take = [&](Vec x, Vec& sum, Vec& max_of_lanes) {
      max_of_lanes = max(x, max_of_lanes);
      sum += exp_for_sum(x - pivot);
    };
    int64_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      take(load(p + i), a, m);
      take(load(p + i + kLanes), b, l);
    }
    each_vector(p + i, n - i, -kInf, [&](Vec x, int64_t) { take(x, a, m); });
    maxima = max(m, l);
    return a + b;
  }

  WideSum sum_;
  float pivot_ = -kInf, max_ = -kInf;
  bool bad_ = false;
};

template <>
class Normalizer<double> {
 public:
  Vec add_block(const double* p, int64_t n) {
    const Vec maxima = group_maxima<true>(p, n, bad_);
    const double before = max_;
    for (int64_t i = 0; i < n; ++i) max_ = p[i] > max_ ? p[i] : max_;
    if (max_ == -kInf || bad_) return maxima;
    if (max_ > before) sum_ *= std::exp(before - max_);
    for (int64_t i = 0; i < n; ++i) sum_ += std::exp(p[i] - max_);
    return maxima;
  }
  BeamTopkPartial result() const { return {sum_, max_, max_, bad_, false}; }

 private:
  double sum_ = 0, max_ = -kInf;
  bool bad_ = false;
};

template <class T>
double max_of_block(const T*, int64_t, Vec groups) {
  return max_of(groups);
}
double max_of_block(const double* p, int64_t n, Vec) { return *std::max_element(p, p + n); }

template <class T>
BeamTopkPartial scan_piece(const Row<T>& row, int64_t n, bool normalized, float* groups) {
  Normalizer<T> normalizer;
  BeamTopkPartial ready{1, 0, -kInf, false, false};  // what stands for it where the logits are normalized
  bool bad_bias = false;
  for (int64_t i = 0; i < n; i += kBlock, groups += kLanes) {
    const int64_t size = std::min(kBlock, n - i);
    const T* p = row.logits + i;
    const Vec maxima = normalized ? group_maxima<true>(p, size, ready.bad_logit) : normalizer.add_block(p, size);
    if (normalized) ready.max = std::max(ready.max, max_of_block(p, size, maxima));
    store(groups, row.bias ? group_maxima_biased(row.from(i), size) : maxima);
    if (row.bias) bad_bias |= has_nan_or_inf(row.bias + i, size);
  }
  BeamTopkPartial out = normalized ? ready : normalizer.result();
  out.bad_bias = bad_bias;
  return out;
}

// --- select ----------------------------------------------------------------------------------------

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
    const double low = need - slack;  // NaN where nothing is finite: then everything passes
    return low > -kLargest ? static_cast<float>(std::min<double>(low, kLargest)) : -kLargest;
  }

  static double log_sum(const BeamTopkPartial* part, int64_t pieces, double max);
  template <class Visit>
  void each_group(int64_t beam, float& bound, Visit visit) const;
  template <class Visit>
  void each_column(int64_t beam, float& bound, Visit visit) const;
  void find_best();
  float best_of(int64_t beam, float Value::* which) const;
  float seed();
  void seed_beam(int64_t beam, Collector& list) const;
  void collect(int64_t beam, Collector& list) const;

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
      bad_logit |= part[i].bad_logit, bad_bias |= part[i].bad_bias;
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
double Selection<T>::log_sum(const BeamTopkPartial* part, int64_t pieces, double max) {
  double sum = 0;
  for (int64_t i = 0; i < pieces; ++i)
    if (part[i].max > -kInf) sum += part[i].sum * std::exp(part[i].pivot - max);
  return std::log(sum);
}

// Visits the group maxima at or above `bound`, which the visitor may raise.
template <class T>
template <class Visit>
void Selection<T>::each_group(int64_t beam, float& bound, Visit visit) const {
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
void Selection<T>::each_column(int64_t beam, float& bound, Visit visit) const {
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
  score_floor_ = score + std::max(rule.log_relative, -rule.absolute);
  token_floor_ = token + rule.log_relative_local;
}

// The smallest float32 that is at least x.
inline float round_up(double x) {
  const float y = static_cast<float>(x);
  return y < x ? std::nextafter(y, kInf) : y;
}

// Pushes one candidate of each group that is sure to be one: the list's bar is then below the k-th best score.
template <class T>
void Selection<T>::seed_beam(int64_t beam, Collector& list) const {
  const BeamTopkRow& row = scratch_.rows[beam];
  float bound = this->bound(row, list.bar(), token_floor_);
  each_group(beam, bound, [&](float logit) {
    if (lossy_) logit -= std::fabs(logit) * 0x1p-22f;
    const Value v = value(row, logit, 0);
    if (logit == kInf || !(v.token >= token_floor_) || !(v.score > list.bar())) return;
    list.push({v.score, 0, 0});
    bound = this->bound(row, list.bar(), token_floor_);
  });
}

// A lower bound of the sentence's k-th best score.
template <class T>
float Selection<T>::seed() {
  const float floor = round_up(score_floor_);
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
void Selection<T>::collect(int64_t beam, Collector& list) const {
  const BeamTopkRow& row = scratch_.rows[beam];
  float bound = this->bound(row, list.bar(), token_floor_);
  each_column(beam, bound, [&](int64_t t, double logit, double bias) {
    const Value v = value(row, logit, bias);
    if (!(v.score > list.bar()) || !(v.token >= token_floor_)) return;
    list.push({v.score, static_cast<uint32_t>(beam), static_cast<uint32_t>(t)});
    bound = this->bound(row, list.bar(), token_floor_);
  });
}

template <class T>
int64_t Selection<T>::run() {
  if (scratch_.best_k == 0) return 0;
  const BeamTopkPruning none, &rule = in_.pruning;
  if (rule.log_relative != none.log_relative || rule.absolute != none.absolute ||
      rule.log_relative_local != none.log_relative_local)
    find_best();
  const float floor = seed();
  Collector list(scratch_.best, scratch_.best_k, floor);
  for (int64_t p = 0; p < s_.beams; ++p) {
    if (scratch_.rows[p].score == -kInf) continue;
    if (!scratch_.limited) {
      collect(p, list);
      continue;
    }
    Collector own(scratch_.beam_best, scratch_.beam_k, list.bar());
    collect(p, own);
    own.finish();
    for (int64_t i = 0; i < own.size(); ++i) list.push(own[i]);
  }
  list.finish();
  return list.size();
}

}  // namespace

template <class T>
void beam_topk_scan(const BeamTopkInputs<T>& in, int64_t sentence, void* memory, int64_t begin, int64_t end) {
  const BeamTopkSizes& s = in.sizes;
  const BeamTopkScratch scratch(s, in.pruning, memory);
  const int64_t pieces = beam_topk_pieces_per_beam(s);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t beam = piece / pieces, first = piece % pieces * kBeamTopkPiece;
    if (!(in.score(sentence, beam) > -kInf)) continue;  // offers nothing and is not looked at
    const int64_t n = std::min(kBeamTopkPiece, s.vocab - first);
    scratch.partials[piece] =
        scan_piece(row_of(in, sentence, beam).from(first), n, in.normalized, scratch.groups(beam) + first / kGroupSize);
  }
}

template <class T>
BeamTopkFault beam_topk_select(const BeamTopkInputs<T>& in, int64_t sentence, void* memory,
                               const BeamTopkOutputs& out) {
  const int64_t k = in.sizes.k;
  const BeamTopkScratch scratch(in.sizes, in.pruning, memory);
  Selection<T> selection(in, sentence, scratch);
  const BeamTopkFault fault = selection.join_pieces();
  if (fault.what != BeamTopkFault::none) return fault;
  const int64_t found = selection.run();
  for (int64_t i = 0; i < k; ++i) {
    const Candidate c = i < found ? scratch.best[i] : Candidate{-kInf, 0, 0};
    const int64_t at = sentence * k + i, column = c.column;
    out.scores[at] = c.score;
    out.parents[at] = c.parent;
    out.tokens[at] = i < found && in.token_ids.data ? in.token_ids.row(sentence, c.parent)[column] : column;
  }
  return fault;
}

size_t beam_topk_scratch_bytes(const BeamTopkSizes& s, const BeamTopkPruning& pruning) {
  return BeamTopkScratch(s, pruning, nullptr).bytes();
}

template void beam_topk_scan(const BeamTopkInputs<float>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<double>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<BFloat16>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<Half>&, int64_t, void*, int64_t, int64_t);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<float>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<double>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<BFloat16>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<Half>&, int64_t, void*, const BeamTopkOutputs&);

}  // namespace s2sfast::S2SFAST_ISA
