#pragma once
// The two launches of decode.h. In the first a block takes a part of a sentence's positions, 32 at a time: a warp
// fetches a key once and scores it for every query, which wait in shared memory; then come the exponentials, and the
// values, which are in L1 yet where they are the keys. A block's context so far stands in the workspace. The second
// (decode_cuda.cu) joins the parts in their order.
//
// How a score is made of query and key is the caller's: `Score` says it (see DotScore).
#include <cuda_runtime.h>

#include "attention/decode_merge.cuh"
#include "attention/softmax.cuh"

namespace s2sfast::cuda {

inline constexpr int kDecodeThreads = 256, kDecodeWarps = kDecodeThreads / kWarp;
inline constexpr int kDecodeTile = kWarp;  // positions: a lane's each
inline constexpr int kDecodeGroup = 4;     // queries whose contexts a thread adds up together
inline constexpr int kDecodePitch = 20;    // 16 queries, and 4 so that lanes meet in fewer banks

// Keys that a warp looks at together, and loads of a lane from each: four loads in flight.
template <class T>
inline constexpr int kDecodeKeys = sizeof(T) == 2 ? 2 : 1;
template <class T>
inline constexpr int kDecodeLoads = 4 / kDecodeKeys<T>;
template <class T>
inline constexpr int kDecodeStep = kWarp * kWide<T>;  // columns of a load of the whole warp
template <class T>
inline constexpr int kDecodeChunk = kDecodeLoads<T> * kDecodeStep<T>;

// What a lane holds of a key.
template <class T>
using KeyPart = Real<T>[kDecodeLoads<T>][kWide<T>];

// Calls use(i, j, column) for the lane's numbers, the column counted from the chunk's first; `loads` of them are there.
template <class T, class Use>
__device__ __forceinline__ void each_of_part(int loads, Use use) {
#pragma unroll
  for (int i = 0; i < kDecodeLoads<T>; ++i)
    if (i < loads)
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j) use(i, j, (i * kWarp + lane_id()) * kWide<T> + j);
}

// score = scale q . k
template <class T>
struct DotScore {
  using R = Real<T>;
  static constexpr int64_t kReading = kDecodeBound;
  static constexpr bool kSquares = false;  // of queries and keys are asked for
  static constexpr int kStaged = 0;        // rows that wait in shared memory after the queries
  double scale;

  __device__ R staged(int64_t) const { return 0; }
  // The lane's share of what `finish` gets; `first` is the chunk's first column.
  __device__ R partial(int64_t, int64_t, int64_t, int64_t, int loads, const KeyPart<T>& key, const R* query,
                       const R*) const {
    R sum = 0;
    each_of_part<T>(loads, [&](int i, int j, int column) { sum = fma(query[column], key[i][j], sum); });
    return sum;
  }
  __device__ R finish(int64_t, int64_t, R sum, R, R) const { return static_cast<R>(scale) * sum; }
};

template <class R>
struct DecodeShared {
  alignas(16) R scores[kDecodeTile][kDecodePitch];  // then weights, -1 where masked
  R tops[kDecodeMostQueries], sums[kDecodeMostQueries], factors[kDecodeMostQueries];
  R query_squares[kDecodeMostQueries], key_squares[kDecodeTile];
};

// Queries, and the score's own rows, for the columns of a chunk; 0 beyond the last. The whole block calls.
template <class T, class Score>
__device__ __forceinline__ void stage_queries(const AttentionDecode<T>& in, const Score& score, int64_t b,
                                              int64_t first, int width, Real<T>* staged) {
  const int rows = static_cast<int>(in.sizes.queries) + Score::kStaged;
  for (int i = threadIdx.x; i < rows * width; i += kDecodeThreads) {
    const int q = i / width;
    const int64_t column = first + i % width;
    staged[i] = column >= in.keys.width ? Real<T>(0)
                : q < in.sizes.queries  ? in.query.row(b, q)[column]
                                        : score.staged(column);
  }
}

