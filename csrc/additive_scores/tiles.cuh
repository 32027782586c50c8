#pragma once
// What needs the tanh of every pair and column and sums over the columns: the scores, and the gradient of the features.
// A block takes 16 queries and 64 positions, a thread eight of these pairs, so that of what it does nearly all is tanh;
// queries and keys pass by 32 columns at a time. Internal to additive_scores_cuda.cu.
#include "additive_scores/additive_scores.h"
#include "attention/mask.cuh"
#include "common/cuda/tanh.cuh"

namespace s2sfast::cuda {

inline constexpr int kTileThreads = 128, kTileQueries = 16, kTilePositions = 64, kTileDepth = 32;
inline constexpr int kTileSideQ = 2, kTileSideT = 4;  // of the pairs of a thread

// Columns that a thread has in registers at once.
template <class R, bool kFeatures>
inline constexpr int kTileStep = sizeof(R) == 8 ? 1
                                 : kFeatures    ? 2
                                                : 4;

// The feature's share of what is inside tanh, for the thread's columns from `column` on.
template <int kStep, class T>
__device__ __forceinline__ void add_feature(const AdditiveInputs<T>& in, int64_t c, int64_t column, Real<T> feature,
                                            Real<T> (&x)[kStep]) {
#pragma unroll
  for (int j = 0; j < kStep; ++j)
    if (column + j < in.width) x[j] = fma(feature, in.feature_weight[c * in.width + column + j], x[j]);
}

// score = sum_d v[d] tanh(x[d])
template <class T>
struct ScoreResult {
  using R = Real<T>;
  static constexpr int kChannels = 1;
  AdditiveScores<T> stage;

  constexpr int64_t channel_groups() const { return 1; }
  __device__ void add(int64_t, int64_t, R v, R y, R (&sums)[1]) const { sums[0] = fma(v, y, sums[0]); }
  __device__ void store(int64_t pair, int64_t, bool attended, const R (&sums)[1]) const {
    stage.scores[pair] = attended ? sums[0] : R(-INFINITY);
  }
};

// dfeatures[c] = dscore sum_d feature_weight[c, d] v[d] (1 - tanh(x[d])^2), four channels at a time: more channels take
// more blocks, which compute the tanh once more.
template <class T>
struct FeatureResult {
  using R = Real<T>;
  static constexpr int kChannels = 4;
  AdditiveBackward<T> stage;

  constexpr int64_t channel_groups() const { return attention_blocks(stage.in.channels, kChannels); }
  __device__ void add(int64_t channel, int64_t column, R v, R y, R (&sums)[kChannels]) const {
    const R u = v * fma(-y, y, R(1));
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      if (channel + c < stage.in.channels && column < stage.in.width)
        sums[c] = fma(stage.in.feature_weight[(channel + c) * stage.in.width + column], u, sums[c]);
  }
  __device__ void store(int64_t pair, int64_t channel, bool, const R (&sums)[kChannels]) const {
    const R dscore = stage.dscores[pair];
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      if (channel + c < stage.in.channels)
        stage.features[pair * stage.in.channels + channel + c] = dscore == 0 ? R(0) : dscore * sums[c];
  }
};

// Columns [first, first + kTileDepth) of some rows; 0 where there is none. The whole block calls.
template <int kRows, int kPitch, class T>
__device__ __forceinline__ void stage_rows(const Rows<const T>& rows, int64_t b, int64_t first_row, int64_t end_row,
                                           int64_t first, bool wide, Real<T> (&staged)[kRows][kPitch]) {
  constexpr int kPerRow = kTileDepth / kWide<T>, kAll = kRows * kPerRow;
  constexpr int kLoads = (kAll + kTileThreads - 1) / kTileThreads;
  Real<T> x[kLoads][kWide<T>];
  const auto row_of = [](int i) { return (static_cast<int>(threadIdx.x) + i * kTileThreads) / kPerRow; };
  const int column = static_cast<int>(threadIdx.x) % kPerRow * kWide<T>;
  static_assert(kTileThreads % kPerRow == 0);
  load_burst<T, kLoads>(
      wide,
      [&](int i) {
        const int64_t row = first_row + row_of(i);
        return Spot<T>{rows.row(b, row) + first + column,
                       row_of(i) < kRows && row < end_row ? rows.width - first - column : 0};
      },
      x);
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    if (row_of(i) < kRows)
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j) staged[row_of(i)][column + j] = x[i][j];
}

