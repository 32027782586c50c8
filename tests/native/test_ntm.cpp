// The kernels of a Neural Turing Machine on buffers of exactly their sizes, against loops in double: what they compute,
// that it is the same bits however their pieces are shared out, and, under the sanitizers, what they touch.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.h"
#include "ntm_step/ntm_step.h"

namespace s2sfast::test {
namespace {

template <class R>
constexpr double kTolerance = std::is_same_v<R, float> ? 2e-5 : 1e-12;

// (B, rows, width) and nothing behind it; what is not written is NaN.
template <class R>
struct Table {
  int64_t sentences = 0, count = 0, width = 0;
  std::vector<R> x;

  Table() = default;  // none
  Table(int64_t B, int64_t count, int64_t width, R fill = NAN)
      : sentences(B), count(count), width(width), x(B * count * width, fill) {}

  R& operator()(int64_t b, int64_t i, int64_t j = 0) { return x[(b * count + i) * width + j]; }
  R operator()(int64_t b, int64_t i, int64_t j = 0) const { return x[(b * count + i) * width + j]; }
  Rows<R> rows() { return {x.data(), width, count * width, width}; }
  Rows<const R> rows() const { return {x.data(), width, count * width, width}; }
};
using Exact = Table<double>;

template <class R>
struct Tables : std::map<std::string, Table<R>> {
  Table<R>& make(const std::string& name, Table<R> table) { return (*this)[name] = std::move(table); }
};

template <class R>
void check_near(const Table<R>& got, const Exact& expected, Place place, double tolerance = kTolerance<R>) {
  double largest = 0;
  for (double x : expected.x) largest = std::max(largest, std::fabs(x));
  check(got.x.size() == expected.x.size(), place, ": another size");
  for (size_t i = 0; i < expected.x.size(); ++i)
    check(std::fabs(got.x[i] - expected.x[i]) <= tolerance * (1 + largest), place, ", number ", i, ": expected ",
          expected.x[i], "; got ", got.x[i]);
}

template <class R>
void check_bits(const Table<R>& got, const Table<R>& expected, Place place, const std::string& name) {
  check(got.x.size() == expected.x.size(), place, name, ": another size");
  for (size_t i = 0; i < expected.x.size(); ++i)
    check(std::memcmp(&got.x[i], &expected.x[i], sizeof(R)) == 0, place, name, ", number ", i, ": expected ",
          expected.x[i], "; got ", got.x[i]);
}

// How the pieces of each sentence are run: at once, or in chunks, the last first.
struct Shares {
  int64_t sentences;
  Random* random = nullptr;  // none: at once

  bool apart() const { return random != nullptr; }
  template <class Run>
  void operator()(int64_t pieces, Run run) const {
    for (int64_t b = 0; b < sentences; ++b) {
      if (!apart()) run(b, 0, pieces);
      for (int64_t end = pieces; apart() && end > 0;) {
        const int64_t begin = random->below(end);
        run(b, begin, end);
        end = begin;
      }
    }
  }
};
#define RUN(shares, kernel, stage, pieces) \
  shares(pieces, [&](int64_t b, int64_t begin, int64_t end) { S2SFAST_DISPATCH(kernel, stage, b, begin, end); })

template <class R>
struct Problem {
  Random& random;
  MemorySizes sizes{random.between(0, 3), random.between(0, 200), random.between(0, 70)};
  int64_t heads = random.between(0, 6), readers = random.between(0, 6), taps = random.between(0, 5);
  CosineRule rule{static_cast<CosineEps>(random.below(3)), random.uniform(0.1, 0.5)};
  Composition composition = static_cast<Composition>(random.below(2));
  int64_t pieces = slot_pieces(sizes);

  explicit Problem(Random& random) : random(random) {}

  Table<R> none(int64_t count, int64_t width) const { return {sizes.sentences, count, width}; }
  Table<R> draw(int64_t count, int64_t width, double low = -1.5, double high = 1.5) const {
    Table<R> made = none(count, width);
    for (R& x : made.x) x = static_cast<R>(random.uniform(low, high));
    return made;
  }
  // Some rows are 0.
  Table<R> draw_vectors(int64_t count) const {
    Table<R> made = draw(count, sizes.width);
    for (int64_t b = 0; b < made.sentences; ++b)
      for (int64_t i = 0; i < count; ++i)
        for (int64_t m = 0, zero = random.chance(0.05); zero && m < sizes.width; ++m) made(b, i, m) = 0;
    return made;
  }
  Exact zero(int64_t count, int64_t width) const { return {sizes.sentences, count, width, 0}; }

