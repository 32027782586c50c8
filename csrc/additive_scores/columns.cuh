#pragma once
// The gradients that have columns: of query, keys, v and feature_weight, one tanh for an element. A block takes 32
// columns, a lane each, and a split of a sentence's positions, 32 at a time, a warp four of them; all queries pass.
// What sums over positions is joined in the block, in the order of the warps, and leaves it as the split's part. More
// than six channels take more blocks, which compute the tanh once more, for feature_weight alone. Internal to
// additive_scores_cuda.cu.
#include "additive_scores/additive_scores.h"
#include "attention/mask.cuh"
#include "common/cuda/tanh.cuh"

namespace s2sfast::cuda {

inline constexpr int kColumnThreads = 256, kColumnWarps = kColumnThreads / kWarp;
inline constexpr int kColumnOwn = 4;                                // positions of a warp
inline constexpr int kColumnPositions = kColumnWarps * kColumnOwn;  // of a block at once
inline constexpr int kColumnQueries = kColumnWarps;                 // between barriers: a warp joins one
inline constexpr int kColumnChannels = 6;
static_assert(kColumnPositions == kAdditiveSplitUnit);

template <class R>
struct ColumnShared {
  R parts[kColumnQueries][kColumnWarps][kWarp];
};

// The sum over the warps of what each lane has, in warp 0. The whole block calls.
template <class R>
__device__ __forceinline__ R sum_of_warps(R own, ColumnShared<R>& shared) {
  __syncthreads();  // what was in its place is no longer read
  shared.parts[0][warp_id()][lane_id()] = own;
  __syncthreads();
  R sum = 0;
#pragma unroll
  for (int w = 0; w < kColumnWarps; ++w) sum += shared.parts[0][w][lane_id()];
  return sum;
}

template <class T, bool kFeatures>
__global__ void __launch_bounds__(kColumnThreads, sizeof(T) == 8 ? 1 : 2)
    additive_columns(const AdditiveBackward<T> stage) {
  using R = Real<T>;
  constexpr int kChannels = kFeatures ? kColumnChannels : 1;
  __shared__ ColumnShared<R> shared;
  const AdditiveInputs<T>& in = stage.in;
  const auto& [B, Q, P] = in.sizes;
  const int64_t D = in.width, groups = attention_blocks(D, kWarp);
  const int64_t b = blockIdx.x / groups, d = blockIdx.x % groups * kWarp + lane_id(), split = blockIdx.y;
  const int64_t channel = int64_t{blockIdx.z} * kChannels;
  const bool present = d < D, whole = channel == 0;  // later channels' blocks leave feature_weight's part alone
  const int64_t length = length_of(in.mask, b, P), size = additive_split_positions(P);
  const int64_t begin = split * size, end = min(begin + size, P), attended = min(end, length);
  const R v = present ? in.v[d] : R(0);
  R* const dquery = stage.query + (split * B + b) * Q * D + d;

  R dv = 0, dweight[kChannels] = {};
  for (int64_t tile = begin; tile < attended; tile += kColumnPositions) {
    const int64_t first = tile + warp_id() * kColumnOwn;
    R key[kColumnOwn], dkey[kColumnOwn] = {};
#pragma unroll
    for (int j = 0; j < kColumnOwn; ++j)
      key[j] = present && first + j < attended ? real(in.keys.row(b, first + j)[d]) : R(0);
    for (int64_t first_query = 0; first_query < Q; first_query += kColumnQueries) {
      const int count = static_cast<int>(min(int64_t{kColumnQueries}, Q - first_query));
      for (int i = 0; i < count; ++i) {
        const int64_t q = first_query + i, pair = (b * Q + q) * P + first;
        const R query = present ? in.query.row(b, q)[d] : R(0);
        R dscores[kColumnOwn], sum = 0;
#pragma unroll
        for (int j = 0; j < kColumnOwn; ++j) dscores[j] = first + j < attended ? stage.dscores[pair + j] : R(0);
#pragma unroll
        for (int j = 0; j < kColumnOwn; ++j) {
          if (dscores[j] == 0) continue;  // as at masked pairs, which may hold anything
          R x = query + key[j];
          const T* features = kFeatures ? in.features_of(b, q, first + j) : nullptr;
          if constexpr (kFeatures)
            for (int64_t c = 0; c < in.channels; ++c)
              x = fma(real(features[c]), present ? in.feature_weight[c * D + d] : R(0), x);
          const R y = tanh_of(x), u = dscores[j] * v * fma(-y, y, R(1));
          dv = fma(dscores[j], y, dv);
          dkey[j] += u;
          sum += u;
          if constexpr (kFeatures)
#pragma unroll
            for (int c = 0; c < kChannels; ++c)
              if (channel + c < in.channels) dweight[c] = fma(real(features[channel + c]), u, dweight[c]);
        }
        shared.parts[i][warp_id()][lane_id()] = sum;
      }
      __syncthreads();
      if (warp_id() < count && present && whole) {
        R sum = 0;
#pragma unroll
        for (int w = 0; w < kColumnWarps; ++w) sum += shared.parts[warp_id()][w][lane_id()];
        R& line = dquery[(first_query + warp_id()) * D];
        line = tile == begin ? sum : line + sum;
      }
      __syncthreads();
    }
    if (present && whole)
#pragma unroll
      for (int j = 0; j < kColumnOwn; ++j)
        if (first + j < attended) stage.keys[(b * P + first + j) * D + d] = dkey[j];
  }

  if (present && whole) {
    for (int64_t t = max(begin, attended) + warp_id(); t < end; t += kColumnWarps) stage.keys[(b * P + t) * D + d] = 0;
    if (begin >= attended)
      for (int64_t q = warp_id(); q < Q; q += kColumnWarps) dquery[q * D] = 0;
  }
  const bool writes = present && warp_id() == 0;
  const R all = sum_of_warps(dv, shared);
  if (writes && whole) stage.v[(split * B + b) * D + d] = all;
  if constexpr (kFeatures)
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const R weight = sum_of_warps(dweight[c], shared);
      if (writes && channel + c < in.channels)
        stage.feature_weight[((split * B + b) * in.channels + channel + c) * D + d] = weight;
    }
}

}  // namespace s2sfast::cuda
