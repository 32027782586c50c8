// beam_topk of one build against a naive float64 implementation.
//
// The naive ranking is expected bit for bit where both sides must find the same log-sum-exp: for normalized logits, and
// for rows whose exponentials are all 0 or 1 ("dominated"). Other rows are compared within a tolerance.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "beam_topk/beam_topk.h"
#include "check.h"

namespace s2sfast::test {
namespace {

constexpr float kInf = INFINITY, kNan = NAN;
constexpr int kSmallProblems = 600, kLargeProblems = 25;  // drawn at random, per type

template <class T>
struct Build {
  decltype(&baseline::beam_topk_scratch_bytes) scratch_bytes;
  decltype(&baseline::beam_topk_scan<T>) scan;
  decltype(&baseline::beam_topk_select<T>) select;
};

template <class T>
Build<T> build_of(Isa isa) {
  switch (isa) {
#ifdef __x86_64__
    case Isa::avx512:
      return {avx512::beam_topk_scratch_bytes, avx512::beam_topk_scan<T>, avx512::beam_topk_select<T>};
    case Isa::avx2:
      return {avx2::beam_topk_scratch_bytes, avx2::beam_topk_scan<T>, avx2::beam_topk_select<T>};
#endif
    default:
      return {baseline::beam_topk_scratch_bytes, baseline::beam_topk_scan<T>, baseline::beam_topk_select<T>};
  }
}

// --- inputs ----------------------------------------------------------------------------------------

// The 16-bit ones by cutting bits off; tests read back what was stored.
void store(float& to, double x) { to = static_cast<float>(x); }
void store(double& to, double x) { to = x; }
void store(BFloat16& to, double x) { to.bits = std::bit_cast<uint32_t>(static_cast<float>(x)) >> 16; }
void store(Half& to, double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x)), sign = bits >> 16 & 0x8000;
  const int64_t magnitude = (bits & 0x7fffffff) >> 13, rebiased = magnitude - ((127 - 15) << 10);
  if (std::isnan(x)) return void(to.bits = 0x7e00);
  to.bits = static_cast<uint16_t>(sign | std::clamp<int64_t>(rebiased, 0, std::isinf(x) ? 0x7c00 : 0x7bff));
}

// A (B, K, V) array with gaps between its rows and nothing behind the last one, so that a sanitizer sees reads past it.
template <class T>
struct Array {
  std::vector<T> values;
  int64_t sentence_stride = 0, beam_stride = 0;

  void resize(const BeamTopkSizes& s, int64_t gap, bool broadcast_sentences = false, bool broadcast_beams = false) {
    beam_stride = broadcast_beams ? 0 : s.vocab + gap;
    sentence_stride = broadcast_sentences ? 0 : s.vocab + (s.beams - 1) * beam_stride + gap;
    values.resize((s.sentences - 1) * sentence_stride + (s.beams - 1) * beam_stride + s.vocab);
  }
  T& at(int64_t b, int64_t p, int64_t t) { return values[b * sentence_stride + p * beam_stride + t]; }
  const T& at(int64_t b, int64_t p, int64_t t) const { return values[b * sentence_stride + p * beam_stride + t]; }
  BeamTopkPlane<T> plane() const { return {values.empty() ? nullptr : values.data(), sentence_stride, beam_stride}; }
};

template <class T>
struct Problem {
  using Bias = Real<T>;
  BeamTopkSizes sizes;
  Array<T> logits;
  std::vector<float> scores32;
  std::vector<double> scores64;
  Array<Bias> bias;
  Array<int64_t> token_ids;
  bool normalized = false, check_nan = true;
  BeamTopkPruning pruning;

  explicit Problem(const BeamTopkSizes& s, int64_t gap = 0) : sizes(s), scores32(s.sentences * s.beams) {
    logits.resize(s, gap);
  }