  template <class Each>
  void each_pair(int64_t heads, Each each) const {
    for (int64_t b = 0; b < sizes.sentences; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t n = 0; n < sizes.slots; ++n) each(b, h, n);
  }
  // What run(shares) makes, which is the same bits in chunks and, where kernels may work in place, in place.
  template <class Run>
  Tables<R> same(Place place, Run run) const {
    const Tables<R> once = run(Shares{sizes.sentences}), again = run(Shares{sizes.sentences, &random});
    for (const auto& [name, table] : once) check_bits(again.at(name), table, place, name);
    return once;
  }
};

// Sums over pieces, added up.
template <class R>
Exact joined(const Problem<R>& p, const Table<R>& parts, int64_t heads) {
  Exact sum = p.zero(heads, parts.width);
  for (int64_t b = 0; b < sum.sentences; ++b)
    for (int64_t i = 0; i < parts.count; ++i)
      for (int64_t m = 0; m < parts.width; ++m) sum(b, i % heads, m) += parts(b, i, m);
  return sum;
}

template <class R>
double dot(const Table<R>& x, int64_t b, int64_t i, const Table<R>& y, int64_t j) {
  double sum = 0;
  for (int64_t m = 0; m < x.width; ++m) sum += double{x(b, i, m)} * y(b, j, m);
  return sum;
}

// --- content addressing -----------------------------------------------------------------------------------

double norm_of(const CosineRule& rule, double square) {
  if (rule.mode == CosineEps::sqrt) return std::sqrt(square + rule.eps);
  return rule.mode == CosineEps::clamp ? std::max(std::sqrt(square), rule.eps) : std::sqrt(square);
}
// d norm / d x = slope norm x
double slope_of(const CosineRule& rule, double square) {
  if (rule.mode == CosineEps::sqrt) return 1 / (square + rule.eps);
  return square == 0 || (rule.mode == CosineEps::clamp && std::sqrt(square) < rule.eps) ? 0 : 1 / square;
}

template <class R>
void check_content(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const int64_t H = p.heads, pieces = p.pieces;
  const Table<R> memory = p.draw_vectors(N), key = p.draw_vectors(H), strength = p.draw(H, 1, 0, 4);
  const Table<R> gradient = p.draw(H, N);
  const ContentHeads<R> heads{p.sizes, H, p.rule, key.rows(), strength.rows()};
  const Tables<R> got = p.same("content: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>&cosines = t.make("cosines", p.none(H, N)), &norms = t.make("norms", p.none(H ? 1 : 0, N)),
    &weights = t.make("weights", p.none(H, N)), &a = t.make("a", shares.apart() ? gradient : p.none(H, N)),
    &dstrength = t.make("dstrength", p.none(H, 1)), &pull = t.make("pull", p.none(H, 1)),
    &dmemory = t.make("dmemory", p.none(N, M)), &parts = t.make("parts", p.none(pieces * H, M)),
    &dkey = t.make("dkey", p.none(H, M));
    const ContentMatch<R> match{heads, memory.rows(), cosines.rows(), norms.rows()};
    const ContentWeights<R> weigh{heads, norms.rows(), cosines.rows(), weights.rows()};
    const ContentBackward<R> back{
        heads,    norms.rows(),     cosines.rows(), weights.rows(), shares.apart() ? a.rows() : gradient.rows(),
        a.rows(), dstrength.rows(), pull.rows()};
    const ContentSpread<R> spread{heads,    memory.rows(),  norms.rows(), cosines.rows(),
                                  a.rows(), dmemory.rows(), parts.rows()};
    const ContentJoin<R> join{heads, parts.rows(), pull.rows(), dkey.rows()};
    RUN(shares, content_match, match, pieces);
    RUN(shares, content_weights, weigh, H);
    RUN(shares, content_backward, back, H);
    RUN(shares, content_spread, spread, pieces);
    RUN(shares, content_join, join, H);
    return t;
  });

