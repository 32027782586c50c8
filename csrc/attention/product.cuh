#pragma once
// The three matrix products of attention, sentence by sentence: out(m, n) = sum_k a(m, k) b(k, n), with k in ascending
// order. A block makes 64 x 64 of them, a thread 4 x 4, from slices of both sides in shared memory. Internal to
// attention_cuda.cu.
#include "attention/mask.cuh"

namespace s2sfast::cuda {

inline constexpr int kProductThreads = 256, kProductTile = 64, kProductDepth = 16, kProductSide = 4;

// out[q, t] = scale x[q] . y[t]
template <class T>
struct DotsProduct {
  using R = Real<T>;
  static constexpr bool kPairs = false;        // a masked pair is one result, which is not looked at
  static constexpr bool kLeftByDepth = true;   // neighbours of a in memory are neighbours in k
  static constexpr bool kRightByDepth = true;  // the same of b
  AttentionDots<T> stage;

  constexpr int64_t rows() const { return stage.sizes.queries; }
  constexpr int64_t columns() const { return stage.sizes.positions; }
  __device__ int64_t depth(int64_t, int64_t first_column, int64_t length) const {
    return first_column < length ? stage.x.width : 0;
  }
  __device__ R left(int64_t b, int64_t q, int64_t d) const { return stage.x.row(b, q)[d]; }
  __device__ R right(int64_t b, int64_t d, int64_t t, int64_t) const { return real(stage.y.row(b, t)[d]); }
  __device__ bool joins(int64_t, int64_t, int64_t) const { return true; }
  __device__ void store(int64_t b, int64_t q, int64_t t, int64_t length, R sum) const {
    stage.out[(b * rows() + q) * columns() + t] =
        attends(stage.mask, b, q, t, length) ? static_cast<R>(stage.scale) * sum : stage.masked;
  }
};

// out[q] = sum_t weights[q, t] y[t]
template <class T, bool kPairs_>
struct SumProduct {
  using R = Real<T>;
  static constexpr bool kPairs = kPairs_, kLeftByDepth = true, kRightByDepth = false;
  AttentionSum<T> stage;

  constexpr int64_t rows() const { return stage.sizes.queries; }
  constexpr int64_t columns() const { return stage.out.width; }
  __device__ int64_t depth(int64_t, int64_t, int64_t length) const { return length; }
  __device__ R left(int64_t b, int64_t q, int64_t t) const {
    return stage.weights[(b * rows() + q) * stage.sizes.positions + t];
  }
  __device__ R right(int64_t b, int64_t t, int64_t e, int64_t) const {
    return kPairs || stage.mask.allows(b, 0, t) ? real(stage.y.row(b, t)[e]) : R(0);
  }
  __device__ bool joins(int64_t b, int64_t q, int64_t t) const { return stage.mask.allows(b, q, t); }
  __device__ void store(int64_t b, int64_t q, int64_t e, int64_t, R sum) const { stage.out.row(b, q)[e] = sum; }
};

// out[t] = sum_q weights[q, t] x[q]
template <class R_, bool kPairs_>
struct SpreadProduct {
  using R = R_;
  static constexpr bool kPairs = kPairs_, kLeftByDepth = false, kRightByDepth = false;
  AttentionSpread<R> stage;

