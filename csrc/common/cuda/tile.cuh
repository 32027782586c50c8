#pragma once
// A row in tiles: a tile is 1,024 neighbouring columns, worked on by one warp, 32 columns by each lane: its group.
#include "common/cuda/numbers.cuh"
#include "common/cuda/warp.cuh"

namespace s2sfast::cuda {

inline constexpr int kGroup = 32, kTile = kGroup * kWarp;

// The column of element `element` of a lane's group.
template <class T>
__device__ __forceinline__ int64_t column_of(int64_t tile, int lane, int element) {
  return tile * kTile + (element / kWide<T> * kWarp + lane) * kWide<T> + element % kWide<T>;
}

// The same within a tile.
template <class Layout>
__device__ __forceinline__ int column_in_tile(int element) {
  return (element / kWide<Layout> * kWarp + lane_id()) * kWide<Layout> + element % kWide<Layout>;
}

// Whether a whole tile can be read and written by 16 bytes.
template <class... T>
__device__ __forceinline__ bool is_wide(int64_t columns, const T*... tiles) {
  return columns >= kTile && (is_aligned_16(tiles) && ...);
}

// A lane's group of a tile, all loads in flight together. Which lane gets which column does not depend on the
// alignment, so that the sums are the same bits. `Layout` is the type whose columns the lane has, where there are
// several arrays: the narrowest.
template <class Layout, class T>
__device__ __forceinline__ void load_wide(const T* tile, Real<T> (&x)[kGroup]) {
  constexpr int kLoads = kGroup / kWide<T>;
  uint4 raw[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) raw[i] = load_16(tile + column_of<Layout>(0, lane_id(), i * kWide<T>));
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    Real<T> some[kWide<T>];
    unpack(raw[i], tile, some);
#pragma unroll
    for (int j = 0; j < kWide<T>; ++j) x[i * kWide<T> + j] = some[j];
  }
}

// The same by single numbers; beyond the row's end it is filled with -inf.
template <class Layout, class T>
__device__ __forceinline__ void load_single(const T* tile, int64_t columns, Real<T> (&x)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const int64_t column = column_of<Layout>(0, lane_id(), i);
    x[i] = column < columns ? real(tile[column]) : Real<T>(-INFINITY);
  }
}

template <class T>
__device__ __forceinline__ void load_group(const T* tile, int64_t columns, Real<T> (&x)[kGroup]) {
  if (is_wide(columns, tile))
    load_wide<T>(tile, x);
  else
    load_single<T>(tile, columns, x);
}

// Leaves a lane's group where load_group() would find it.
template <class Layout, class T>
__device__ __forceinline__ void store_group(T* tile, int64_t columns, const Real<T> (&x)[kGroup]) {
  if (is_wide(columns, tile)) {
#pragma unroll
    for (int i = 0; i < kGroup / kWide<T>; ++i) {
      alignas(16) T some[kWide<T>];
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j) narrow(x[i * kWide<T> + j], some[j]);
      *reinterpret_cast<uint4*>(tile + column_of<Layout>(0, lane_id(), i * kWide<T>)) =
          *reinterpret_cast<const uint4*>(some);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int64_t column = column_of<Layout>(0, lane_id(), i);
      if (column < columns) narrow(x[i], tile[column]);
    }
  }
}

// The largest of the lane's group and of the tile; a NaN is passed over, and it or +inf is bad.
template <class R>
struct TileTop {
  R own, all;
  bool bad;  // in this lane's group
};
template <class R>
__device__ __forceinline__ TileTop<R> top_of(const R (&x)[kGroup]) {
  R top = -INFINITY;
  bool bad = false;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    top = max_of(top, x[i]);
    bad |= !(x[i] < INFINITY);
  }
  return {top, warp_max(top), bad};
}

// The tile's sum of exp(x - top.all): the online softmax of Milakov & Gimelshein 2018, one step per lane.
template <class R>
__device__ __forceinline__ double sum_of_exps(const R (&x)[kGroup], const TileTop<R>& top) {
  const R pivot = max_of(top.own, lowest(top.own)), tile_pivot = max_of(top.all, lowest(top.own));
  R parts[4] = {};  // four chains of additions
  int tops = 0;     // terms of exactly 1: in a chain, a single one would swallow what is below 2^-24
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const R term = exp_for_sum(x[i] - pivot);
    if (term == R(1)) ++tops;
    parts[i % 4] += term == R(1) ? R(0) : term;
  }
  const double own = tops + ((static_cast<double>(parts[0]) + parts[1]) + (static_cast<double>(parts[2]) + parts[3]));
  return warp_sum(own * exp_for_sum(pivot - tile_pivot));
}

}  // namespace s2sfast::cuda