  Exact c = p.zero(H, N), w = p.zero(H, N), a = p.zero(H, N), total = p.zero(H, 1), mean = p.zero(H, 1);
  Exact dstrength = p.zero(H, 1), dmemory = p.zero(N, M), dkey = p.zero(H, M);
  const auto square = [&](int64_t b, int64_t n) { return dot(memory, b, n, memory, n); };
  const auto key_square = [&](int64_t b, int64_t h) { return dot(key, b, h, key, h); };
  const auto below = [&](int64_t b, int64_t h, int64_t n) {
    return norm_of(p.rule, key_square(b, h)) * norm_of(p.rule, square(b, n)) +
           (p.rule.mode == CosineEps::product ? p.rule.eps : 0);
  };
  p.each_pair(H, [&](int64_t b, int64_t h, int64_t n) {
    c(b, h, n) = dot(key, b, h, memory, n) / below(b, h, n);
    total(b, h) += w(b, h, n) = std::exp(strength(b, h) * c(b, h, n));
  });
  p.each_pair(H, [&](int64_t b, int64_t h, int64_t n) {
    w(b, h, n) /= total(b, h);
    mean(b, h) += w(b, h, n) * gradient(b, h, n);
  });
  p.each_pair(H, [&](int64_t b, int64_t h, int64_t n) {
    const double s = w(b, h, n) * (gradient(b, h, n) - mean(b, h)), k2 = key_square(b, h), m2 = square(b, n);
    dstrength(b, h) += s * c(b, h, n);
    a(b, h, n) = s * strength(b, h) / below(b, h, n);
    const double both = a(b, h, n) * c(b, h, n) * norm_of(p.rule, k2) * norm_of(p.rule, m2);
    for (int64_t m = 0; m < M; ++m) {
      dkey(b, h, m) += a(b, h, n) * memory(b, n, m) - both * slope_of(p.rule, k2) * key(b, h, m);
      dmemory(b, n, m) += a(b, h, n) * key(b, h, m) - both * slope_of(p.rule, m2) * memory(b, n, m);
    }
  });
  check_near(got.at("cosines"), c, "cosines");
  check_near(got.at("weights"), w, "content weights");
  check_near(got.at("a"), a, "a");
  check_near(got.at("dstrength"), dstrength, "dstrength");
  check_near(got.at("dmemory"), dmemory, "dmemory of content");
  check_near(got.at("dkey"), dkey, "dkey");
}

// --- location addressing ----------------------------------------------------------------------------------

template <class R>
void check_location(const Problem<R>& p) {
  const int64_t B = p.sizes.sentences, N = p.sizes.slots, H = p.heads, S = p.taps;
  const bool sharpens = p.random.chance(0.6), sparse = p.random.chance(0.4);
  Table<R> content = p.draw(H, N, 0, 1), previous = p.draw(H, N, 0, 1), shift = p.draw(H, S, 0, 1);
  for (Table<R>* each : {&content, &previous})
    for (R& x : each->x)
      if (sparse && p.random.chance(0.9)) x = p.random.chance(0.9) ? R{0} : std::numeric_limits<R>::denorm_min();
  const Table<R> gate = p.draw(H, 1, 0, 1), sharpen = sharpens ? p.draw(H, 1, 1, 6) : Table<R>();
  const Table<R> gradient = p.draw(H, N);
  std::vector<int64_t> offsets(S);
  for (int64_t& offset : offsets) offset = N ? p.random.below(N) : 0;
  const LocationHeads<R> in{
      B, H, N, S, content.rows(), previous.rows(), gate.rows(), shift.rows(), sharpen.rows(), offsets.data()};
  const Tables<R> got = p.same("location: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>&weights = t.make("weights", p.none(H, N)),
    &dcontent = t.make("dcontent", shares.apart() ? gradient : p.none(H, N)),
    &dprevious = t.make("dprevious", p.none(H, N)), &dgate = t.make("dgate", p.none(H, 1)),
    &dshift = t.make("dshift", p.none(H, S)), &dsharpen = t.make("dsharpen", p.none(sharpens ? H : 0, 1));
    Table<R> scratch = p.none(S ? H : 0, 2 * N), more = p.none(H, 5 * N);
    const LocationWeights<R> forward{in, weights.rows(), scratch.rows()};
    const LocationBackward<R> back{in,
                                   weights.rows(),
                                   shares.apart() ? dcontent.rows() : gradient.rows(),
                                   dcontent.rows(),
                                   dprevious.rows(),
                                   dgate.rows(),
                                   dshift.rows(),
                                   dsharpen.rows(),
                                   more.rows()};
    RUN(shares, location_weights, forward, H);
    RUN(shares, location_backward, back, H);
    return t;
  });

