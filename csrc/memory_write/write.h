#pragma once
// Writing to the slots of a block, and back.
#include "common/cpu/lanes.h"
#include "content_address/match.h"
#include "memory_write/memory_write.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// What a head does to kAtOnce slots, in a vector of columns: m <- m keep + more.
template <class R>
struct HeadWrite {
  V<R> keep, more;
  HeadWrite(R weight, V<R> erase, V<R> add)
      : keep(fma(Lanes<R>::splat(-weight), erase, Lanes<R>::splat(1))), more(Lanes<R>::splat(weight) * add) {}
};

template <bool kProduct, class R>
[[gnu::flatten]] inline void write_slots(const WriteHeads<R>& in, const Rows<const R>& memory, int64_t sentence,
                                         SlotRange range, const Rows<R>& written) {
  in_blocks<4>(range.begin, range.end, [&]<int kAtOnce>(int64_t n) {
    const R* from[kAtOnce];
    R* to[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) from[i] = memory.row(sentence, n + i), to[i] = written.row(sentence, n + i);
    each_lanes<R>(in.sizes.width, [&](int64_t m, int64_t lanes) {
      V<R> x[kAtOnce], keep[kAtOnce], more[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) {
        x[i] = load_lanes<R>(from[i] + m, lanes);
        keep[i] = Lanes<R>::splat(1), more[i] = Lanes<R>::splat(0);
      }
      for (int64_t h = 0; h < in.heads; ++h) {
        const V<R> erase = load_lanes<R>(in.erase.row(sentence, h) + m, lanes);
        const V<R> add = load_lanes<R>(in.add.row(sentence, h) + m, lanes);
        const R* weights = in.weights.row(sentence, h) + n;
        for (int i = 0; i < kAtOnce; ++i) {
          const HeadWrite<R> head(weights[i], erase, add);
          if constexpr (kProduct)
            keep[i] *= head.keep, more[i] += head.more;
          else
            x[i] = fma(x[i], head.keep, head.more);
        }
      }
      for (int i = 0; i < kAtOnce; ++i) store_lanes<R>(to[i] + m, kProduct ? fma(x[i], keep[i], more[i]) : x[i], lanes);
    });
  });
}

template <class R>
inline void write_range(const WriteHeads<R>& in, const Rows<const R>& memory, int64_t sentence, SlotRange range,
                        const Rows<R>& written) {
  if (in.composition == Composition::product)
    write_slots<true>(in, memory, sentence, range, written);
  else
    write_slots<false>(in, memory, sentence, range, written);
}

// --- back ----------------------------------------------------------------------------------------------

// Where a piece leaves its gradients, and what it may use.
template <class R>
struct WritePiece {
  const WriteHeads<R>& in;
  int64_t sentence, first_part;  // the piece's first row of the parts
  Rows<R> dweights, erase_parts, add_parts;
  R* scratch;
};

// A vector for each head: in registers for few heads, else (kHeads = 0) in scratch.
template <class R, int kHeads>
struct HeadVectors {
  V<R> of[kHeads];
  V<R> get(int64_t h) const { return of[h]; }
  void set(int64_t h, V<R> x) { of[h] = x; }
};
template <class R>
struct HeadVectors<R, 0> {
  R* of;
  V<R> get(int64_t h) const { return Lanes<R>::load(of + h * kCount<R>); }
  void set(int64_t h, V<R> x) { store(of + h * kCount<R>, x); }
};

