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
inline void write_slots(const WriteHeads<R>& in, const Rows<const R>& memory, int64_t sentence, SlotRange range,
                        const Rows<R>& written) {
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
      for (int i = 0; i < kAtOnce; ++i)
        store_lanes<R>(to[i] + m, kProduct ? fma(x[i], keep[i], more[i]) : x[i], lanes);
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

// kAtOnce slots from n on. kHeads = 0: any number of heads, whose vectors stand in scratch.
template <bool kProduct, int kHeads, int kAtOnce, class R>
inline void write_backward_some(const WritePiece<R>& piece, const Rows<const R>& memory, const Rows<const R>& gradient,
                                const Rows<R>& dmemory, int64_t n) {
  const WriteHeads<R>& in = piece.in;
  const int64_t b = piece.sentence, heads = kHeads ? kHeads : in.heads;
  R* const before = piece.scratch;                              // kHeads = 0: a vector for each head,
  R* const by_weight = piece.scratch + (heads + 1) * kCount<R>;  // and another
  V<R> sums[kAtOnce][kHeads ? kHeads : 1] = {};
  if constexpr (kHeads == 0) std::fill_n(by_weight, heads * kCount<R>, R{0});
  each_lanes<R>(in.sizes.width, [&](int64_t m, int64_t lanes) {
    for (int i = 0; i < kAtOnce; ++i) {
      V<R> x = load_lanes<R>(memory.row(b, n + i) + m, lanes), g = load_lanes<R>(gradient.row(b, n + i) + m, lanes);
      const V<R> slot = x, whole = g;
      V<R> held[kHeads ? kHeads : 1];
      if constexpr (kProduct) x = Lanes<R>::splat(1);
      for (int64_t h = 0; h < heads; ++h) {
        const V<R> erase = load_lanes<R>(in.erase.row(b, h) + m, lanes);
        const V<R> add = load_lanes<R>(in.add.row(b, h) + m, lanes);
        const HeadWrite<R> head(in.weights.row(b, h)[n + i], erase, add);
        if constexpr (kHeads == 0)
          store(before + h * kCount<R>, x);
        else
          held[h] = x;
        x = kProduct ? x * head.keep : fma(x, head.keep, head.more);
      }
      if constexpr (kProduct) g *= slot;
      for (int64_t h = heads - 1; h >= 0; --h) {
        const R weight = in.weights.row(b, h)[n + i];
        const V<R> erase = load_lanes<R>(in.erase.row(b, h) + m, lanes);
        const V<R> add = load_lanes<R>(in.add.row(b, h) + m, lanes);
        const V<R> pull = g * (kHeads == 0 ? Lanes<R>::load(before + h * kCount<R>) : held[kHeads ? h : 0]);
        const V<R> by_add = kProduct ? whole : g, w = Lanes<R>::splat(weight);
        R *erases = piece.erase_parts.row(b, piece.first_part + h) + m,
          *adds = piece.add_parts.row(b, piece.first_part + h) + m;
        store_lanes<R>(erases, fma(-w, pull, load_lanes<R>(erases, lanes)), lanes);
        store_lanes<R>(adds, fma(w, by_add, load_lanes<R>(adds, lanes)), lanes);
        const V<R> more = fma(by_add, add, -(erase * pull));
        if constexpr (kHeads == 0)
          store(by_weight + h * kCount<R>, Lanes<R>::load(by_weight + h * kCount<R>) + more);
        else
          sums[i][h] += more;
        g *= HeadWrite<R>(weight, erase, add).keep;
      }
      store_lanes<R>(dmemory.row(b, n + i) + m, kProduct ? whole * x : g, lanes);
    }
  });
  for (int64_t h = 0; h < heads; ++h)
    for (int i = 0; i < kAtOnce; ++i)
      piece.dweights.row(b, h)[n + i] =
          sum_of(kHeads == 0 ? Lanes<R>::load(by_weight + h * kCount<R>) : sums[i][kHeads ? h : 0]);
}

template <bool kProduct, class R>
inline void write_backward_slots(const WritePiece<R>& piece, const Rows<const R>& memory,
                                 const Rows<const R>& gradient, const Rows<R>& dmemory, SlotRange range) {
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
inline void write_range_backward(const WritePiece<R>& piece, const Rows<const R>& memory,
                                 const Rows<const R>& gradient, const Rows<R>& dmemory, SlotRange range) {
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
