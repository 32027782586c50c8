#pragma once
// How a block of threads works on a piece of a memory, kSlots slots: eight threads to a slot, two slots to each of
// them, and of their numbers 64 at a time (32 in float64): two loads of 16 bytes a thread. Who has which number depends
// on nothing else, so what one step leaves in global memory the next one finds without a barrier.
#include "common/cuda/block.cuh"
#include "common/cuda/rows.cuh"
#include "common/slots.h"

namespace s2sfast::cuda {

inline constexpr int kSlotLanes = 8, kSlotGroups = kBlockThreads / kSlotLanes, kSlotsEach = kSlots / kSlotGroups;
inline constexpr int kVectors = 2;
template <class R>
inline constexpr int kSlotColumns = kVectors * kSlotLanes * kWide<R>;

// A thread's numbers of one row, and of its slots.
template <class R>
using RowPart = R[kVectors][kWide<R>];
template <class R>
using SlotPart = R[kSlotsEach][kVectors][kWide<R>];

__device__ __forceinline__ int slot_group() { return static_cast<int>(threadIdx.x) / kSlotLanes; }
__device__ __forceinline__ int slot_lane() { return static_cast<int>(threadIdx.x) % kSlotLanes; }

// The thread's i-th slot of a piece; it may lie beyond the range.
__device__ __forceinline__ int64_t own_slot(SlotRange range, int i) {
  return range.begin + i * kSlotGroups + slot_group();
}

// The sum over the threads of a slot; each gets it.
template <class R>
__device__ __forceinline__ R sum_of_slot(R x) {
#pragma unroll
  for (int distance = kSlotLanes / 2; distance; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

// Where the thread's v-th vector of the columns from `first` on begins.
template <class R>
__device__ __forceinline__ int64_t own_column(int64_t first, int v) {
  return first + (v * kSlotLanes + slot_lane()) * kWide<R>;
}

// Not by load_16: another stage of the same kernel may have written what is read.
template <class R>
__device__ __forceinline__ uint4 load_fresh(const R* p) {
  return *reinterpret_cast<const uint4*>(p);
}

template <class R>
__device__ __forceinline__ bool are_wide(const Rows<R>& rows) {
  return has_wide_rows(Rows<const R>(rows));
}

// What is not there is 0. `wide`: has_wide_rows().
template <class R>
__device__ __forceinline__ void load_row(bool wide, const R* row, int64_t width, int64_t first, RowPart<R>& x) {
  if (wide) {
    uint4 raw[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int64_t m = own_column<R>(first, v);
      raw[v] = m < width ? load_fresh(row + m) : uint4{};
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) unpack(raw[v], row, x[v]);
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < kWide<R>; ++j) {
        const int64_t m = own_column<R>(first, v) + j;
        x[v][j] = m < width ? row[m] : R(0);
      }
  }
}

template <class R>
__device__ __forceinline__ void load_slots(bool wide, const Rows<const R>& rows, int64_t sentence, SlotRange range,
                                           int64_t first, SlotPart<R>& x) {
  if (wide) {
    uint4 raw[kSlotsEach][kVectors];
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int64_t n = own_slot(range, i), m = own_column<R>(first, v);
        raw[i][v] = n < range.end && m < rows.width ? load_fresh(rows.row(sentence, n) + m) : uint4{};
      }
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
      for (int v = 0; v < kVectors; ++v) unpack(raw[i][v], rows.data, x[i][v]);
  } else {
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i) {
      const int64_t n = own_slot(range, i);
      load_row(false, rows.row(sentence, n), n < range.end ? rows.width : 0, first, x[i]);
    }
  }
}

template <class R>
__device__ __forceinline__ void store_slots(const Rows<R>& rows, int64_t sentence, SlotRange range, int64_t first,
                                            const SlotPart<R>& x) {
  const bool wide = are_wide(rows);
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i) {
    const int64_t n = own_slot(range, i);
    if (n >= range.end) continue;
    R* row = rows.row(sentence, n);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int64_t m = own_column<R>(first, v);
      if (wide) {
        alignas(16) R some[kWide<R>];
#pragma unroll
        for (int j = 0; j < kWide<R>; ++j) some[j] = x[i][v][j];
        if (m < rows.width) *reinterpret_cast<uint4*>(row + m) = *reinterpret_cast<const uint4*>(some);
      } else {
#pragma unroll
        for (int j = 0; j < kWide<R>; ++j)
          if (m + j < rows.width) row[m + j] = x[i][v][j];
      }
    }
  }
}

// A number of each of the thread's slots out of a row of them; 0 beyond the range.
template <class R>
struct OfSlots {
  R of[kSlotsEach];
  __device__ __forceinline__ OfSlots(const R* row, SlotRange range) {
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i) of[i] = own_slot(range, i) < range.end ? row[own_slot(range, i)] : R(0);
  }
  __device__ __forceinline__ R operator[](int i) const { return of[i]; }
};

// Calls leave(i, n) in one thread for each of a slot group's slots.
template <class Leave>
__device__ __forceinline__ void each_own_slot(SlotRange range, Leave leave) {
  if (slot_lane() != 0) return;
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i)
    if (own_slot(range, i) < range.end) leave(i, own_slot(range, i));
}

// Sums over the slots of a piece, for some rows at a time.
inline constexpr int kSumRows = 4;
template <class R>
struct ColumnSums {
  R of[kSumRows][kBlockWarps][kSlotColumns<R>];  // what the warps have
};

// row_of(r)[m] = the sum over the block of sums[r], for the `count` first r.
template <int kRows, class R, class RowOf>
__device__ __forceinline__ void leave_columns(ColumnSums<R>& shared, RowPart<R> (&sums)[kRows], int count,
                                              int64_t first, int64_t width, RowOf row_of) {
  static_assert(kRows <= kSumRows);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= count) break;
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
#pragma unroll
      for (int j = 0; j < kWide<R>; ++j) {
        R x = sums[r][v][j];
#pragma unroll
        for (int distance = kSlotLanes; distance < kWarp; distance *= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
        if (lane_id() < kSlotLanes) shared.of[r][warp_id()][(v * kSlotLanes + slot_lane()) * kWide<R> + j] = x;
      }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count * kSlotColumns<R>; i += kBlockThreads) {
    const int r = i / kSlotColumns<R>, m = i % kSlotColumns<R>;
    if (first + m >= width) continue;
    R sum = shared.of[r][0][m];
#pragma unroll
    for (int warp = 1; warp < kBlockWarps; ++warp) sum += shared.of[r][warp][m];
    row_of(r)[first + m] = sum;
  }
  __syncthreads();  // the next sums may come
}

}  // namespace s2sfast::cuda
