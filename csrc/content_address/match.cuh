#pragma once
// Dot products of vectors with the slots of a piece. The whole block calls.
#include "common/cuda/slots.cuh"

namespace s2sfast::cuda {

inline constexpr int kMatchHeads = 4;  // at a time

// Calls dot(h, n, x) with x = vectors.row(h) . memory.row(n) and, with kSquares, square(n, |memory.row(n)|^2), in one
// thread each: the first of the slot's.
template <bool kSquares, class R, class Dot, class Square>
__device__ __forceinline__ void match_piece(const Rows<const R>& memory, int64_t b, SlotRange range,
                                            const Rows<const R>& vectors, int64_t heads, Dot dot, Square square) {
  const bool wide = has_wide_rows(memory), wide_vectors = has_wide_rows(vectors);
  for (int64_t head = 0; head < heads; head += kMatchHeads) {
    R sums[kMatchHeads][kSlotsEach] = {}, squares[kSlotsEach] = {};
    for (int64_t first = 0; first < memory.width; first += kSlotColumns<R>) {
      SlotPart<R> x;
      load_slots(wide, memory, b, range, first, x);
#pragma unroll
      for (int h = 0; h < kMatchHeads; ++h) {
        if (head + h >= heads) break;
        RowPart<R> y;
        load_row(wide_vectors, vectors.row(b, head + h), memory.width, first, y);
#pragma unroll
        for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
          for (int v = 0; v < kVectors; ++v)
#pragma unroll
            for (int j = 0; j < kWide<R>; ++j) sums[h][i] = fma(y[v][j], x[i][v][j], sums[h][i]);
      }
      if constexpr (kSquares)
        if (head == 0)
#pragma unroll
          for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
            for (int v = 0; v < kVectors; ++v)
#pragma unroll
              for (int j = 0; j < kWide<R>; ++j) squares[i] = fma(x[i][v][j], x[i][v][j], squares[i]);
    }
#pragma unroll
    for (int h = 0; h < kMatchHeads; ++h) {
      if (head + h >= heads) break;
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i) sums[h][i] = sum_of_slot(sums[h][i]);
      each_own_slot(range, [&](int i, int64_t n) { dot(head + h, n, sums[h][i]); });
    }
    if constexpr (kSquares) {
      if (head > 0) continue;
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i) squares[i] = sum_of_slot(squares[i]);
      each_own_slot(range, [&](int i, int64_t n) { square(n, squares[i]); });
    }
  }
}

// |vectors.row(h)|^2, each group of a slot's threads for an h of its own, or all for the same; 0 where `there` is
// false.
template <class R>
__device__ __forceinline__ R square_of(const Rows<const R>& vectors, int64_t b, int64_t h, bool there = true) {
  const bool wide = has_wide_rows(vectors);
  R sum = 0;
  for (int64_t first = 0; first < vectors.width; first += kSlotColumns<R>) {
    RowPart<R> x;
    load_row(wide, vectors.row(b, h), there ? vectors.width : 0, first, x);
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < kWide<R>; ++j) sum = fma(x[v][j], x[v][j], sum);
  }
  return sum_of_slot(sum);
}

}  // namespace s2sfast::cuda
