#pragma once
// Weighted sums of slots. The whole block calls, for a piece.
#include "common/cuda/slots.cuh"
#include "memory_read/memory_read.h"

namespace s2sfast::cuda {

// out.row(first_row + h) = sum over the piece of weights.row(h)[n] memory.row(n)
template <class R>
__device__ __forceinline__ void read_piece(const Rows<const R>& memory, int64_t b, SlotRange range,
                                           const Rows<const R>& weights, int64_t heads, const Rows<R>& out,
                                           int64_t first_row, ColumnSums<R>& shared) {
  const bool wide = has_wide_rows(memory);
  for (int64_t head = 0; head < heads; head += kSumRows) {
    const int count = static_cast<int>(min(heads - head, int64_t{kSumRows}));
    R factor[kSumRows][kSlotsEach] = {};
#pragma unroll
    for (int h = 0; h < kSumRows; ++h)
      if (h < count) {
        const OfSlots<R> own(weights.row(b, head + h), range);
#pragma unroll
        for (int i = 0; i < kSlotsEach; ++i) factor[h][i] = own[i];
      }
    for (int64_t first = 0; first < memory.width; first += kSlotColumns<R>) {
      SlotPart<R> x;
      load_slots(wide, memory, b, range, first, x);
      RowPart<R> sums[kSumRows] = {};
#pragma unroll
      for (int h = 0; h < kSumRows; ++h)
#pragma unroll
        for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
          for (int v = 0; v < kVectors; ++v)
#pragma unroll
            for (int j = 0; j < kWide<R>; ++j) sums[h][v][j] = fma(factor[h][i], x[i][v][j], sums[h][v][j]);
      leave_columns(shared, sums, count, first, memory.width, [&](int h) { return out.row(b, first_row + head + h); });
    }
  }
}

// The sum over the pieces of parts.row(piece heads + head)[m], in their order.
template <class R>
__device__ __forceinline__ R join_parts(const Rows<const R>& parts, int64_t b, int64_t pieces, int64_t heads,
                                        int64_t head, int64_t m) {
  constexpr int kInFlight = 8;
  R sum = 0;
  for (int64_t first = 0; first < pieces; first += kInFlight) {
    R x[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j)  // no branch around a load: what is there twice is not added
      x[j] = parts.row(b, min(first + j, pieces - 1) * heads + head)[m];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) sum += first + j < pieces ? x[j] : R(0);
  }
  return sum;
}

// Of a sentence's reads, the numbers i, i + step, ...
template <class R>
__device__ __forceinline__ void join_reads(const MemoryReadJoin<R>& stage, int64_t b, int64_t i, int64_t step) {
  const int64_t width = stage.reads.width;
  for (; i < stage.heads * width; i += step)
    stage.reads.row(b, i / width)[i % width] =
        join_parts(stage.parts, b, slot_pieces(stage.sizes), stage.heads, i / width, i % width);
}

// d[i] += factors[i] vector, of the thread's slots.
template <class R>
__device__ __forceinline__ void add_multiple(const OfSlots<R>& factors, const RowPart<R>& vector, SlotPart<R>& d) {
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < kWide<R>; ++j) d[i][v][j] = fma(factors[i], vector[v][j], d[i][v][j]);
}

// d[i] += sum_h factors.row(h)[n] vectors.row(h), of the thread's slots, in the columns from `first` on.
template <class R>
__device__ __forceinline__ void add_multiples(const Rows<const R>& factors, const Rows<const R>& vectors, int64_t heads,
                                              int64_t b, SlotRange range, int64_t first, SlotPart<R>& d) {
  const bool wide = has_wide_rows(vectors);
  for (int64_t h = 0; h < heads; ++h) {
    RowPart<R> vector;
    load_row(wide, vectors.row(b, h), vectors.width, first, vector);
    add_multiple(OfSlots<R>(factors.row(b, h), range), vector, d);
  }
}

// dmemory.row(n) = sum_h weights.row(h)[n] gradient.row(h)
template <class R>
__device__ __forceinline__ void spread_reads(const Rows<R>& dmemory, int64_t b, SlotRange range,
                                             const Rows<const R>& weights, const Rows<const R>& gradient,
                                             int64_t heads) {
  for (int64_t first = 0; first < dmemory.width; first += kSlotColumns<R>) {
    SlotPart<R> d = {};
    add_multiples(weights, gradient, heads, b, range, first, d);
    store_slots(dmemory, b, range, first, d);
  }
}

}  // namespace s2sfast::cuda
