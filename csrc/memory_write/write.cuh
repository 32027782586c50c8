#pragma once
// Writing to the slots of a piece, and back. The whole block calls.
#include "common/cuda/slots.cuh"
#include "memory_write/memory_write.h"

namespace s2sfast::cuda {

// What a head does to the thread's numbers: m <- m keep + more.
template <class R>
struct HeadWrite {
  RowPart<R> erase, add;
  OfSlots<R> weights;

  __device__ __forceinline__ HeadWrite(const WriteHeads<R>& in, bool wide_erase, bool wide_add, int64_t b, int64_t head,
                                       SlotRange range, int64_t first)
      : weights(in.weights.row(b, head), range) {
    load_row(wide_erase, in.erase.row(b, head), in.sizes.width, first, erase);
    load_row(wide_add, in.add.row(b, head), in.sizes.width, first, add);
  }
  __device__ __forceinline__ R keep(int i, int v, int j) const { return fma(-weights[i], erase[v][j], R(1)); }
  __device__ __forceinline__ R more(int i, int v, int j) const { return weights[i] * add[v][j]; }
};

// Calls use(i, v, j) for the thread's numbers of its slots.
template <class R, class Use>
__device__ __forceinline__ void each_own_number(Use use) {
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < kWide<R>; ++j) use(i, v, j);
}

template <bool kProduct, class R>
__device__ __forceinline__ void write_piece_by(const WriteHeads<R>& in, const Rows<const R>& memory, int64_t b,
                                               SlotRange range, const Rows<R>& written) {
  const bool wide = has_wide_rows(memory), wide_erase = has_wide_rows(in.erase), wide_add = has_wide_rows(in.add);
  for (int64_t first = 0; first < in.sizes.width; first += kSlotColumns<R>) {
    SlotPart<R> x, keep, more;
    load_slots(wide, memory, b, range, first, x);
    each_own_number<R>([&](int i, int v, int j) { keep[i][v][j] = 1, more[i][v][j] = 0; });
    for (int64_t h = 0; h < in.heads; ++h) {
      const HeadWrite<R> head(in, wide_erase, wide_add, b, h, range, first);
      each_own_number<R>([&](int i, int v, int j) {
        if constexpr (kProduct)
          keep[i][v][j] *= head.keep(i, v, j), more[i][v][j] += head.more(i, v, j);
        else
          x[i][v][j] = fma(x[i][v][j], head.keep(i, v, j), head.more(i, v, j));
      });
    }
    if constexpr (kProduct)
      each_own_number<R>([&](int i, int v, int j) { x[i][v][j] = fma(x[i][v][j], keep[i][v][j], more[i][v][j]); });
    store_slots(written, b, range, first, x);
  }
}

template <class R>
__device__ __forceinline__ void write_piece(const MemoryWrite<R>& stage, int64_t b, SlotRange range) {
  if (stage.in.composition == Composition::product)
    write_piece_by<true>(stage.in, stage.memory, b, range, stage.written);
  else
    write_piece_by<false>(stage.in, stage.memory, b, range, stage.written);
}

// What a slot was before a head is made again for each head, from the memory and the heads before: there are few that
// write, and their vectors come from L1.
template <bool kProduct, class R>
__device__ __forceinline__ void write_piece_backward_by(const MemoryWriteBackward<R>& stage, int64_t b, int64_t piece,
                                                        ColumnSums<R>& shared) {
  const WriteHeads<R>& in = stage.in;
  const SlotRange range = slots_of(in.sizes, piece);
  const int64_t width = in.sizes.width;
  const bool wide = has_wide_rows(stage.memory), wide_gradient = has_wide_rows(stage.gradient),
             wide_erase = has_wide_rows(in.erase), wide_add = has_wide_rows(in.add);
  int64_t first = 0;
  do {  // once at least: the weights have a gradient though slots are empty
    SlotPart<R> slot, g, whole;
    load_slots(wide, stage.memory, b, range, first, slot);
    load_slots(wide_gradient, stage.gradient, b, range, first, g);
    if constexpr (kProduct)
      each_own_number<R>([&](int i, int v, int j) {
        whole[i][v][j] = g[i][v][j];
        g[i][v][j] *= slot[i][v][j];
      });
    if (kProduct && in.heads == 0) store_slots(stage.dmemory, b, range, first, whole);
    for (int64_t h = in.heads - 1; h >= 0; --h) {
      SlotPart<R> x;  // before the head; the product of what the heads before keep
      each_own_number<R>([&](int i, int v, int j) { x[i][v][j] = kProduct ? R(1) : slot[i][v][j]; });
      for (int64_t before = 0; before < h; ++before) {
        const HeadWrite<R> head(in, wide_erase, wide_add, b, before, range, first);
        each_own_number<R>([&](int i, int v, int j) {
          R& own = x[i][v][j];
          own = kProduct ? own * head.keep(i, v, j) : fma(own, head.keep(i, v, j), head.more(i, v, j));
        });
      }
      const HeadWrite<R> head(in, wide_erase, wide_add, b, h, range, first);
      RowPart<R> sums[2] = {};  // of the gradients of erase and add
      R by_weight[kSlotsEach] = {};
      each_own_number<R>([&](int i, int v, int j) {
        const R pull = g[i][v][j] * x[i][v][j], by_add = kProduct ? whole[i][v][j] : g[i][v][j];
        sums[0][v][j] = fma(-head.weights[i], pull, sums[0][v][j]);
        sums[1][v][j] = fma(head.weights[i], by_add, sums[1][v][j]);
        by_weight[i] = fma(by_add, head.add[v][j], fma(-head.erase[v][j], pull, by_weight[i]));
        g[i][v][j] *= head.keep(i, v, j);
      });
      if (kProduct && h == in.heads - 1) {
        each_own_number<R>([&](int i, int v, int j) { x[i][v][j] *= whole[i][v][j] * head.keep(i, v, j); });
        store_slots(stage.dmemory, b, range, first, x);
      }
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i) by_weight[i] = sum_of_slot(by_weight[i]);
      R* dweights = stage.dweights.row(b, h);
      each_own_slot(range, [&](int i, int64_t n) { dweights[n] = first ? dweights[n] + by_weight[i] : by_weight[i]; });
      leave_columns(shared, sums, 2, first, width,
                    [&](int r) { return (r == 0 ? stage.erase_parts : stage.add_parts).row(b, piece * in.heads + h); });
    }
    if constexpr (!kProduct) store_slots(stage.dmemory, b, range, first, g);
    first += kSlotColumns<R>;
  } while (first < width);
}

// `gradient` and `dmemory` may be the same rows.
template <class R>
__device__ __forceinline__ void write_piece_backward(const MemoryWriteBackward<R>& stage, int64_t b, int64_t piece,
                                                     ColumnSums<R>& shared) {
  if (stage.in.composition == Composition::product)
    write_piece_backward_by<true>(stage, b, piece, shared);
  else
    write_piece_backward_by<false>(stage, b, piece, shared);
}

}  // namespace s2sfast::cuda