  constexpr double kLeast = std::numeric_limits<R>::min();
  Exact weights = p.zero(H, N), dcontent = weights, dprevious = weights, dshift = p.zero(H, S);
  Exact dgate = p.zero(H, 1), dsharpen = p.zero(sharpens ? H : 0, 1);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      const double g = gate(b, h);
      std::vector<double> gated(N), shifted(N), slope(N), dgated(N);
      for (int64_t n = 0; n < N; ++n) gated[n] = g * content(b, h, n) + (1 - g) * previous(b, h, n);
      for (int64_t n = 0; n < N; ++n)
        for (int64_t s = 0; s < S; ++s) shifted[n] += shift(b, h, s) * gated[(n + N - offsets[s]) % N];
      if (S == 0) shifted = gated;
      double peak = 0, total = 0, mean = 0;
      for (int64_t n = 0; n < N; ++n) peak = std::max(peak, shifted[n]);
      for (int64_t n = 0; n < N; ++n) {
        weights(b, h, n) = shifted[n];
        if (sharpens) weights(b, h, n) = shifted[n] < kLeast ? 0 : std::pow(shifted[n] / peak, double{sharpen(b, h)});
        total += weights(b, h, n);
        slope[n] = gradient(b, h, n);
      }
      for (int64_t n = 0; sharpens && n < N; ++n) {
        if (total > 0) weights(b, h, n) /= total;
        mean += weights(b, h, n) * gradient(b, h, n);
      }
      for (int64_t n = 0; sharpens && n < N; ++n) {
        const double weight = weights(b, h, n), pull = gradient(b, h, n) - mean;
        slope[n] = weight < kLeast ? 0 : sharpen(b, h) * weight / shifted[n] * pull;
        if (weight >= kLeast) dsharpen(b, h) += weight * std::log(shifted[n] / peak) * pull;
      }
      for (int64_t n = 0; n < N; ++n)
        for (int64_t s = 0; s < S; ++s) {
          const int64_t from = (n + N - offsets[s]) % N;
          dshift(b, h, s) += slope[n] * gated[from];
          dgated[from] += slope[n] * shift(b, h, s);
        }
      if (S == 0) dgated = slope;
      for (int64_t n = 0; n < N; ++n) {
        dgate(b, h) += dgated[n] * (double{content(b, h, n)} - previous(b, h, n));
        dcontent(b, h, n) = dgated[n] * g;
        dprevious(b, h, n) = dgated[n] * (1 - g);
      }
    }
  check_near(got.at("weights"), weights, "location weights");
  check_near(got.at("dcontent"), dcontent, "dcontent");
  check_near(got.at("dprevious"), dprevious, "dprevious");
  check_near(got.at("dgate"), dgate, "dgate");
  check_near(got.at("dshift"), dshift, "dshift");
  check_near(got.at("dsharpen"), dsharpen, "dsharpen");
}

// --- reading and writing ----------------------------------------------------------------------------------

template <class R>
void check_read(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const int64_t H = p.heads, pieces = p.pieces;
  const Table<R> memory = p.draw(N, M), weights = p.draw(H, N), gradient = p.draw(H, M);
  const Tables<R> got = p.same("read: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>&parts = t.make("parts", p.none(pieces * H, M)), &reads = t.make("reads", p.none(H, M)),
    &dmemory = t.make("dmemory", p.none(N, M)), &dweights = t.make("dweights", p.none(H, N));
    const MemoryRead<R> read{p.sizes, H, memory.rows(), weights.rows(), parts.rows()};
    const MemoryReadJoin<R> join{p.sizes, H, parts.rows(), reads.rows()};
    const MemoryReadBackward<R> back{p.sizes,        H, memory.rows(), weights.rows(), gradient.rows(), dmemory.rows(),
                                     dweights.rows()};
    RUN(shares, memory_read, read, pieces);
    RUN(shares, memory_read_join, join, H);
    RUN(shares, memory_read_backward, back, pieces);
    return t;
  });

  Exact reads = p.zero(H, M), dmemory = p.zero(N, M), dweights = p.zero(H, N);
  p.each_pair(H, [&](int64_t b, int64_t h, int64_t n) {
    dweights(b, h, n) = dot(gradient, b, h, memory, n);
    for (int64_t m = 0; m < M; ++m) {
      reads(b, h, m) += double{weights(b, h, n)} * memory(b, n, m);
      dmemory(b, n, m) += double{weights(b, h, n)} * gradient(b, h, m);
    }
  });
  check_near(got.at("reads"), reads, "reads");
  check_near(got.at("dmemory"), dmemory, "dmemory of reads");
  check_near(got.at("dweights"), dweights, "dweights of reads");
}

// What to write, and back from there.
template <class R>
struct Writing {
  const Problem<R>& p;
  Table<R> memory = p.draw(p.sizes.slots, p.sizes.width), weights = p.draw(p.heads, p.sizes.slots, 0, 1),
           erase = p.draw(p.heads, p.sizes.width, 0, 1), add = p.draw(p.heads, p.sizes.width);

  WriteHeads<R> heads() const { return {p.sizes, p.heads, p.composition, weights.rows(), erase.rows(), add.rows()}; }
  MemoryWrite<R> into(Table<R>& written) const { return {heads(), memory.rows(), written.rows()}; }
  MemoryWriteBackward<R> back(Rows<const R> gradient, Tables<R>& t, Table<R>& scratch) const {
    const int64_t H = p.heads, M = p.sizes.width;
    scratch = p.none(p.pieces, write_scratch(H));
    return {heads(),
            memory.rows(),
            gradient,
            t.at("dmemory").rows(),
            t.make("dweights", p.none(H, p.sizes.slots)).rows(),
            t.make("erase parts", p.none(p.pieces * H, M)).rows(),
            t.make("add parts", p.none(p.pieces * H, M)).rows(),
            scratch.rows()};
  }
};