// Adds the scores' sums over the columns of a chunk for the warp's positions of a tile.
template <class T, class Score>
__device__ __forceinline__ void score_chunk(const AttentionDecode<T>& in, const Score& score, int64_t b,
                                            int64_t first_position, int count, int64_t first, int width, bool wide,
                                            const Real<T>* staged, DecodeShared<Real<T>>& shared) {
  using R = Real<T>;
  constexpr int kKeys = kDecodeKeys<T>, kLoads = kDecodeLoads<T>;
  const int queries = static_cast<int>(in.sizes.queries), loads = width / kDecodeStep<T>;
  for (int row = warp_id(); row < count; row += kKeys * kDecodeWarps) {
    R keys[kKeys * kLoads][kWide<T>];
    load_burst<T, kKeys * kLoads>(
        wide,
        [&](int i) {
          const int place = row + i / kLoads * kDecodeWarps;
          const int64_t column = first + (i % kLoads * kWarp + lane_id()) * kWide<T>;
          return Spot<T>{in.keys.row(b, first_position + place) + column, place < count ? in.keys.width - column : 0};
        },
        keys);
#pragma unroll
    for (int n = 0; n < kKeys; ++n) {
      const int place = row + n * kDecodeWarps;
      if (place >= count) break;
      const KeyPart<T>& key = reinterpret_cast<const KeyPart<T>&>(keys[n * kLoads]);
      for (int q = 0; q < queries; ++q) {
        const R sum = warp_sum(score.partial(b, q, first_position + place, first, loads, key, staged + q * width,
                                             staged + queries * width));
        if (lane_id() == q) shared.scores[place][q] += sum;
      }
      if constexpr (Score::kSquares) {
        R square = 0;
        each_of_part<T>(loads, [&](int i, int j, int) { square = fma(key[i][j], key[i][j], square); });
        square = warp_sum(square);
        if (lane_id() == 0) shared.key_squares[place] += square;
      }
    }
  }
}

// Scores of a tile become weights less a common factor, query by query. A warp calls for one of its queries.
template <class T, class Score>
__device__ __forceinline__ void weigh(const AttentionDecode<T>& in, const Score& score, int64_t b, int q,
                                      int64_t first_position, int count, int64_t length,
                                      DecodeShared<Real<T>>& shared) {
  using R = Real<T>;
  const AttentionSizes& s = in.sizes;
  const int64_t t = first_position + lane_id();
  const bool inside = q < s.queries && lane_id() < count;
  const bool there = inside && attends(in.mask, b, q, t, length);
  R x = -INFINITY;
  if (there)
    x = score.finish(b, q, shared.scores[lane_id()][q], shared.query_squares[q], shared.key_squares[lane_id()]);
  if (inside && in.weights) in.weights[(b * s.queries + q) * s.positions + t] = x;

  const bool any = __any_sync(kAllLanes, there), bad = __any_sync(kAllLanes, there && !(x < INFINITY));
  x = x < INFINITY ? x : R(-INFINITY);
  const R before = shared.tops[q], top = warp_max(max_of(before, x)), pivot = max_of(top, lowest(top));
  const R weight = there ? exp_or_zero(x - pivot) : R(0), factor = exp_or_zero(before - pivot), sum = warp_sum(weight);
  const R so_far = shared.sums[q] < 0 ? R(0) : shared.sums[q];
  __syncwarp();  // all lanes have looked at what is now replaced
  shared.scores[lane_id()][q] = there ? weight : R(-1);
  if (lane_id() != 0) return;
  shared.factors[q] = any ? factor : R(1);
  if (!any) return;
  shared.tops[q] = top;
  shared.sums[q] = bad ? R(NAN) : fma(so_far, factor, sum);
}

// The context of the part so far, with the tile's values. The whole block calls.
template <class T>
__device__ __forceinline__ void add_values(const AttentionDecode<T>& in, int64_t b, int64_t first_position, int count,
                                           bool is_first, bool wide, const DecodeShared<Real<T>>& shared,
                                           Real<T>* contexts) {
  using R = Real<T>;
  constexpr int kInFlight = 4;
  const int64_t E = in.values.width, columns = attention_blocks(E, kWide<T>);
  const int64_t items = attention_blocks(in.sizes.queries, kDecodeGroup) * columns;
  for (int64_t item = threadIdx.x; item < items; item += kDecodeThreads) {
    const int64_t column = item % columns * kWide<T>;
    const int first = static_cast<int>(item / columns) * kDecodeGroup;
    R sums[kDecodeGroup][kWide<T>] = {};
    for (int row = 0; row < count; row += kInFlight) {
      R values[kInFlight][kWide<T>];
      load_burst<T, kInFlight>(
          wide,
          [&](int i) {
            return Spot<T>{in.values.row(b, first_position + row + i) + column, row + i < count ? E - column : 0};
          },
          values);
#pragma unroll
      for (int i = 0; i < kInFlight; ++i)
#pragma unroll
        for (int g = 0; g < kDecodeGroup; ++g) {
          const R weight = shared.scores[row + i][first + g];
          if (weight >= 0)
#pragma unroll
            for (int j = 0; j < kWide<T>; ++j) sums[g][j] = fma(weight, values[i][j], sums[g][j]);
        }
    }
#pragma unroll
    for (int g = 0; g < kDecodeGroup; ++g) {
      if (first + g >= in.sizes.queries) break;
      R* line = contexts + (first + g) * E + column;
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j)
        if (column + j < E) line[j] = is_first ? sums[g][j] : fma(line[j], shared.factors[first + g], sums[g][j]);
    }
  }
}

