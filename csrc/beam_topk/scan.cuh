#pragma once
// The first look at the logits, the only one that reads them all: each tile's largest logit and sum of exponentials
// (the online softmax of Milakov & Gimelshein 2018, one step per lane), and the maxima of its groups. Internal to
// beam_topk_cuda.cu.
#include "beam_topk/sentence.cuh"

namespace s2sfast::cuda {

inline constexpr int kScanThreads = 128;

// A lane's group of a tile; beyond the row's end it is filled with -inf. All loads are in flight together. Which lane
// gets which column does not depend on the alignment, so that the sums are the same bits.
template <class T>
__device__ __forceinline__ void load_group(const T* tile, int64_t columns, Real<T> (&x)[kGroup]) {
  constexpr int kLoads = kGroup / kWide<T>;
  if (columns >= kTile && is_aligned_16(tile)) {
    uint4 raw[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) raw[i] = load_16(tile + (i * kWarp + lane_id()) * kWide<T>);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      Real<T> some[kWide<T>];
      unpack(raw[i], tile, some);
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j) x[i * kWide<T> + j] = some[j];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int64_t column = column_of<T>(0, lane_id(), i);
      x[i] = column < columns ? real(tile[column]) : Real<T>(-INFINITY);
    }
  }
}

// The largest logit + bias of a group, rounded to float32; finite sums stay finite.
template <class T>
__device__ __forceinline__ float biased_maximum(const Real<T> (&x)[kGroup], const Real<T>* tile, int64_t columns,
                                                bool& bad_bias) {
  float top = -kInf;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const int64_t column = column_of<T>(0, lane_id(), i);
    const Real<T> bias = column < columns ? tile[column] : Real<T>(0), sum = x[i] + bias;
    const bool finite = x[i] > -INFINITY && bias > -INFINITY;
    bad_bias |= !(bias < INFINITY);
    top = fmaxf(top, finite ? fmaxf(to_float(sum), -FLT_MAX) : to_float(sum));
  }
  return top;
}

template <class T, bool kBiased>
__global__ void __launch_bounds__(kScanThreads)
    beam_topk_scan(const BeamTopkInputs<T> in, const BeamTopkWorkspace work) {
  const int64_t row = blockIdx.x, tile = int64_t{blockIdx.y} * (kScanThreads / kWarp) + warp_id();
  const uint32_t beams = static_cast<uint32_t>(in.sizes.beams);
  const int64_t sentence = blockIdx.x / beams, beam = blockIdx.x % beams;
  // A beam that offers nothing is not looked at.
  if (tile >= work.tiles || !(in.score(sentence, beam) > -INFINITY)) return;

  const int64_t first = tile * kTile, columns = in.sizes.vocab - first;
  Real<T> x[kGroup];
  load_group(in.logits.row(sentence, beam) + first, columns, x);

  Real<T> top = -INFINITY;
  bool bad_logit = false, bad_bias = false;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    top = max_of(top, x[i]);
    bad_logit |= !(x[i] < INFINITY);
  }
  const Real<T> tile_top = warp_max(top);

  double sum = 0;
  if (!in.normalized) {
    const Real<T> pivot = max_of(top, lowest(top)), tile_pivot = max_of(tile_top, lowest(top));
    Real<T> parts[4] = {};  // four chains of additions
    int tops = 0;           // terms of exactly 1: in a chain, a single one would swallow what is below 2^-24
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const Real<T> term = exp_for_sum(x[i] - pivot);
      if (term == Real<T>(1)) ++tops;
      parts[i % 4] += term == Real<T>(1) ? Real<T>(0) : term;
    }
    const double own = tops + ((static_cast<double>(parts[0]) + parts[1]) + (static_cast<double>(parts[2]) + parts[3]));
    sum = warp_sum(own * exp_for_sum(pivot - tile_pivot));
  }

  float group = to_float(top);
  if constexpr (kBiased) group = biased_maximum<T>(x, in.bias.row(sentence, beam) + first, columns, bad_bias);
  const float tile_group = warp_max(group);
  bad_logit = __any_sync(kAllLanes, bad_logit);
  if constexpr (kBiased) bad_bias = __any_sync(kAllLanes, bad_bias);

  const int64_t at = row * work.tiles + tile;
  work.groups[at * kWarp + lane_id()] = group;
  if (lane_id() == 0) {
    work.tops[at] = tile_group;
    work.partials[at] = {sum, static_cast<double>(tile_top), bad_logit, bad_bias};
  }
}

}  // namespace s2sfast::cuda