template <class T, bool kFeatures, class Result>
__global__ void __launch_bounds__(kTileThreads, sizeof(T) == 8 ? 2
                                                : kFeatures    ? 3
                                                               : 4)
    additive_tiles(const AdditiveInputs<T> in, const Result result) {
  using R = Real<T>;
  constexpr int kStep = kTileStep<R, kFeatures>, kPitch = kTileDepth + 4;  // lanes that are a row apart meet in no bank
  __shared__ alignas(16) R query[kTileQueries][kPitch], keys[kTilePositions][kPitch], v[kTileDepth];

  const auto& [B, Q, P] = in.sizes;
  const int64_t query_tiles = attention_blocks(Q, kTileQueries), position_tiles = attention_blocks(P, kTilePositions);
  const int64_t tile = blockIdx.x, b = tile / (query_tiles * position_tiles);
  const int64_t first_query = tile / position_tiles % query_tiles * kTileQueries;
  const int64_t first_position = tile % position_tiles * kTilePositions;
  const int64_t channel = int64_t{blockIdx.y} * Result::kChannels, length = length_of(in.mask, b, P);
  const bool wide_query = has_wide_rows(in.query), wide_keys = has_wide_rows(in.keys);
  constexpr int kAcross = kTilePositions / kTileSideT, kDown = kTileQueries / kTileSideQ;
  const int own_q = static_cast<int>(threadIdx.x) / kAcross, own_t = static_cast<int>(threadIdx.x) % kAcross;
  const auto q_of = [&](int i) { return first_query + own_q + i * kDown; };
  const auto t_of = [&](int j) { return first_position + own_t + j * kAcross; };

  R sums[kTileSideQ][kTileSideT][Result::kChannels] = {};
  for (int64_t first = 0; first < in.width && first_position < length; first += kTileDepth) {
    __syncthreads();  // the columns before are no longer read
    stage_rows(in.query, b, first_query, Q, first, wide_query, query);
    stage_rows(in.keys, b, first_position, length, first, wide_keys, keys);
    if (threadIdx.x < kTileDepth) v[threadIdx.x] = first + threadIdx.x < in.width ? in.v[first + threadIdx.x] : R(0);
    __syncthreads();
    for (int d = 0; d < kTileDepth; d += kStep) {
      R x[kTileSideQ][kTileSideT][kStep];
#pragma unroll
      for (int i = 0; i < kTileSideQ; ++i)
#pragma unroll
        for (int j = 0; j < kTileSideT; ++j)
#pragma unroll
          for (int k = 0; k < kStep; ++k)
            x[i][j][k] = query[own_q + i * kDown][d + k] + keys[own_t + j * kAcross][d + k];
      if constexpr (kFeatures)
        for (int64_t c = 0; c < in.channels; ++c)
#pragma unroll
          for (int i = 0; i < kTileSideQ; ++i)
#pragma unroll
            for (int j = 0; j < kTileSideT; ++j)
              if (q_of(i) < Q && t_of(j) < length)
                add_feature<kStep>(in, c, first + d, real(in.features_of(b, q_of(i), t_of(j))[c]), x[i][j]);
#pragma unroll
      for (int i = 0; i < kTileSideQ; ++i) {
        if (q_of(i) >= Q) continue;  // of few queries most threads have none
#pragma unroll
        for (int j = 0; j < kTileSideT; ++j)
#pragma unroll
          for (int k = 0; k < kStep; ++k) result.add(channel, first + d + k, v[d + k], tanh_of(x[i][j][k]), sums[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kTileSideQ; ++i)
#pragma unroll
    for (int j = 0; j < kTileSideT; ++j)
      if (q_of(i) < Q && t_of(j) < P)
        result.store((b * Q + q_of(i)) * P + t_of(j), channel, attends(in.mask, b, q_of(i), t_of(j), length),
                     sums[i][j]);
}

}  // namespace s2sfast::cuda