template <class R>
void check_write(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const int64_t H = p.heads;
  const Writing<R> in{p};
  const Table<R> gradient = p.draw(N, M);
  const Tables<R> got = p.same("write: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>&written = t.make("written", p.none(N, M)), scratch,
    &dmemory = t.make("dmemory", shares.apart() ? gradient : p.none(N, M));
    const MemoryWrite<R> forward = in.into(written);
    const MemoryWriteBackward<R> back = in.back(shares.apart() ? dmemory.rows() : gradient.rows(), t, scratch);
    RUN(shares, memory_write, forward, p.pieces);
    RUN(shares, memory_write_backward, back, p.pieces);
    return t;
  });

  const bool product = p.composition == Composition::product;
  Exact written = p.zero(N, M), dmemory = p.zero(N, M), dweights = p.zero(H, N), derase = p.zero(H, M), dadd = derase;
  std::vector<double> keep(H), before(H);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t n = 0; n < N; ++n)
      for (int64_t m = 0; m < M; ++m) {
        const double slot = in.memory(b, n, m), g = gradient(b, n, m);
        double x = slot, all = 1, more = 0;
        for (int64_t h = 0; h < H; ++h) {
          const double weight = in.weights(b, h, n), added = weight * in.add(b, h, m);
          before[h] = x;
          keep[h] = 1 - weight * in.erase(b, h, m);
          x = x * keep[h] + added, all *= keep[h], more += added;
        }
        written(b, n, m) = product ? slot * all + more : x;
        dmemory(b, n, m) = g * all;
        for (int64_t h = 0; h < H; ++h) {
          double after = 1, others = slot;
          for (int64_t j = h + 1; j < H; ++j) after *= keep[j];
          for (int64_t j = 0; j < H; ++j) others *= j == h ? 1 : keep[j];
          const double weight = in.weights(b, h, n), of_add = product ? g : g * after;
          const double pull = product ? g * others : of_add * before[h];
          dweights(b, h, n) += of_add * in.add(b, h, m) - in.erase(b, h, m) * pull;
          derase(b, h, m) -= weight * pull;
          dadd(b, h, m) += weight * of_add;
        }
      }
  check_near(got.at("written"), written, "written");
  check_near(got.at("dmemory"), dmemory, "dmemory of writes");
  check_near(got.at("dweights"), dweights, "dweights of writes");
  check_near(joined(p, got.at("erase parts"), H), derase, "derase", kTolerance<R>);
  check_near(joined(p, got.at("add parts"), H), dadd, "dadd", kTolerance<R>);
}

// --- a step's heads ---------------------------------------------------------------------------------------

enum Field : int { key, strength, gate, shift, sharpen, erase, add, kFields };
constexpr const char* kFieldNames[kFields] = {"key", "strength", "gate", "shift", "sharpen", "erase", "add"};

template <class R>
struct Heads {
  int64_t count;
  std::array<Table<R>, kFields> of;

  // Numbers of everything that `widths` has.
  Heads(const Problem<R>& p, const std::array<int64_t, kFields>& widths) : count(p.heads) {
    for (int f = 0; f < kFields; ++f)
      if (widths[f]) of[f] = p.draw(count, widths[f], -3, 3);
  }
  static NtmHeads<R> rows_of(std::array<Table<R>, kFields>& t) {
    return {t[key].rows(),     t[strength].rows(), t[gate].rows(), t[shift].rows(),
            t[sharpen].rows(), t[erase].rows(),    t[add].rows()};
  }
  NtmHeads<R> rows() { return rows_of(of); }
};

template <class R>
NtmHeads<const R> read_only(const NtmHeads<R>& rows) {
  return {rows.key, rows.strength, rows.gate, rows.shift, rows.sharpen, rows.erase, rows.add};
}

// The same heads, their fields columns of one table.
template <class R>
struct FlatHeads {
  Table<R> whole;
  const Heads<R>& of;
  std::array<Rows<R>, kFields> rows;

  explicit FlatHeads(const Problem<R>& p, const Heads<R>& heads) : of(heads) {
    int64_t width = 0, first = 0;
    for (const Table<R>& table : heads.of) width += table.width;
    whole = p.none(heads.count, width);
    for (int f = 0; f < kFields; ++f) {
      const Table<R>& table = heads.of[f];
      if (!table.x.empty()) rows[f] = {whole.x.data() + first, table.width, heads.count * width, width};
      first += table.width;
      each(f, [&](R& number, int64_t b, int64_t h, int64_t j) { number = table(b, h, j); });
    }
  }
  NtmHeads<R> all() const { return {rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6]}; }
  Table<R> table(int f) const {
    Table<R> made = of.of[f];
    each(f, [&](R number, int64_t b, int64_t h, int64_t j) { made(b, h, j) = number; });
    return made;
  }

 private:
  template <class Each>
  void each(int f, Each each) const {
    const Table<R>& like = of.of[f];
    for (int64_t b = 0; b < like.sentences; ++b)
      for (int64_t h = 0; h < like.count; ++h)
        for (int64_t j = 0; j < like.width; ++j) each(rows[f].row(b, h)[j], b, h, j);
  }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::log1p(std::exp(x)); }