  double score(int64_t b, int64_t p) const {
    const int64_t i = b * sizes.beams + p;
    return scores32.empty() ? scores64[i] : scores32[i];
  }
  void set_score(int64_t b, int64_t p, double x) {
    const int64_t i = b * sizes.beams + p;
    if (scores32.empty())
      scores64[i] = x;
    else
      scores32[i] = static_cast<float>(x);
  }
  void use_scores64() {
    scores64.assign(scores32.begin(), scores32.end());
    scores32.clear();
  }
  BeamTopkInputs<T> inputs() const {
    return {sizes,
            logits.plane(),
            scores32.empty() ? nullptr : scores32.data(),
            scores64.empty() ? nullptr : scores64.data(),
            bias.plane(),
            token_ids.plane(),
            normalized,
            check_nan,
            pruning};
  }
  int64_t pieces() const { return sizes.beams * beam_topk_pieces_per_beam(sizes); }
};

template <class T>
constexpr const char* kTypeName = "float32";
template <>
constexpr const char* kTypeName<double> = "float64";
template <>
constexpr const char* kTypeName<BFloat16> = "bfloat16";
template <>
constexpr const char* kTypeName<Half> = "float16";

template <class T>
std::ostream& operator<<(std::ostream& out, const Problem<T>& p) {
  const BeamTopkSizes& s = p.sizes;
  return out << " [" << kTypeName<T> << " logits, B " << s.sentences << " K " << s.beams << " V " << s.vocab << " k "
             << s.k << (p.normalized ? " normalized" : "") << (p.bias.values.empty() ? "" : " bias") << " pruning "
             << p.pruning.log_relative << ' ' << p.pruning.absolute << ' ' << p.pruning.log_relative_local << ' '
             << p.pruning.max_per_beam << ']';
}

// --- the naive implementation -------------------------------------------------------------------------

struct Candidate {
  float score, token;  // token: log-probability of the last token
  int64_t parent, column;
};

template <class T>
double log_sum_exp_above(const Problem<T>& p, int64_t b, int64_t beam, double max) {
  double sum = 0;
  for (int64_t t = 0; t < p.sizes.vocab; ++t) sum += std::exp(to_double(p.logits.at(b, beam, t)) - max);
  return std::log(sum);
}

template <class T>
void add_candidates(const Problem<T>& p, int64_t b, int64_t beam, std::vector<Candidate>& out) {
  double max = -kInf;
  for (int64_t t = 0; t < p.sizes.vocab; ++t) max = std::max(max, to_double(p.logits.at(b, beam, t)));
  const double log_sum = p.normalized ? 0 : log_sum_exp_above(p, b, beam, max);
  for (int64_t t = 0; t < p.sizes.vocab; ++t) {
    double token = to_double(p.logits.at(b, beam, t));
    if (!p.normalized) token = (token - max) - log_sum;
    if (!p.bias.values.empty()) token += p.bias.at(b, beam, t);
    const float score = static_cast<float>(p.score(b, beam) + token);
    if (score > -kInf) out.push_back({score, static_cast<float>(token), beam, t});
  }
}

// What the rules leave of candidates that are sorted, best first; each rule looks at all of them.
void prune(const BeamTopkPruning& rule, int64_t beams, std::vector<Candidate>& list) {
  if (list.empty()) return;
  const double best = list.front().score;
  const double best_token = std::ranges::max(list, {}, &Candidate::token).token;
  std::vector<int64_t> places(beams, 0);
  std::erase_if(list, [&](const Candidate& c) {
    return places[c.parent]++ >= rule.max_per_beam || c.score < best + rule.log_relative ||
           c.score < best - rule.absolute || c.token < best_token + rule.log_relative_local;
  });
}

template <class T>
std::vector<Candidate> naive(const Problem<T>& p, int64_t b) {
  std::vector<Candidate> list;
  for (int64_t beam = 0; beam < p.sizes.beams; ++beam)
    if (p.score(b, beam) > -kInf) add_candidates(p, b, beam, list);
  std::ranges::stable_sort(list, std::ranges::greater{}, &Candidate::score);
  prune(p.pruning, p.sizes.beams, list);
  if (static_cast<int64_t>(list.size()) > p.sizes.k) list.resize(p.sizes.k);
  return list;
}

// --- running a build ------------------------------------------------------------------------------------

