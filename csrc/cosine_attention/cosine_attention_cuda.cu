// Cosine similarity on the device: its stages, and attention/decode.cuh with its scores.
#include "attention/decode.cuh"
#include "common/cuda/cosine.cuh"
#include "common/cuda/launch.cuh"
#include "cosine_attention/cosine_attention.h"

namespace s2sfast {
namespace cuda {

constexpr int kCosineThreads = 256, kCosineRows = kCosineThreads / kWarp;

template <class R>
__device__ __forceinline__ R norm_of(const CosineInputs<R>& in, R square) {
  return norm_of(in.mode, static_cast<R>(in.eps), square);
}
template <class R>
__device__ __forceinline__ R slope_of(const CosineInputs<R>& in, R square) {
  return slope_of(in.mode, static_cast<R>(in.eps), square);
}

// What a norm contributes to a gradient; nothing where nothing is attended to, whatever the square is.
template <class R>
__device__ __forceinline__ R pulled(const CosineInputs<R>& in, R pull, R square) {
  return pull == 0 ? R(0) : pull * slope_of(in, square);
}

// A pair's denominator, and the norms' share in it: d log(denominator) = share (d log |q| + d log |k|).
template <class R>
struct CosinePair {
  R denominator, share;
  __device__ __forceinline__ CosinePair(const CosineInputs<R>& in, R query_norm, R key_norm) {
    const R norms = query_norm * key_norm, extra = in.mode == CosineEps::product ? static_cast<R>(in.eps) : R(0);
    denominator = norms + extra;
    share = extra > 0 ? norms / denominator : R(1);
  }
};

template <class R>
__device__ __forceinline__ R strength_of(const CosineInputs<R>& in, int64_t row) {
  return static_cast<R>(in.scale) * (in.strength ? in.strength[row] : R(1));
}

// See DotScore.
template <class T>
struct CosineScore : DotScore<T> {
  using R = Real<T>;
  static constexpr bool kSquares = true;
  CosineInputs<R> in;