  constexpr int64_t rows() const { return stage.sizes.positions; }
  constexpr int64_t columns() const { return stage.out.width; }
  __device__ int64_t depth(int64_t first_row, int64_t, int64_t length) const {
    return first_row < length ? stage.sizes.queries : 0;
  }
  __device__ R left(int64_t b, int64_t t, int64_t q) const {
    return stage.weights[(b * stage.sizes.queries + q) * rows() + t];
  }
  __device__ R right(int64_t b, int64_t q, int64_t e, int64_t) const { return stage.x.row(b, q)[e]; }
  __device__ bool joins(int64_t b, int64_t t, int64_t q) const { return stage.mask.allows(b, q, t); }
  __device__ void store(int64_t b, int64_t t, int64_t e, int64_t length, R sum) const {
    const bool any = t < length && (kPairs || stage.mask.allows(b, 0, t));
    R& out = stage.out.row(b, t)[e];
    if (stage.add)
      out += any ? sum : R(0);
    else
      out = any ? sum : R(0);
  }
};

// The i-th of the four numbers of a slice that a thread brings: where in the tile, and how deep.
template <bool kByDepth>
__device__ __forceinline__ void place_in_slice(int i, int& along, int& deep) {
  const int at = static_cast<int>(threadIdx.x) + i * kProductThreads;
  along = kByDepth ? at / kProductDepth : at % kProductTile;
  deep = kByDepth ? at % kProductDepth : at / kProductTile;
}

template <class Product>
__global__ void __launch_bounds__(kProductThreads, sizeof(typename Product::R) == 8 ? 1 : 2)
    attention_product(const Product product) {
  using R = typename Product::R;
  constexpr int kPitch = kProductTile + 4;  // rows of whole 16 bytes, shifted by four banks
  constexpr bool kPairs = Product::kPairs;
  __shared__ alignas(16) R left[kProductDepth][kPitch], right[kProductDepth][kPitch];
  __shared__ alignas(4) bool joined[kPairs ? kProductDepth : 1][kProductTile];

  const int64_t rows = product.rows(), columns = product.columns();
  const int64_t row_tiles = attention_blocks(rows, kProductTile),
                column_tiles = attention_blocks(columns, kProductTile);
  const int64_t tile = blockIdx.x, b = tile / (row_tiles * column_tiles);
  const int64_t first_row = tile / column_tiles % row_tiles * kProductTile;
  const int64_t first_column = tile % column_tiles * kProductTile;
  const int64_t length = length_of(product.stage.mask, b, product.stage.sizes.positions);
  const int64_t depth = product.depth(first_row, first_column, length);
  const int m = static_cast<int>(threadIdx.x) / 16 * kProductSide,
            n = static_cast<int>(threadIdx.x) % 16 * kProductSide;

  R sums[kProductSide][kProductSide] = {};
  for (int64_t first = 0; first < depth; first += kProductDepth) {
    R a[kProductSide], c[kProductSide];
    bool joins[kProductSide];
#pragma unroll
    for (int i = 0; i < kProductSide; ++i) {
      int along, deep;
      place_in_slice<Product::kLeftByDepth>(i, along, deep);
      const bool inside = first_row + along < rows && first + deep < depth;
      a[i] = inside ? product.left(b, first_row + along, first + deep) : R(0);
      joins[i] = kPairs && inside && product.joins(b, first_row + along, first + deep);
      place_in_slice<Product::kRightByDepth>(i, along, deep);
      const bool there = first_column + along < columns && first + deep < depth;
      c[i] = there ? product.right(b, first + deep, first_column + along, length) : R(0);
    }
    __syncthreads();  // the slice before is no longer read
#pragma unroll
    for (int i = 0; i < kProductSide; ++i) {
      int along, deep;
      place_in_slice<Product::kLeftByDepth>(i, along, deep);
      left[deep][along] = a[i];
      if constexpr (kPairs) joined[deep][along] = joins[i];
      place_in_slice<Product::kRightByDepth>(i, along, deep);
      right[deep][along] = c[i];
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kProductDepth; ++k) {
#pragma unroll
      for (int i = 0; i < kProductSide; ++i)
#pragma unroll
        for (int j = 0; j < kProductSide; ++j)
          if (!kPairs || joined[k][m + i]) sums[i][j] = fma(left[k][m + i], right[k][n + j], sums[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < kProductSide; ++i)
#pragma unroll
    for (int j = 0; j < kProductSide; ++j)
      if (first_row + m + i < rows && first_column + n + j < columns)
        product.store(b, first_row + m + i, first_column + n + j, length, sums[i][j]);
}

}  // namespace s2sfast::cuda