// Memory of the size asked for, filled, between guards that must survive.
class Scratch {
 public:
  Scratch(size_t bytes, int fill)
      : bytes_((bytes + 63) / 64 * 64), memory_(static_cast<std::byte*>(std::aligned_alloc(64, bytes_ + 2 * kGuard))) {
    std::memset(memory_.get(), kGuardByte, bytes_ + 2 * kGuard);
    std::memset(data(), fill, bytes_);
  }
  void* data() { return memory_.get() + kGuard; }
  bool guards_hold() const {
    const auto holds = [](const std::byte* p) {
      return std::all_of(p, p + kGuard, [](std::byte x) { return x == std::byte{kGuardByte}; });
    };
    return holds(memory_.get()) && holds(memory_.get() + kGuard + bytes_);
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr unsigned char kGuardByte = 0xa5;
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

constexpr float kUntouchedScore = 123.0f;
constexpr int64_t kUntouched = -77;

struct Result {
  std::vector<float> scores;
  std::vector<int64_t> parents, tokens;
  BeamTopkFault fault;

  explicit Result(int64_t n) : scores(n, kUntouchedScore), parents(n, kUntouched), tokens(n, kUntouched) {}
  bool operator==(const Result& other) const {
    return scores == other.scores && parents == other.parents && tokens == other.tokens;
  }
};

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

// One sentence; the others' rows of the outputs must stay as they were.
template <class T>
Result run(const Build<T>& build, const Problem<T>& p, int64_t b, const Ranges& ranges, int fill) {
  const BeamTopkInputs<T> in = p.inputs();
  const int64_t k = p.sizes.k;
  Scratch scratch(build.scratch_bytes(p.sizes, p.pruning), fill);
  Result all(p.sizes.sentences * k), mine(k);
  for (auto [begin, end] : ranges) build.scan(in, b, scratch.data(), begin, end);
  mine.fault = build.select(in, b, scratch.data(), {all.scores.data(), all.parents.data(), all.tokens.data()});
  check(scratch.guards_hold(), "bytes around the scratch were written", p);
  for (int64_t i = 0; i < p.sizes.sentences * k; ++i) {
    if (i / k == b) {
      mine.scores[i % k] = all.scores[i], mine.parents[i % k] = all.parents[i], mine.tokens[i % k] = all.tokens[i];
    } else {
      check(all.scores[i] == kUntouchedScore && all.parents[i] == kUntouched && all.tokens[i] == kUntouched,
            "outputs of another sentence were written", p);
    }
  }
  return mine;
}

template <class T>
Result run(const Build<T>& build, const Problem<T>& p, int64_t b) {
  return run(build, p, b, {{0, p.pieces()}}, 0xff);
}

Ranges random_ranges(Random& random, int64_t pieces) {
  Ranges ranges;
  for (int64_t begin = 0, end; begin < pieces; begin = end)
    ranges.emplace_back(begin, end = std::min(pieces, begin + random.between(1, 4)));
  for (int64_t i = static_cast<int64_t>(ranges.size()) - 1; i > 0; --i)
    std::swap(ranges[i], ranges[random.below(i + 1)]);
  return ranges;
}

// --- checks ---------------------------------------------------------------------------------------------

template <class T>
void check_slot(const Problem<T>& p, const Result& got, int64_t i, float score, int64_t parent, int64_t token) {
  check(got.scores[i] == score && got.parents[i] == parent && got.tokens[i] == token, "slot ", i, ": expected ", score,
        ", parent ", parent, ", token ", token, "; got ", got.scores[i], ", parent ", got.parents[i], ", token ",
        got.tokens[i], p);
}

template <class T>
void check_exactly(const Build<T>& build, const Problem<T>& p) {
  for (int64_t b = 0; b < p.sizes.sentences; ++b) {
    const std::vector<Candidate> expected = naive(p, b);
    const Result got = run(build, p, b);
    check(got.fault.what == BeamTopkFault::none, "a fault where there is none", p);
    const int64_t found = static_cast<int64_t>(expected.size());
    for (int64_t i = 0; i < found; ++i) {
      const auto& [score, token, parent, column] = expected[i];
      check_slot(p, got, i, score, parent, p.token_ids.values.empty() ? column : p.token_ids.at(b, parent, column));
    }
    for (int64_t i = found; i < p.sizes.k; ++i) check_slot(p, got, i, -kInf, 0, 0);
  }
}

// Whatever the scratch held before and in whatever pieces and order it is scanned: the same bits.
template <class T>
void check_repeats(const Build<T>& build, const Problem<T>& p, Random& random) {
  for (int64_t b = 0; b < p.sizes.sentences; ++b) {
    const Result once = run(build, p, b);
    for (int fill : {0x00, 0x3f, 0x7f})
      check(run(build, p, b, random_ranges(random, p.pieces()), fill) == once, "another order gave another result", p);
  }
}

// Without pruning: the i-th best score of both sides differ by no more than any one score does.
template <class T>
void check_closely(const Build<T>& build, const Problem<T>& p) {
  // Of float32: half an ulp of the 8 that a logit may stand above what is subtracted from it, and its exponential's.
  const double log_sum_error = sizeof(T) == 8 ? 1e-12 : 5e-7;
  const auto close = [&](double got, double expected) {
    return std::fabs(got - expected) <= log_sum_error + std::fabs(expected) * 0x1p-23;
  };
  for (int64_t b = 0; b < p.sizes.sentences; ++b) {
    Problem<T> whole = p;
    whole.sizes.k = p.sizes.beams * p.sizes.vocab;
    const std::vector<Candidate> expected = naive(whole, b);
    const Result got = run(build, p, b);
    std::set<std::pair<int64_t, int64_t>> seen;
    for (int64_t i = 0; i < std::min<int64_t>(p.sizes.k, expected.size()); ++i) {
      const std::pair place(got.parents[i], got.tokens[i]);
      check(close(got.scores[i], expected[i].score), "score ", i, ": expected ", expected[i].score, "; got ",
            got.scores[i], p);
      check(i == 0 || got.scores[i - 1] > got.scores[i] ||
                (got.scores[i - 1] == got.scores[i] && std::pair(got.parents[i - 1], got.tokens[i - 1]) < place),
            "order of slots ", i - 1, " and ", i, p);
      const auto own = std::ranges::find_if(
          expected, [&](const Candidate& c) { return c.parent == place.first && c.column == place.second; });
      check(own != expected.end() && close(got.scores[i], own->score), "slot ", i, " is no such candidate", p);
      check(seen.insert(place).second, "slot ", i, " is there twice", p);
    }
  }
}

// --- random problems --------------------------------------------------------------------------------------

enum class Logits { coarse, fine, dominated, sloping, near };

double random_logit(Random& random, Logits kind, double slope) {
  switch (kind) {
    case Logits::coarse:
      return 0.25 * static_cast<double>(random.between(-24, 8));
    case Logits::fine:
      return random.uniform(-15, 5);
    case Logits::dominated:
      return -112 - static_cast<double>(random.below(12));
    case Logits::sloping:
      return slope + random.uniform(-2, 2);
    default:
      return -1 - 0x1p-23 * static_cast<double>(random.below(200));
  }
}

// dominated: one or two (the sum is then 2, in both) stand so far above the rest that its exponentials are nothing.
// sloping: the running maximum rises all along the row, or falls behind. near: neighbours, which scores make ties.
template <class T>
void fill_row(Problem<T>& p, Random& random, Logits kind, int64_t b, int64_t beam) {
  const int64_t vocab = p.sizes.vocab;
  const double minus_inf = random.chance(0.3) ? 0.1 : 0, rise = random.uniform(-300, 300) / static_cast<double>(vocab);
  for (int64_t t = 0; t < vocab; ++t) {
    const double x = random_logit(random, kind, rise * static_cast<double>(t));
    store(p.logits.at(b, beam, t), random.chance(minus_inf) ? -kInf : x);
  }
  if (kind != Logits::dominated) return;
  const double top = static_cast<double>(random.between(-3, 3));
  store(p.logits.at(b, beam, random.below(vocab)), top);
  if (random.chance(0.5)) store(p.logits.at(b, beam, random.below(vocab)), top);
}

// A beam that offers nothing: dead (and then not looked at), or without a possible token.
template <class T>
void kill_beam(Problem<T>& p, Random& random, int64_t b, int64_t beam) {
  const bool dead = random.chance(0.5);
  if (dead) p.set_score(b, beam, -kInf);
  for (int64_t t = 0; t < p.sizes.vocab; ++t) store(p.logits.at(b, beam, t), dead ? kNan : -kInf);
}

template <class T>
void add_bias(Problem<T>& p, Random& random, Logits kind) {
  p.bias.resize(p.sizes, random.below(3), random.chance(0.5), random.chance(0.5));
  for (auto& x : p.bias.values)
    x = random.chance(0.05)      ? -kInf
        : kind == Logits::coarse ? 0.25 * static_cast<double>(random.between(-8, 8))
                                 : random.uniform(-4, 4);
}

template <class T>
void add_token_ids(Problem<T>& p, Random& random) {
  const bool broadcast = random.chance(0.5);
  p.token_ids.resize(p.sizes, random.below(3), broadcast, broadcast);
  for (int64_t& x : p.token_ids.values) x = random.below(int64_t{1} << 40);
}

// Coarse distances meet the grid of the logits, so that candidates stand exactly at a threshold.
double random_distance(Random& random, Logits kind) {
  switch (kind) {
    case Logits::coarse:
      return 0.25 * static_cast<double>(random.below(60));
    case Logits::dominated:
      return 100 + 0.25 * static_cast<double>(random.below(60));
    case Logits::near:
      return random.uniform(0, 3e-5);
    default:
      return random.uniform(0, 12);
  }
}

BeamTopkPruning random_pruning(Random& random, Logits kind) {
  BeamTopkPruning rule;
  if (random.chance(0.4)) rule.log_relative = -random_distance(random, kind);
  if (random.chance(0.4)) rule.absolute = random_distance(random, kind);
  if (random.chance(0.4)) rule.log_relative_local = -random_distance(random, kind);
  if (random.chance(0.4)) rule.max_per_beam = random.chance(0.8) ? random.between(1, 5) : random.between(60, 80);
  return rule;
}

double random_score(Random& random, Logits kind) {
  if (kind == Logits::near) return random.chance(0.5) ? -1000 : -1000 - random.uniform(0, 1e-3);
  return kind == Logits::fine ? random.uniform(-30, 0) : -0.25 * static_cast<double>(random.below(8));
}

template <class T>
Problem<T> random_problem(Random& random, const BeamTopkSizes& sizes, Logits kind) {
  Problem<T> p(sizes, random.below(4));
  p.normalized = kind == Logits::near || (kind != Logits::dominated && random.chance(0.7));
  if (random.chance(0.3)) p.use_scores64();
  for (int64_t b = 0; b < sizes.sentences; ++b) {
    for (int64_t beam = 0; beam < sizes.beams; ++beam) {
      p.set_score(b, beam, random_score(random, kind));
      fill_row(p, random, kind, b, beam);
      if (random.chance(0.1)) kill_beam(p, random, b, beam);
    }
  }
  if (random.chance(0.4)) add_bias(p, random, kind);
  if (random.chance(0.3)) add_token_ids(p, random);
  return p;
}

int64_t pick(Random& random, std::initializer_list<int64_t> from) {
  return from.begin()[random.below(static_cast<int64_t>(from.size()))];
}

BeamTopkSizes small_sizes(Random& random) {
  const int64_t vocab = random.chance(0.5) ? random.between(1, 80)
                                           : pick(random, {127, 128, 129, 255, 256, 257, 511, 512, 513, 600, 1100});
  const int64_t beams = pick(random, {1, 1, 2, 3, 5, 10});
  const int64_t k = random.chance(0.05) ? beams * vocab + 3 : pick(random, {1, 2, 5, 10, 63, 64, 65, 66, 100, 200});
  return {random.between(1, 3), beams, vocab, k};
}

BeamTopkSizes large_sizes(Random& random) {
  const int64_t vocab = pick(random, {kBeamTopkPiece - 1, kBeamTopkPiece, kBeamTopkPiece + 1, 2 * kBeamTopkPiece + 37});
  return {1, random.between(1, 3), vocab, pick(random, {1, 5, 64, 65, 200})};
}

template <class T>
void check_random(const Build<T>& build, Random& random, const BeamTopkSizes& sizes) {
  const Logits kind = static_cast<Logits>(random.below(5));
  Problem<T> p = random_problem<T>(random, sizes, kind);
  if (p.normalized || kind == Logits::dominated) {
    if (random.chance(0.6)) p.pruning = random_pruning(random, kind);
    check_exactly(build, p);
  } else if (p.token_ids.values.empty()) {
    check_closely(build, p);
  }
  check_repeats(build, p, random);
}

// --- problems by hand ---------------------------------------------------------------------------------------

template <class T>
Problem<T> one_row(const std::vector<double>& logits, int64_t k) {
  Problem<T> p({1, 1, static_cast<int64_t>(logits.size()), k});
  for (size_t t = 0; t < logits.size(); ++t) store(p.logits.values[t], logits[t]);
  return p;
}

// The largest magnitudes: a row masked by the most negative number, and neighbours further apart than float32 reaches.
template <class T>
void check_extreme_logits(const Build<T>& build) {
  const double largest = sizeof(T) == 2 ? 60000 : std::numeric_limits<float>::max();
  check_exactly(build, one_row<T>(std::vector<double>(64, -largest), 70));
  check_exactly(build, one_row<T>(std::vector<double>(64, largest), 70));
  std::vector<double> mixed(600, -largest);
  mixed[17] = 3;
  mixed[590] = largest;
  check_exactly(build, one_row<T>(mixed, 70));
  mixed[590] = -kInf;
  check_exactly(build, one_row<T>(mixed, 70));
  check_exactly(build, one_row<T>(mixed, 650));
}

// Equal logits everywhere: all candidates of a beam are ties.
template <class T>
void check_ties(const Build<T>& build) {
  for (int64_t k : {5, 64, 65, 200}) {
    Problem<T> p({1, 3, 20000, k});
    for (int64_t t = 0; t < 3 * p.sizes.vocab; ++t) store(p.logits.values[t], -1.25);
    p.scores32 = {-3, -2, -2};
    check_exactly(build, p);
    p.pruning.max_per_beam = 70;
    check_exactly(build, p);
  }
}

void check_float64_beyond_float32(const Build<double>& build) {
  for (bool normalized : {false, true}) {
    Problem<double> p = one_row<double>({-1e300, 1e300, 1e-300, 1e39, -1e39, 5, -kInf}, 7);
    p.normalized = normalized;
    p.scores32 = {0};
    check_exactly(build, p);
  }
  Problem<double> p = one_row<double>({2e300, 2e300, 1e300, -kInf}, 4);
  check_exactly(build, p);
}

// Logits much closer to each other than float32 scores can be, so that roundings make ties and decide at thresholds.
template <class T>
void check_close_logits(const Build<T>& build, Random& random) {
  for (int i = 0; i < 200; ++i) {
    std::vector<double> logits(600);
    for (double& x : logits) x = 0.5 + random.uniform(0, 1e-4);
    logits[random.below(600)] = 120;
    Problem<T> p = one_row<T>(logits, pick(random, {2, 10, 64, 65, 300}));
    check_exactly(build, p);
    p.pruning.log_relative_local = -random.uniform(119.4999, 119.5);
    check_exactly(build, p);
    p.pruning.absolute = random.uniform(119.4999, 119.5);
    check_exactly(build, p);
  }
}

// The maximum in each piece in turn, the others far below or without anything finite.
template <class T>
void check_pieces(const Build<T>& build) {
  const int64_t vocab = 2 * kBeamTopkPiece + 3;
  for (double rest : {-200.0, -double{kInf}}) {
    for (int64_t top : {int64_t{5}, kBeamTopkPiece + 5, vocab - 1}) {
      std::vector<double> logits(vocab, rest);
      logits[top] = 2;
      Problem<T> p = one_row<T>(logits, 3);
      check_exactly(build, p);
      p.pruning.absolute = 5;
      check_exactly(build, p);
    }
  }
}

// Finite in float64, where scores are added up, and beyond float32 before the beam's score is added.
void check_overflow_of_bias(const Build<float>& build) {
  Problem<float> p = one_row<float>({3.2e38, 3.1e38, 1}, 2);
  p.normalized = true;
  p.scores32 = {-3.4e38f};
  p.bias.resize(p.sizes, 0);
  p.bias.values = {0.3e38f, 0.35e38f, 0};
  check_exactly(build, p);
}

// All four rules on a grid of equal scores: what stands exactly at a threshold stays.
template <class T>
void check_thresholds(const Build<T>& build) {
  for (int rule = 0; rule < 4; ++rule) {
    Problem<T> p = one_row<T>({-4, -1, -3, -1, -2, -3, -2}, 7);
    p.normalized = true;
    if (rule == 0) p.pruning.log_relative = -1;
    if (rule == 1) p.pruning.absolute = 1;
    if (rule == 2) p.pruning.log_relative_local = -1;
    if (rule == 3) p.pruning.max_per_beam = 4;
    const Result got = run(build, p, 0);
    const int64_t columns[] = {1, 3, 4, 6};
    for (int64_t i = 0; i < 4; ++i) check_slot(p, got, i, i < 2 ? -1.0f : -2.0f, 0, columns[i]);
    for (int64_t i = 4; i < 7; ++i) check_slot(p, got, i, -kInf, 0, 0);
  }
}

template <class T>
void check_no_vocabulary(const Build<T>& build) {
  const Problem<T> p({1, 2, 0, 3});
  const Result got = run(build, p, 0);
  for (int64_t i = 0; i < 3; ++i) check_slot(p, got, i, -kInf, 0, 0);
}

// --- faults ---------------------------------------------------------------------------------------------------

template <class T>
void check_fault(const Build<T>& build, const Problem<T>& p, BeamTopkFault expected, Place place, int64_t at) {
  const BeamTopkFault got = run(build, p, p.sizes.sentences - 1).fault;
  check(got.what == expected.what && got.beam == expected.beam, place, " at ", at, ": expected fault ", expected.what,
        " of beam ", expected.beam, "; got ", got.what, " of beam ", got.beam, p);
}

// One sentence is whole, the other gets the fault. far: half of the columns are too low to need their exp.
template <class T>
Problem<T> problem_without_fault(int64_t vocab, bool normalized, bool far) {
  Problem<T> p({2, 3, vocab, 2});
  p.normalized = normalized;
  p.bias.resize(p.sizes, 0);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t beam = 0; beam < 3; ++beam)
      for (int64_t t = 0; t < vocab; ++t)
        store(p.logits.at(b, beam, t), far && t > vocab / 2 ? (b ? -kInf : -100) : -static_cast<double>(t % 5));
  return p;
}

template <class T>
void check_logit_and_bias_faults(const Build<T>& build, Problem<T> p, int64_t t) {
  for (float bad : {kNan, kInf}) {
    for (int64_t beam = 2; beam >= 0; --beam) {  // from the last to the first: the lowest is named
      store(p.logits.at(1, beam, t), bad);
      check_fault(build, p, {BeamTopkFault::logits, beam}, "bad logit", t);
    }
    Problem<T> dead = p;
    dead.set_score(1, 0, -kInf);
    check_fault(build, dead, {BeamTopkFault::logits, 1}, "bad logit, the first beam dead", t);
    for (int64_t beam = 0; beam < 3; ++beam) store(p.logits.at(1, beam, t), -1);
    p.bias.at(1, 2, t) = p.bias.at(1, 1, t) = bad;
    check_fault(build, p, {BeamTopkFault::bias, 1}, "bad bias", t);
    p.bias.at(1, 2, t) = p.bias.at(1, 1, t) = -kInf;
    check_fault(build, p, {BeamTopkFault::none, 0}, "bias of -inf", t);
  }
}

template <class T>
void check_score_faults(const Build<T>& build) {
  for (float bad : {kNan, kInf}) {
    for (bool in_float64 : {false, true}) {
      Problem<T> p = problem_without_fault<T>(40, false, false);
      if (in_float64) p.use_scores64();
      check_fault(build, p, {BeamTopkFault::none, 0}, "no fault", 0);
      store(p.logits.at(1, 2, 3), bad);
      for (int64_t beam = 2; beam >= 0; --beam) {
        p.set_score(1, beam, bad);
        check_fault(build, p, {BeamTopkFault::scores, beam}, "bad score", beam);
      }
      p.set_score(1, 0, 0), p.set_score(1, 1, -kInf);
      check_fault(build, p, {BeamTopkFault::scores, 2}, "bad score behind a dead beam", 2);
    }
  }
}

template <class T>
void check_faults(const Build<T>& build) {
  check_score_faults(build);
  for (bool normalized : {false, true}) {
    for (bool far : {false, true}) {
      for (int64_t vocab : {1, 2, 17, 70, 1100}) {
        const Problem<T> p = problem_without_fault<T>(vocab, normalized, far);
        for (int64_t t = 0; t < vocab; t += vocab > 100 ? 7 : 1) check_logit_and_bias_faults(build, p, t);
      }
      const Problem<T> p = problem_without_fault<T>(2 * kBeamTopkPiece + 3, normalized, far);
      for (int64_t t : {int64_t{0}, kBeamTopkPiece - 1, kBeamTopkPiece, 2 * kBeamTopkPiece + 2})
        check_logit_and_bias_faults(build, p, t);
    }
  }
}

// check_nan off: a NaN is no candidate, and what it makes unknown offers nothing. Here at every place of a row.
template <class T>
void check_nan_anywhere(const Build<T>& build) {
  for (int64_t vocab : {1, 5, 70, 600}) {
    Problem<T> p({1, 2, vocab, 8});
    p.check_nan = false;
    p.pruning.absolute = 1;
    for (int64_t t = 0; t < vocab; ++t) {
      store(p.logits.at(0, 0, t), -static_cast<double>(t));
      store(p.logits.at(0, 1, t), t ? -200 : -1);
    }
    for (int64_t t = 0; t < vocab; ++t) {
      const T before = p.logits.at(0, 0, t);
      store(p.logits.at(0, 0, t), kNan);
      for (bool normalized : {false, true}) {
        p.normalized = normalized;
        check_exactly(build, p);
      }
      p.logits.at(0, 0, t) = before;
    }
  }
}

template <class T>
void check_nan_is_no_candidate(const Build<T>& build, Random& random) {
  for (int i = 0; i < 60; ++i) {
    const Logits kind = random.chance(0.5) ? Logits::coarse : Logits::dominated;
    Problem<T> p = random_problem<T>(random, small_sizes(random), kind);
    if (kind == Logits::coarse) p.normalized = true;
    p.check_nan = false;
    for (int64_t b = 0; b < p.sizes.sentences; ++b) {
      if (random.chance(0.3)) p.set_score(b, random.below(p.sizes.beams), kNan);
      store(p.logits.at(b, random.below(p.sizes.beams), random.below(p.sizes.vocab)), kNan);
      if (!p.bias.values.empty()) p.bias.at(b, random.below(p.sizes.beams), random.below(p.sizes.vocab)) = kNan;
    }
    check_exactly(build, p);
    check_repeats(build, p, random);
  }
}

template <class T>
void check_all(Isa isa) {
  const Build<T> build = build_of<T>(isa);
  Random random(sizeof(T));
  for (int i = 0; i < kSmallProblems; ++i) check_random(build, random, small_sizes(random));
  for (int i = 0; i < kLargeProblems; ++i) check_random(build, random, large_sizes(random));
  check_extreme_logits(build);
  check_ties(build);
  check_close_logits(build, random);
  check_pieces(build);
  check_thresholds(build);
  check_no_vocabulary(build);
  check_faults(build);
  check_nan_anywhere(build);
  check_nan_is_no_candidate(build, random);
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  using namespace s2sfast;
  const Isa isa = test::isa_argument(argc, argv);
  test::check_all<float>(isa);
  test::check_all<double>(isa);
  test::check_all<BFloat16>(isa);
  test::check_all<Half>(isa);
  test::check_overflow_of_bias(test::build_of<float>(isa));
  test::check_float64_beyond_float32(test::build_of<double>(isa));
  return test::exit_code();
}
