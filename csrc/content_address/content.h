#pragma once
// From dot products to a content weighting and back: rows of N numbers.
#include "attention/softmax.h"
#include "common/cpu/cosine.h"
#include "content_address/content_address.h"
#include "content_address/match.h"
#include "memory_read/read.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class R>
inline R square_of(const R* x, int64_t n) {
  V<R> sum = Lanes<R>::splat(0);
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> part = load_lanes<R>(x + i, lanes);
    sum = fma(part, part, sum);
  });
  return sum_of(sum);
}

// The rule's numbers, and a key's, as vectors want them.
template <class R>
struct KeyNorm {
  CosineEps mode;
  R eps, extra, square, norm;

  KeyNorm(const ContentHeads<R>& in, int64_t sentence, int64_t head)
      : mode(in.rule.mode),
        eps(static_cast<R>(in.rule.eps)),
        extra(mode == CosineEps::product ? eps : R{0}),
        square(square_of(in.key.row(sentence, head), in.sizes.width)),
        norm(norm_of(mode, eps, square)) {}

  V<R> denominator(V<R> norms) const { return fma(Lanes<R>::splat(norm), norms, Lanes<R>::splat(extra)); }
};

// slope(x) |x| of slots, from their norms as the mode wants them.
template <class R>
inline V<R> slope_norm(CosineEps mode, V<R> eps, V<R> norms) {
  const V<R> zero = Lanes<R>::splat(0), one = Lanes<R>::splat(1), least = mode == CosineEps::clamp ? eps : zero;
  return mode == CosineEps::sqrt ? one / norms : (norms > least ? one / norms : zero);
}

// Squares to norms, in place.
template <class R>
inline void norms_of(const CosineRule& rule, R* squares, int64_t n) {
  const V<R> eps = Lanes<R>::splat(static_cast<R>(rule.eps));
  each_lanes<R>(n, [&](int64_t i, int64_t lanes) {
    const V<R> square = load_lanes<R>(squares + i, lanes);
    const V<R> norm = sqrt(rule.mode == CosineEps::sqrt ? square + eps : square);
    store_lanes<R>(squares + i, rule.mode == CosineEps::clamp ? max(eps, norm) : norm, lanes);
  });
}

// Dot products and norms of the slots of a range.
template <class R>
inline void match_content(const ContentMatch<R>& stage, int64_t sentence, SlotRange range) {
  R* norms = stage.norms.row(sentence, 0);
  if (stage.in.heads == 0) return;  // nobody asks
  match(stage.memory, sentence, range, stage.in.key, stage.in.heads, stage.dots, norms);
  norms_of(stage.in.rule, norms + range.begin, range.end - range.begin);
}

template <class R>
inline void weigh_content(const ContentWeights<R>& stage, int64_t sentence, int64_t head) {
  const int64_t N = stage.in.sizes.slots;
  const KeyNorm<R> key(stage.in, sentence, head);
  const R* norms = stage.norms.row(sentence, 0);
  R *cosines = stage.cosines.row(sentence, head), *weights = stage.weights.row(sentence, head);
  each_lanes<R>(N, [&](int64_t n, int64_t lanes) {
    const V<R> cosine = load_lanes<R>(cosines + n, lanes) / key.denominator(load_lanes<R>(norms + n, lanes));
    store_lanes<R>(cosines + n, cosine, lanes);
    store_lanes<R>(weights + n, cosine, lanes);
  });
  if (!softmax_row(weights, *stage.in.strength.row(sentence, head), N) && N)
    std::fill_n(weights, N, std::numeric_limits<R>::quiet_NaN());
}

template <class R>
inline void weigh_content_backward(const ContentBackward<R>& stage, int64_t sentence, int64_t head) {
  const int64_t N = stage.in.sizes.slots;
  const KeyNorm<R> key(stage.in, sentence, head);
  const R* norms = stage.norms.row(sentence, 0);
  const R* cosines = stage.cosines.row(sentence, head);
  R* d = stage.a.row(sentence, head);
  copy_row(stage.gradient.row(sentence, head), d, N);
  softmax_row_backward<R>(stage.weights.row(sentence, head), nullptr, d, R{1}, N);
  LongSum<R> by_strength, pull;
  const V<R> strength = Lanes<R>::splat(*stage.in.strength.row(sentence, head));
  each_lanes<R>(N, [&](int64_t n, int64_t lanes) {
    const V<R> cosine = load_lanes<R>(cosines + n, lanes), score = load_lanes<R>(d + n, lanes);
    const V<R> norm = load_filled<R>(norms + n, lanes, R{1});
    by_strength.add(score * cosine);
    const V<R> a = score * strength / key.denominator(norm);
    pull.add(a * norm * cosine);
    store_lanes<R>(d + n, a, lanes);
  });
  *stage.strength.row(sentence, head) = by_strength.total();
  *stage.key_pull.row(sentence, head) = pull.total() * key.norm * slope_of(key.mode, key.eps, key.square);
}

template <class R>
struct ContentPull {
  R of[kSlots];
};

// Adds to the memory's gradient what addressing has in it, for a range: sum_h a[h][n] key[h] - pull[n] memory[n].
// `pull` must live until the additions have run.
template <class R>
inline void add_content(const ContentSpread<R>& stage, int64_t sentence, SlotRange range, ContentPull<R>& pull,
                        Additions<R>& additions) {
  const ContentHeads<R>& in = stage.in;
  if (in.heads == 0) return;
  const int64_t count = range.end - range.begin;
  const R* norms = stage.norms.row(sentence, 0) + range.begin;
  std::fill_n(pull.of, count, R{0});
  for (int64_t h = 0; h < in.heads; ++h) {
    const V<R> norm = Lanes<R>::splat(-KeyNorm<R>(in, sentence, h).norm);
    const R *cosine = stage.cosines.row(sentence, h) + range.begin, *a = stage.a.row(sentence, h) + range.begin;
    each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
      const V<R> product = load_lanes<R>(a + n, lanes) * load_lanes<R>(cosine + n, lanes);
      store_lanes<R>(pull.of + n, fma(norm, product, load_lanes<R>(pull.of + n, lanes)), lanes);
    });
  }
  const V<R> eps = Lanes<R>::splat(static_cast<R>(in.rule.eps));
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
    const V<R> slope = slope_norm<R>(in.rule.mode, eps, load_lanes<R>(norms + n, lanes));
    store_lanes<R>(pull.of + n, slope * load_lanes<R>(pull.of + n, lanes), lanes);
  });
  additions.add(stage.a, in.key, in.heads);
  additions.add_own(pull.of, stage.memory);
}

// The gradient of a key: what its pieces have summed up, less what the norm pulls.
template <class R>
inline void join_key(const Rows<const R>& parts, const ContentHeads<R>& in, const Rows<const R>& pulls,
                     int64_t sentence, int64_t head, R* out) {
  join_parts(parts, sentence, slot_pieces(in.sizes), in.heads, head, out);
  const V<R> pull = Lanes<R>::splat(-*pulls.row(sentence, head));
  const R* key = in.key.row(sentence, head);
  each_lanes<R>(in.sizes.width, [&](int64_t m, int64_t lanes) {
    store_lanes<R>(out + m, fma(pull, load_lanes<R>(key + m, lanes), load_lanes<R>(out + m, lanes)), lanes);
  });
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