  __device__ R finish(int64_t b, int64_t q, R sum, R query_square, R key_square) const {
    return strength_of(in, b * in.sizes.queries + q) *
           (sum / CosinePair<R>(in, norm_of(in, query_square), norm_of(in, key_square)).denominator);
  }
};

template <class T>
__global__ void __launch_bounds__(kCosineThreads) cosine_square_rows(const CosineSquares<T> stage, int64_t rows) {
  using R = Real<T>;
  const int64_t at = int64_t{blockIdx.x} * kCosineRows + warp_id();
  if (at >= rows) return;
  const T* row = stage.rows.row(at / stage.rows_per_sentence, at % stage.rows_per_sentence);
  R sum = 0;
  each_of_row(row, stage.rows.width, [&](int64_t, R x) { sum = fma(x, x, sum); });
  sum = warp_sum(sum);
  if (lane_id() == 0) stage.squares[at] = sum;
}

template <class R>
__global__ void __launch_bounds__(kCosineThreads) cosine_score_pairs(const CosineScores<R> stage) {
  const CosineInputs<R>& in = stage.in;
  const AttentionSizes& s = in.sizes;
  const int64_t i = int64_t{blockIdx.x} * kCosineThreads + threadIdx.x;
  if (i >= s.sentences * s.queries * s.positions) return;
  const int64_t t = i % s.positions, row = i / s.positions, q = row % s.queries, b = row / s.queries;
  if (!attends(in.mask, b, q, t, length_of(in.mask, b, s.positions))) return;
  const CosinePair<R> pair(in, norm_of(in, in.query_squares[row]), norm_of(in, in.key_squares[b * s.positions + t]));
  stage.scores[i] = strength_of(in, row) * (stage.scores[i] / pair.denominator);
}

// What the norms of the keys contribute: a thread for a key. Before cosine_query_rows, which replaces dscores.
template <class R>
__global__ void __launch_bounds__(kCosineThreads) cosine_from_keys(const CosineBackward<R> stage) {
  const CosineInputs<R>& in = stage.in;
  const AttentionSizes& s = in.sizes;
  const int64_t at = int64_t{blockIdx.x} * kCosineThreads + threadIdx.x;
  if (at >= s.sentences * s.positions) return;
  const int64_t b = at / s.positions, t = at % s.positions, length = length_of(in.mask, b, s.positions);
  const R norm = norm_of(in, in.key_squares[at]);
  R sum = 0;
  for (int64_t q = 0; q < s.queries; ++q) {
    if (!attends(in.mask, b, q, t, length)) continue;
    const int64_t row = b * s.queries + q, pair = row * s.positions + t;
    const CosinePair<R> norms(in, norm_of(in, in.query_squares[row]), norm);
    sum += stage.pairs[pair] * strength_of(in, row) * (stage.dots[pair] / norms.denominator) * norms.share;
  }
  stage.from_key[at] = pulled(in, sum, in.key_squares[at]);
}

// The rest of the backward: a warp for a query.
template <class R>
__global__ void __launch_bounds__(kCosineThreads) cosine_query_rows(const CosineBackward<R> stage) {
  const CosineInputs<R>& in = stage.in;
  const AttentionSizes& s = in.sizes;
  const int64_t row = int64_t{blockIdx.x} * kCosineRows + warp_id();
  if (row >= s.sentences * s.queries) return;
  const int64_t b = row / s.queries, q = row % s.queries, length = length_of(in.mask, b, s.positions);
  const R norm = norm_of(in, in.query_squares[row]), strength = strength_of(in, row);
  R pull = 0, dstrength = 0;
  R* const pairs = stage.pairs + row * s.positions;
  each_of_row(stage.dots + row * s.positions, length, [&](int64_t t, R dot) {
    if (!in.mask.allows(b, q, t)) return;
    const CosinePair<R> norms(in, norm, norm_of(in, in.key_squares[b * s.positions + t]));
    const R cosine = dot / norms.denominator, dscore = pairs[t];
    dstrength = fma(dscore, cosine, dstrength);
    pull = fma(dscore * strength * cosine, norms.share, pull);
    pairs[t] = dscore * strength / norms.denominator;
  });
  pull = warp_sum(pull), dstrength = warp_sum(dstrength);
  if (lane_id() != 0) return;
  stage.from_query[row] = pulled(in, pull, in.query_squares[row]);
  if (stage.strength) stage.strength[row] = static_cast<R>(in.scale) * dstrength;
}

template <class T>
__global__ void __launch_bounds__(kCosineThreads) cosine_correct_rows(const CosineCorrect<T> stage, int64_t rows) {
  using R = Real<T>;
  const int64_t at = int64_t{blockIdx.x} * kCosineRows + warp_id();
  if (at >= rows) return;
  const R factor = stage.factors[at];
  if (factor == 0) return;  // such as of a masked row, which may hold anything
  R* line = stage.lines + at * stage.rows.width;
  each_of_row(stage.rows.row(at / stage.rows_per_sentence, at % stage.rows_per_sentence), stage.rows.width,
              [&](int64_t d, R x) { line[d] = fma(-factor, x, line[d]); });
}

}  // namespace cuda

template <class T>
int cosine_squares_cuda(const CosineSquares<T>& stage, CudaTarget target) {
  const int64_t rows = stage.sentences * stage.rows_per_sentence;
  return cuda::launch(cuda::cosine_square_rows<T>, rows, cuda::kCosineRows, cuda::kCosineThreads, target, stage, rows);
}

template <class R>
int cosine_scores_cuda(const CosineScores<R>& stage, CudaTarget target) {
  const AttentionSizes& s = stage.in.sizes;
  return cuda::launch(cuda::cosine_score_pairs<R>, s.sentences * s.queries * s.positions, cuda::kCosineThreads,
                      cuda::kCosineThreads, target, stage);
}

template <class R>
int cosine_backward_cuda(const CosineBackward<R>& stage, CudaTarget target) {
  const AttentionSizes& s = stage.in.sizes;
  const int error = cuda::launch(cuda::cosine_from_keys<R>, s.sentences * s.positions, cuda::kCosineThreads,
                                 cuda::kCosineThreads, target, stage);
  if (error) return error;
  return cuda::launch(cuda::cosine_query_rows<R>, s.sentences * s.queries, cuda::kCosineRows, cuda::kCosineThreads,
                      target, stage);
}

template <class T>
int cosine_correct_cuda(const CosineCorrect<T>& stage, CudaTarget target) {
  const int64_t rows = stage.sentences * stage.rows_per_sentence;
  return cuda::launch(cuda::cosine_correct_rows<T>, rows, cuda::kCosineRows, cuda::kCosineThreads, target, stage, rows);
}

template <class T>
int cosine_decode_cuda(const AttentionDecode<T>& in, const CosineInputs<Real<T>>& cosine, CudaTarget target) {
  return cuda::decode(in, cuda::CosineScore<T>{{1.0}, cosine}, target);
}

template int cosine_squares_cuda(const CosineSquares<float>&, CudaTarget);
template int cosine_squares_cuda(const CosineSquares<double>&, CudaTarget);
template int cosine_squares_cuda(const CosineSquares<BFloat16>&, CudaTarget);
template int cosine_squares_cuda(const CosineSquares<Half>&, CudaTarget);
template int cosine_scores_cuda(const CosineScores<float>&, CudaTarget);
template int cosine_scores_cuda(const CosineScores<double>&, CudaTarget);
template int cosine_backward_cuda(const CosineBackward<float>&, CudaTarget);
template int cosine_backward_cuda(const CosineBackward<double>&, CudaTarget);
template int cosine_correct_cuda(const CosineCorrect<float>&, CudaTarget);
template int cosine_correct_cuda(const CosineCorrect<double>&, CudaTarget);
template int cosine_correct_cuda(const CosineCorrect<BFloat16>&, CudaTarget);
template int cosine_correct_cuda(const CosineCorrect<Half>&, CudaTarget);
template int cosine_decode_cuda(const AttentionDecode<float>&, const CosineInputs<float>&, CudaTarget);
template int cosine_decode_cuda(const AttentionDecode<double>&, const CosineInputs<double>&, CudaTarget);
template int cosine_decode_cuda(const AttentionDecode<BFloat16>&, const CosineInputs<float>&, CudaTarget);
template int cosine_decode_cuda(const AttentionDecode<Half>&, const CosineInputs<float>&, CudaTarget);

}  // namespace s2sfast