template <class T, class Score>
__global__ void __launch_bounds__(kDecodeThreads, 2)
    attention_decode(const AttentionDecode<T> in, const Score score, const DecodeParts<Real<T>> parts) {
  using R = Real<T>;
  extern __shared__ __align__(16) unsigned char dynamic[];
  __shared__ DecodeShared<R> shared;
  R* const staged = reinterpret_cast<R*>(dynamic);

  const AttentionSizes& s = in.sizes;
  const int queries = static_cast<int>(s.queries);
  const int64_t b = blockIdx.x, part = blockIdx.y, D = in.keys.width;
  const int64_t positions = attention_decode_positions(s.positions, Score::kReading);
  const int64_t length = length_of(in.mask, b, s.positions);
  const int64_t begin = part * positions, end = min(begin + positions, length);
  const int width =
      static_cast<int>(min(int64_t{kDecodeLoads<T>}, attention_blocks(D, kDecodeStep<T>))) * kDecodeStep<T>;
  const bool wide_keys = has_wide_rows(in.keys), wide_values = has_wide_rows(in.values);
  const int64_t row = (b * parts.parts + part) * s.queries;
  if (part == 0 && threadIdx.x == 0) check_length(in.mask, b, s.positions, in.what, in.faults);
  if (threadIdx.x < kDecodeMostQueries) shared.tops[threadIdx.x] = -INFINITY, shared.sums[threadIdx.x] = -1;
  if constexpr (Score::kSquares)
    for (int q = warp_id(); q < queries; q += kDecodeWarps) {
      R square = 0;
      each_of_row(in.query.row(b, q), D, [&](int64_t, R x) { square = fma(x, x, square); });
      square = warp_sum(square);
      if (lane_id() == 0) shared.query_squares[q] = square;
    }

  for (int64_t first_position = begin; first_position < end; first_position += kDecodeTile) {
    const int count = static_cast<int>(min(int64_t{kDecodeTile}, end - first_position));
    for (int place = warp_id(); place < count; place += kDecodeWarps) {
      if (lane_id() < kDecodeMostQueries) shared.scores[place][lane_id()] = 0;
      if (lane_id() == 0) shared.key_squares[place] = 0;
    }
    for (int64_t first = 0; first < D; first += kDecodeChunk<T>) {
      if (first_position == begin || D > kDecodeChunk<T>) {
        __syncthreads();  // the chunk before is no longer read
        stage_queries(in, score, b, first, width, staged);
        __syncthreads();
      }
      score_chunk(in, score, b, first_position, count, first, width, wide_keys, staged, shared);
    }
    __syncthreads();
    for (int q = warp_id(); q < attention_blocks(queries, kDecodeGroup) * kDecodeGroup; q += kDecodeWarps)
      weigh(in, score, b, q, first_position, count, length, shared);
    __syncthreads();
    add_values(in, b, first_position, count, first_position == begin, wide_values, shared,
               parts.contexts + row * in.values.width);
    __syncthreads();  // weights are no longer read
  }
  if (threadIdx.x < queries) {
    parts.tops[row + threadIdx.x] = shared.tops[threadIdx.x];
    parts.sums[row + threadIdx.x] = shared.sums[threadIdx.x];
  }
}

// Launches both; at most kDecodeMostQueries queries.
template <class T, class Score>
int decode(const AttentionDecode<T>& in, const Score& score, CudaTarget target) {
  const AttentionSizes& s = in.sizes;
  if (s.sentences * s.queries == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  const int64_t count = attention_decode_parts(s.positions, Score::kReading);
  const auto parts = DecodeParts<Real<T>>::in(in, count);
  const int64_t steps = std::min(int64_t{kDecodeLoads<T>}, attention_blocks(in.keys.width, kDecodeStep<T>));
  const size_t staged = (s.queries + Score::kStaged) * steps * kDecodeStep<T> * sizeof(Real<T>);
  attention_decode<T><<<dim3(static_cast<unsigned>(s.sentences), static_cast<unsigned>(count)), kDecodeThreads, staged,
                        static_cast<cudaStream_t>(target.stream)>>>(in, score, parts);
  if (const int error = cudaGetLastError()) return error;
  return merge_parts(in, parts, target);
}

}  // namespace s2sfast::cuda
