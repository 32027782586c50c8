#pragma once
// Dot products of vectors with the slots of a block, and the squares of the slots.
#include "common/cpu/lanes.h"
#include "common/slots.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// Vectors at a time: with the squares they leave room for the sums of two slots at least, in one vector of sums.
template <class R>
inline constexpr int kMatchHeads = kCount<R> >= 8   ? 4
                                   : kCount<R> >= 4 ? 3
                                                    : 1;

// out.row(h)[n] for kHeads vectors and slots [begin, end); with kSquares, squares[n] too.
template <int kHeads, bool kSquares, class R>
[[gnu::flatten]] inline void match_some(const Rows<const R>& memory, int64_t sentence, SlotRange range,
                                        const R* const* vectors, R* const* out, R* squares) {
  constexpr int kVectors = kHeads + (kSquares ? 1 : 0), kSlotsAtOnce = kCount<R> / kVectors;
  for (int64_t n = range.begin; n < range.end; n += kSlotsAtOnce) {
    const R* slots[kSlotsAtOnce];
    const int64_t count = std::min<int64_t>(kSlotsAtOnce, range.end - n);
    for (int i = 0; i < kSlotsAtOnce; ++i) slots[i] = memory.row(sentence, n + std::min<int64_t>(i, count - 1));
    V<R> sums[kCount<R>] = {};
    each_lanes<R>(memory.width, [&](int64_t m, int64_t lanes) {
      V<R> of[kHeads];
      for (int h = 0; h < kHeads; ++h) of[h] = load_lanes<R>(vectors[h] + m, lanes);
      for (int i = 0; i < kSlotsAtOnce; ++i) {
        const V<R> slot = load_lanes<R>(slots[i] + m, lanes);
        for (int h = 0; h < kHeads; ++h) sums[h * kSlotsAtOnce + i] = fma(of[h], slot, sums[h * kSlotsAtOnce + i]);
        if constexpr (kSquares) sums[kHeads * kSlotsAtOnce + i] = fma(slot, slot, sums[kHeads * kSlotsAtOnce + i]);
      }
    });
    R found[kCount<R>];
    store(found, sums_of<R>(sums));
    for (int h = 0; h < kHeads; ++h) std::memcpy(out[h] + n, found + h * kSlotsAtOnce, count * sizeof(R));
    if constexpr (kSquares) std::memcpy(squares + n, found + kHeads * kSlotsAtOnce, count * sizeof(R));
  }
}

// out.row(h)[n] = vectors.row(h) . memory.row(n) and, where `squares` is given, squares[n] = |memory.row(n)|^2.
template <class R>
inline void match(const Rows<const R>& memory, int64_t sentence, SlotRange range, const Rows<const R>& vectors,
                  int64_t heads, const Rows<R>& out, R* squares) {
  constexpr int kMost = kMatchHeads<R>;
  const auto block = [&]<int kHeads>(int64_t first) {
    const R* rows[kHeads];
    R* lines[kHeads];
    for (int h = 0; h < kHeads; ++h) {
      rows[h] = vectors.row(sentence, first + h);
      lines[h] = out.row(sentence, first + h);
    }
    if (first == 0 && squares)
      match_some<kHeads, true>(memory, sentence, range, rows, lines, squares);
    else
      match_some<kHeads, false>(memory, sentence, range, rows, lines, squares);
  };
  in_blocks<kMost>(0, heads, block);
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