// kAtOnce slots from n on; 1 with any number of heads.
template <bool kProduct, int kHeads, int kAtOnce, class R>
[[gnu::flatten]] inline void write_backward_some(const WritePiece<R>& piece, const Rows<const R>& memory,
                                                 const Rows<const R>& gradient, const Rows<R>& dmemory, int64_t n) {
  const WriteHeads<R>& in = piece.in;
  const int64_t b = piece.sentence, heads = kHeads ? kHeads : in.heads;
  HeadVectors<R, kHeads> before, keep, erased, added, by_weight[kAtOnce];
  if constexpr (kHeads == 0) {
    R* next = piece.scratch;
    for (HeadVectors<R, 0>* each : {&before, &keep, &erased, &added, &by_weight[0]})
      each->of = std::exchange(next, next + heads * kCount<R>);
  }
  for (auto& each : by_weight)
    for (int64_t h = 0; h < heads; ++h) each.set(h, Lanes<R>::splat(0));

  each_lanes<R>(in.sizes.width, [&](int64_t m, int64_t lanes) {
    const auto erase = [&](int64_t h) { return load_lanes<R>(in.erase.row(b, h) + m, lanes); };
    const auto add = [&](int64_t h) { return load_lanes<R>(in.add.row(b, h) + m, lanes); };
    const auto erases = [&](int64_t h) { return piece.erase_parts.row(b, piece.first_part + h) + m; };
    const auto adds = [&](int64_t h) { return piece.add_parts.row(b, piece.first_part + h) + m; };
#pragma GCC unroll 4
    for (int64_t h = 0; h < heads; ++h) {
      erased.set(h, load_lanes<R>(erases(h), lanes));
      added.set(h, load_lanes<R>(adds(h), lanes));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kAtOnce; ++i) {
      const V<R> slot = load_lanes<R>(memory.row(b, n + i) + m, lanes);
      const V<R> whole = load_lanes<R>(gradient.row(b, n + i) + m, lanes);
      V<R> x = kProduct ? Lanes<R>::splat(1) : slot;
#pragma GCC unroll 4
      for (int64_t h = 0; h < heads; ++h) {
        const HeadWrite<R> head(in.weights.row(b, h)[n + i], erase(h), add(h));
        before.set(h, x);
        keep.set(h, head.keep);
        x = kProduct ? x * head.keep : fma(x, head.keep, head.more);
      }
      V<R> g = kProduct ? whole * slot : whole;
#pragma GCC unroll 4
      for (int64_t h = heads - 1; h >= 0; --h) {
        const V<R> weight = Lanes<R>::splat(in.weights.row(b, h)[n + i]);
        const V<R> pull = g * before.get(h), by_add = kProduct ? whole : g;
        erased.set(h, fma(-weight, pull, erased.get(h)));
        added.set(h, fma(weight, by_add, added.get(h)));
        by_weight[i].set(h, fma(by_add, add(h), fma(-pull, erase(h), by_weight[i].get(h))));
        g *= keep.get(h);
      }
      store_lanes<R>(dmemory.row(b, n + i) + m, kProduct ? whole * x : g, lanes);
    }
#pragma GCC unroll 4
    for (int64_t h = 0; h < heads; ++h) {
      store_lanes<R>(erases(h), erased.get(h), lanes);
      store_lanes<R>(adds(h), added.get(h), lanes);
    }
  });
  for (int64_t h = 0; h < heads; ++h)
    for (int i = 0; i < kAtOnce; ++i) piece.dweights.row(b, h)[n + i] = sum_of(by_weight[i].get(h));
}

template <bool kProduct, class R>
inline void write_backward_slots(const WritePiece<R>& piece, const Rows<const R>& memory, const Rows<const R>& gradient,
                                 const Rows<R>& dmemory, SlotRange range) {
  const auto with = [&]<int kHeads>() {
    constexpr int kAtOnce = kHeads == 0 ? 1 : kHeads <= 2 ? 4 : 2;
    in_blocks<kAtOnce>(range.begin, range.end, [&]<int kSome>(int64_t n) {
      write_backward_some<kProduct, kHeads, kSome>(piece, memory, gradient, dmemory, n);
    });
  };
  switch (piece.in.heads) {
    case 1:
      return with.template operator()<1>();
    case 2:
      return with.template operator()<2>();
    case 3:
      return with.template operator()<3>();
    case kFewWriteHeads:
      return with.template operator()<kFewWriteHeads>();
    default:
      return with.template operator()<0>();
  }
}

// `gradient` and `dmemory` may be the same rows.
template <class R>
inline void write_range_backward(const WritePiece<R>& piece, const Rows<const R>& memory, const Rows<const R>& gradient,
                                 const Rows<R>& dmemory, SlotRange range) {
  for (int64_t h = 0; h < piece.in.heads; ++h) {
    std::fill_n(piece.erase_parts.row(piece.sentence, piece.first_part + h), piece.in.sizes.width, R{0});
    std::fill_n(piece.add_parts.row(piece.sentence, piece.first_part + h), piece.in.sizes.width, R{0});
  }
  if (piece.in.composition == Composition::product)
    write_backward_slots<true>(piece, memory, gradient, dmemory, range);
  else
    write_backward_slots<false>(piece, memory, gradient, dmemory, range);
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