// Number j of a row of a field, made ready.
double ready_number(int field, const NtmActivation& a, const std::vector<double>& x, size_t j) {
  double sum = 0;
  if (!a.any) return x[j];
  switch (field) {
    case key:
      return a.tanh_key ? std::tanh(x[j]) : x[j];
    case strength:
      return softplus(x[j]) + (a.one_more_strength ? 1 : 0);
    case shift:
      for (double each : x) sum += std::exp(each);
      return std::exp(x[j]) / sum;
    case sharpen:
      return 1 + softplus(x[j]);
    case add:
      return a.tanh_add ? std::tanh(x[j]) : x[j];
    default:
      return sigmoid(x[j]);
  }
}

template <class R>
void check_heads(const Problem<R>& p) {
  const int64_t B = p.sizes.sentences, M = p.sizes.width, H = p.heads, pieces = p.pieces;
  Random& random = p.random;
  const bool located = random.chance(0.7), writes = random.chance(0.5);
  Heads<R> given(p, {M, 1, located, located && random.chance(0.7) ? p.taps : 0, located && random.chance(0.7),
                     writes ? M : 0, writes ? M : 0});
  const NtmActivation activation{random.chance(0.7), random.chance(0.5), random.chance(0.5), random.chance(0.5)};
  Heads<R> gradient = given;  // of what is ready
  for (Table<R>& table : gradient.of)
    for (R& x : table.x) x = static_cast<R>(random.uniform(-1, 1));
  const Table<R> key_parts = p.draw(pieces * H, M), pull = p.draw(H, 1), erase_parts = p.draw(pieces * H, M),
                 add_parts = p.draw(pieces * H, M);

  const Tables<R> got = p.same("heads: ", [&](const Shares& shares) {
    Heads<R> ready = given, back = gradient;
    for (Table<R>& table : ready.of) std::fill(table.x.begin(), table.x.end(), R(NAN));
    for (const int f : {key, erase, add}) std::fill(back.of[f].x.begin(), back.of[f].x.end(), R(NAN));
    const FlatHeads<R> flat(p, given), flat_back(p, back);
    const bool apart = shares.apart();
    const NtmPrepare<R> prepare{H, activation, read_only(apart ? flat.all() : given.rows()), ready.rows()};
    const NtmHeads<R> rows = ready.rows();
    const MemoryReadJoin<R> erases{p.sizes, writes ? H : 0, erase_parts.rows(), {}},
        adds{p.sizes, writes ? H : 0, add_parts.rows(), {}};
    const NtmFinish<R> finish{prepare,
                              {{p.sizes, H, p.rule, rows.key, rows.strength}, key_parts.rows(), pull.rows(), {}},
                              erases,
                              adds,
                              apart ? flat_back.all() : back.rows()};
    RUN(shares, ntm_prepare, prepare, H);
    RUN(shares, ntm_finish, finish, H);
    Tables<R> t;
    for (int f = 0; f < kFields; ++f) {
      t.make(kFieldNames[f], ready.of[f]);
      t.make(std::string("d") + kFieldNames[f], apart ? flat_back.table(f) : back.of[f]);
    }
    return t;
  });

  const Exact by_key = joined(p, key_parts, H), by_erase = joined(p, erase_parts, H), by_add = joined(p, add_parts, H);
  for (int f = 0; f < kFields; ++f) {
    const Table<R>&from = given.of[f], &ready = got.at(kFieldNames[f]);
    Exact expected(from.sentences, from.count, from.width), slopes = expected;
    // A shift's numbers hang together; the others are rows of one.
    const int64_t together = f == shift ? from.width : 1;
    for (int64_t b = 0; b < B; ++b)
      for (int64_t h = 0; h < from.count; ++h)
        for (int64_t first = 0; first < from.width; first += together) {
          std::vector<double> x(together), g(together);
          for (int64_t j = 0; j < together; ++j) {
            const int64_t at = first + j;
            x[j] = from(b, h, at);
            g[j] = f == key     ? by_key(b, h, at) - double{pull(b, h)} * ready(b, h, at)
                   : f == erase ? by_erase(b, h, at)
                   : f == add   ? by_add(b, h, at)
                                : double{gradient.of[f](b, h, at)};
          }
          for (int64_t j = 0; j < together; ++j) {
            expected(b, h, first + j) = ready_number(f, activation, x, j);
            constexpr double kStep = 1e-5;
            double change = 0;
            for (const double step : {kStep, -kStep}) {
              std::vector<double> moved = x;
              moved[j] += step;
              for (int64_t i = 0; i < together; ++i) change += g[i] * ready_number(f, activation, moved, i) / step;
            }
            slopes(b, h, first + j) = change / 2;
          }
        }
    check_near(ready, expected, kFieldNames[f]);
    check_near(got.at(std::string("d") + kFieldNames[f]), slopes, "gradient of what was given",
               std::max(kTolerance<R>, 1e-8));
  }
}

