#pragma once
// Weighted sums of slots, and multiples of vectors added to slots.
#include "common/cpu/lanes.h"
#include "common/slots.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// out[h][m, m + kVectors vectors) = sum over the range of weights[h][n] slots[n]; the last vector has `lanes`.
template <int kHeads, int kVectors, class R>
inline void read_columns(const Rows<const R>& memory, int64_t sentence, SlotRange range, const R* const* weights,
                         int64_t m, int64_t lanes, R* const* out) {
  const auto lanes_of = [&](int v) { return v == kVectors - 1 ? lanes : kCount<R>; };
  V<R> sums[kHeads][kVectors] = {};
  for (int64_t n = range.begin; n < range.end; ++n) {
    const R* slot = memory.row(sentence, n) + m;
    for (int v = 0; v < kVectors; ++v) {
      const V<R> x = load_lanes<R>(slot + v * kCount<R>, lanes_of(v));
      for (int h = 0; h < kHeads; ++h) sums[h][v] = fma(Lanes<R>::splat(weights[h][n]), x, sums[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h)
    for (int v = 0; v < kVectors; ++v) store_lanes<R>(out[h] + m + v * kCount<R>, sums[h][v], lanes_of(v));
}

// out.row(first + h) = sum over the range of weights.row(h)[n] memory.row(n)
template <class R>
inline void read_slots(const Rows<const R>& memory, int64_t sentence, SlotRange range, const Rows<const R>& weights,
                       int64_t heads, const Rows<R>& out, int64_t first_row) {
  constexpr int kVectors = kLanes >= 16 ? 4 : 2;
  in_blocks<4>(0, heads, [&]<int kHeads>(int64_t first) {
    const R* rows[kHeads];
    R* lines[kHeads];
    for (int h = 0; h < kHeads; ++h) {
      rows[h] = weights.row(sentence, first + h);
      lines[h] = out.row(sentence, first_row + first + h);
    }
    int64_t m = 0;
    const int64_t width = memory.width;
    for (; m + kVectors * kCount<R> <= width; m += kVectors * kCount<R>)
      read_columns<kHeads, kVectors>(memory, sentence, range, rows, m, kCount<R>, lines);
    for (; m + kCount<R> < width; m += 2 * kCount<R>)
      read_columns<kHeads, 2>(memory, sentence, range, rows, m, std::min<int64_t>(width - m - kCount<R>, kCount<R>),
                              lines);
    if (m < width)
      read_columns<kHeads, 1>(memory, sentence, range, rows, m, std::min<int64_t>(width - m, kCount<R>), lines);
  });
}

// slots.row(n) += sum over kHeads of factors[h][n] vectors[h], for the range.
template <int kHeads, class R>
inline void add_some(const Rows<R>& slots, int64_t sentence, SlotRange range, const R* const* factors,
                     const R* const* vectors) {
  constexpr int kSlotsAtOnce = 4;
  in_blocks<kSlotsAtOnce>(range.begin, range.end, [&]<int kAtOnce>(int64_t n) {
    R* rows[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) rows[i] = slots.row(sentence, n + i);
    each_lanes<R>(slots.width, [&](int64_t m, int64_t lanes) {
      V<R> x[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) x[i] = load_lanes<R>(rows[i] + m, lanes);
      for (int h = 0; h < kHeads; ++h) {
        const V<R> vector = load_lanes<R>(vectors[h] + m, lanes);
        for (int i = 0; i < kAtOnce; ++i) x[i] = fma(Lanes<R>::splat(factors[h][n + i]), vector, x[i]);
      }
      for (int i = 0; i < kAtOnce; ++i) store_lanes<R>(rows[i] + m, x[i], lanes);
    });
  });
}

// slots.row(n) += sum_h factors.row(h)[n] vectors.row(h), for the range.
template <class R>
inline void add_multiples(const Rows<R>& slots, int64_t sentence, SlotRange range, const Rows<const R>& factors,
                          const Rows<const R>& vectors, int64_t heads) {
  in_blocks<4>(0, heads, [&]<int kHeads>(int64_t first) {
    const R *rows[kHeads], *of[kHeads];
    for (int h = 0; h < kHeads; ++h) {
      rows[h] = factors.row(sentence, first + h);
      of[h] = vectors.row(sentence, first + h);
    }
    add_some<kHeads>(slots, sentence, range, rows, of);
  });
}

// out.row(h) = sum over the pieces of parts.row(piece heads + h), in their order.
template <class R>
inline void join_parts(const Rows<const R>& parts, int64_t sentence, int64_t pieces, int64_t heads, int64_t head,
                       R* out) {
  each_lanes<R>(parts.width, [&](int64_t m, int64_t lanes) {
    V<R> sum = Lanes<R>::splat(0);
    for (int64_t piece = 0; piece < pieces; ++piece)
      sum += load_lanes<R>(parts.row(sentence, piece * heads + head) + m, lanes);
    store_lanes<R>(out + m, sum, lanes);
  });
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
