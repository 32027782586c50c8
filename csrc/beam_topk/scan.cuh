#pragma once
// The first look at the logits, the only one that reads them all: each tile's largest logit and sum of exponentials,
// and the maxima of its groups. Internal to beam_topk_cuda.cu.
#include "beam_topk/sentence.cuh"

namespace s2sfast::cuda {

inline constexpr int kScanThreads = 128;

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

  bool bad_bias = false;
  const TileTop<Real<T>> top = top_of(x);
  const double sum = in.normalized ? 0 : sum_of_exps(x, top);

  float group = to_float(top.own);
  if constexpr (kBiased) group = biased_maximum<T>(x, in.bias.row(sentence, beam) + first, columns, bad_bias);
  const float tile_group = warp_max(group);
  const bool bad_logit = __any_sync(kAllLanes, top.bad);
  if constexpr (kBiased) bad_bias = __any_sync(kAllLanes, bad_bias);

  const int64_t at = row * work.tiles + tile;
  work.groups[at * kWarp + lane_id()] = group;
  if (lane_id() == 0) {
    work.tops[at] = tile_group;
    work.partials[at] = {sum, static_cast<double>(top.all), bad_logit, bad_bias};
  }
}

}  // namespace s2sfast::cuda