// --- a step's slots ---------------------------------------------------------------------------------------

// Numbers as if heads had looked at a memory: what is done with them does not ask where they come from.
template <class R>
struct Looks {
  const Problem<R>& p;
  int64_t heads = p.random.chance(0.7) ? p.heads : 0, readers = p.random.chance(0.7) ? p.readers : 0;
  int64_t N = p.sizes.slots, M = p.sizes.width;
  Table<R> memory = p.draw(N, M), key = p.draw(heads, M), strength = p.draw(heads, 1, 0, 4),
           norms = p.draw(heads ? 1 : 0, N, 0.5, 2), cosines = p.draw(heads, N, -1, 1), a = p.draw(heads, N),
           weights = p.draw(readers, N, 0, 1), gradient = p.draw(readers, M), more = p.draw(readers, N);
  bool with_more = p.random.chance(0.5);

  ContentHeads<R> content() const { return {p.sizes, heads, p.rule, key.rows(), strength.rows()}; }
  Rows<const R> more_rows() const { return with_more ? more.rows() : Rows<const R>{}; }
  NtmReadWeights<R> read_weights(Rows<const R> at, Tables<R>& t) const {
    return {readers, at, gradient.rows(), more_rows(), t.make("by reads", p.none(readers, N)).rows()};
  }
  NtmLooked<R> looked(Table<R>& dmemory, Table<R>& parts) const {
    parts = p.none(p.pieces * heads, M);
    return {readers,
            weights.rows(),
            gradient.rows(),
            {content(), memory.rows(), norms.rows(), cosines.rows(), a.rows(), dmemory.rows(), parts.rows()}};
  }

  // The same by the single ops: the gradient of the memory on top of `start`, and of the weights.
  Table<R> dmemory(const Table<R>& start, Table<R>& parts) const {
    Table<R> by_content = p.none(N, M), by_reads = by_content, dweights = p.none(readers, N), sum = start;
    parts = p.none(p.pieces * heads, M);
    const ContentSpread<R> spread{content(), memory.rows(),     norms.rows(), cosines.rows(),
                                  a.rows(),  by_content.rows(), parts.rows()};
    const MemoryReadBackward<R> back{p.sizes,         readers,         memory.rows(),  weights.rows(),
                                     gradient.rows(), by_reads.rows(), dweights.rows()};
    const Shares whole{p.sizes.sentences};
    RUN(whole, content_spread, spread, p.pieces);
    RUN(whole, memory_read_backward, back, p.pieces);
    for (size_t i = 0; i < sum.x.size(); ++i)
      sum.x[i] = static_cast<R>(double{start.x[i]} + by_content.x[i] + by_reads.x[i]);
    return sum;
  }
  Table<R> dweights(const Table<R>& at) const {
    Table<R> ignored = p.none(N, M), made = p.none(readers, N);
    const MemoryReadBackward<R> back{p.sizes,         readers,        at.rows(),  weights.rows(),
                                     gradient.rows(), ignored.rows(), made.rows()};
    RUN(Shares{p.sizes.sentences}, memory_read_backward, back, p.pieces);
    for (size_t i = 0; with_more && i < made.x.size(); ++i) made.x[i] += more.x[i];
    return made;
  }
};

template <class R>
Exact exact(const Table<R>& t) {
  Exact made(t.sentences, t.count, t.width);
  std::copy(t.x.begin(), t.x.end(), made.x.begin());
  return made;
}

template <class R>
void check_step_forward(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const Writing<R> in{p};
  const Looks<R> looks{p};
  const bool read_new = p.random.chance(0.5);
  const int64_t H = looks.heads, pieces = p.pieces;
  const auto run = [&](const Shares& shares, bool joined) {
    Tables<R> t;
    Table<R>&written = t.make("written", p.none(N, M)), &again = t.make("written again", p.none(N, M)),
    &dots = t.make("dots", p.none(H, N)), &norms = t.make("norms", p.none(H ? 1 : 0, N)),
    &parts = t.make("parts", p.none(pieces * looks.readers, M));
    const MemoryWrite<R> write = in.into(written);
    const ContentMatch<R> match{looks.content(), written.rows(), dots.rows(), norms.rows()};
    const MemoryRead<R> read{p.sizes, looks.readers, read_new ? std::as_const(written).rows() : in.memory.rows(),
                             looks.weights.rows(), parts.rows()};
    if (joined) {
      const NtmWrite<R> all{write, match, read};
      const NtmRewrite<R> rewrite{in.into(again), looks.read_weights(again.rows(), t)};
      RUN(shares, ntm_write, all, pieces);
      RUN(shares, ntm_rewrite, rewrite, pieces);
    } else {
      RUN(shares, memory_write, write, pieces);
      RUN(shares, content_match, match, pieces);
      RUN(shares, memory_read, read, pieces);
      again = written;
      t.make("by reads", looks.dweights(written));
    }
    return t;
  };
  const Tables<R> got = p.same("step: ", [&](const Shares& shares) { return run(shares, true); });
  for (const auto& [name, table] : run(Shares{B}, false)) check_bits(got.at(name), table, "step: ", name);
}

template <class R>
void check_step_backward(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const Writing<R> in{p};
  const Looks<R> after{p}, before{p};
  const Table<R> given = p.draw(N, M), more[] = {p.draw(p.heads, N), p.draw(p.heads, N)};
  const bool with_given = p.random.chance(0.5), with_more[] = {p.random.chance(0.5), p.random.chance(0.5)};
  const auto more_rows = [&](int i) { return with_more[i] ? more[i].rows() : Rows<const R>{}; };
  const Tables<R> got = p.same("step back: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>&dmemory = t.make("dmemory", p.none(N, M)), &parts = t.make("parts", {}), scratch;
    const NtmWriteBackward<R> back{in.back(dmemory.rows(), t, scratch),
                                   with_given ? given.rows() : Rows<const R>{},
                                   after.looked(dmemory, parts),
                                   before.read_weights(in.memory.rows(), t),
                                   {more_rows(0), more_rows(1)}};
    RUN(shares, ntm_write_backward, back, p.pieces);
    return t;
  });

  Tables<R> single;
  Table<R> parts, scratch;
  single.make("dmemory", after.dmemory(with_given ? given : Table<R>(B, N, M, 0), parts));
  const MemoryWriteBackward<R> back = in.back(single.at("dmemory").rows(), single, scratch);
  RUN(Shares{B}, memory_write_backward, back, p.pieces);
  Table<R>& dweights = single.at("dweights");
  for (int i = 0; i < 2; ++i)
    for (size_t j = 0; with_more[i] && j < dweights.x.size(); ++j) dweights.x[j] += more[i].x[j];
  check_bits(got.at("parts"), parts, "step back: ", "parts");
  check_bits(got.at("by reads"), before.dweights(in.memory), "step back: ", "by reads");
  for (const char* name : {"dmemory", "dweights", "erase parts", "add parts"})
    check_near(got.at(name), exact(single.at(name)), name);
}

template <class R>
void check_step_spread(const Problem<R>& p) {
  const auto& [B, N, M] = p.sizes;
  const Looks<R> looks[] = {{p}, {p}};
  const Table<R> start = p.draw(N, M);
  const Tables<R> got = p.same("spread: ", [&](const Shares& shares) {
    Tables<R> t;
    Table<R>& dmemory = t.make("dmemory", start);
    const NtmSpread<R> spread{
        {looks[0].looked(dmemory, t.make("parts 0", {})), looks[1].looked(dmemory, t.make("parts 1", {}))}};
    RUN(shares, ntm_spread, spread, p.pieces);
    return t;
  });
  Table<R> parts[2];
  const Table<R> dmemory = looks[1].dmemory(looks[0].dmemory(start, parts[0]), parts[1]);
  check_bits(got.at("parts 0"), parts[0], "spread: ", "parts 0");
  check_bits(got.at("parts 1"), parts[1], "spread: ", "parts 1");
  check_near(got.at("dmemory"), exact(dmemory), "dmemory of both kinds");
}

template <class R>
void check_all(uint64_t seed, int problems) {
  Random random(seed);
  for (int i = 0; i < problems; ++i) {
    const Problem<R> problem(random);
    check_content(problem);
    check_location(problem);
    check_read(problem);
    check_write(problem);
    check_heads(problem);
    check_step_forward(problem);
    check_step_backward(problem);
    check_step_spread(problem);
  }
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  using namespace s2sfast::test;
  setenv("S2SFAST_ISA", s2sfast::kIsaNames[static_cast<int>(isa_argument(argc, argv))], 1);
  check_all<float>(1, 60);
  check_all<double>(2, 60);
  return exit_code();
}
