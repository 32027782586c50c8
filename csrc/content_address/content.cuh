#pragma once
// From dot products to a content weighting and back. The whole block calls, for a head or a piece.
#include "attention/softmax.cuh"
#include "common/cuda/cosine.cuh"
#include "content_address/content_address.h"
#include "content_address/match.cuh"
#include "memory_read/read.cuh"

namespace s2sfast::cuda {

template <class R>
struct ContentShared {
  ColumnSums<R> columns;
  R norms[kSlotGroups];  // of keys
};

// The rule's numbers, and a key's.
template <class R>
struct KeyNorm {
  CosineEps mode;
  R eps, square, norm;

  __device__ __forceinline__ KeyNorm(const ContentHeads<R>& in, int64_t b, int64_t head, bool there = true)
      : mode(in.rule.mode), eps(static_cast<R>(in.rule.eps)), square(square_of(in.key, b, head, there)) {
    norm = norm_of(mode, eps, square);
  }
  __device__ __forceinline__ R denominator(R slot_norm) const {
    return fma(norm, slot_norm, mode == CosineEps::product ? eps : R(0));
  }
};

// slope(x) |x| of a slot, from its norm as the mode wants it.
template <class R>
__device__ __forceinline__ R slope_norm(const CosineRule& rule, R norm) {
  const R least = rule.mode == CosineEps::clamp ? static_cast<R>(rule.eps) : R(0);
  return rule.mode == CosineEps::sqrt || norm > least ? 1 / norm : R(0);
}

template <class R>
__device__ __forceinline__ void match_content(const ContentMatch<R>& stage, int64_t b, SlotRange range) {
  const CosineRule& rule = stage.in.rule;
  match_piece<true>(
      stage.memory, b, range, stage.in.key, stage.in.heads,
      [&](int64_t h, int64_t n, R dot) { stage.dots.row(b, h)[n] = dot; },
      [&](int64_t n, R square) { stage.norms.row(b, 0)[n] = norm_of(rule.mode, static_cast<R>(rule.eps), square); });
}

template <class R>
__device__ __forceinline__ void weigh_content(const ContentWeights<R>& stage, int64_t b, int64_t head,
                                              BlockJoin& block) {
  const int64_t N = stage.in.sizes.slots;
  const KeyNorm<R> key(stage.in, b, head);
  const R strength = *stage.in.strength.row(b, head);
  R *cosines = stage.cosines.row(b, head), *weights = stage.weights.row(b, head);
  R top = -INFINITY;  // of the cosines, turned round where strength is negative; +inf: no finite number can come out
  const R turn = strength < 0 ? R(-1) : R(1);
  each_of_rows<2, R>({cosines, stage.norms.row(b, 0)}, N, [&](int64_t n, const R(&x)[2]) {
    const R cosine = x[0] / key.denominator(x[1]);
    cosines[n] = cosine;
    top = fabs(strength * cosine) < INFINITY ? max_of(top, turn * cosine) : R(INFINITY);
  });
  top = block.largest(top);
  const bool bad = !(top < INFINITY);
  const R pivot = turn * top;  // taken off before the strength, which may be large, multiplies what rounding left
  R sum = 0;
  each_of_rows<1, R>({cosines}, N, [&](int64_t, const R(&x)[1]) { sum += exp_or_zero(strength * (x[0] - pivot)); });
  const R share = static_cast<R>(1 / block.sum(sum));
  each_of_rows<1, R>({cosines}, N, [&](int64_t n, const R(&x)[1]) {
    weights[n] = bad ? R(NAN) : without_subnormal(exp_or_zero(strength * (x[0] - pivot)) * share);
  });
}

template <class R>
__device__ __forceinline__ void weigh_content_backward(const ContentBackward<R>& stage, int64_t b, int64_t head,
                                                       BlockJoin& block) {
  const int64_t N = stage.in.sizes.slots;
  const KeyNorm<R> key(stage.in, b, head);
  const R strength = *stage.in.strength.row(b, head);
  const R *weights = stage.weights.row(b, head), *gradient = stage.gradient.row(b, head);
  R* a = stage.a.row(b, head);
  double all = 0, sum = 0;  // a weight may be nearly all: then what is taken from its gradient must be exact
  each_of_rows<2, R>({weights, gradient}, N, [&](int64_t, const R(&x)[2]) {
    all += x[0];
    if (x[0] != 0) sum = fma(static_cast<double>(x[0]), static_cast<double>(x[1]), sum);
  });
  const BlockJoin::Pair joined = block.sums(sum, all);
  const double mean = joined.first / joined.second;
  R by_strength = 0, pull = 0;
  each_of_rows<4, R>(
      {weights, gradient, stage.cosines.row(b, head), stage.norms.row(b, 0)}, N, [&](int64_t n, const R(&x)[4]) {
        const R score = x[0] == 0 ? R(0) : without_subnormal(x[0] * static_cast<R>(x[1] - mean)), cosine = x[2];
        by_strength = fma(score, cosine, by_strength);
        const R found = score * strength / key.denominator(x[3]);
        pull = fma(found * x[3], cosine, pull);
        a[n] = found;
      });
  const BlockJoin::Pair sums = block.sums(by_strength, pull);
  if (threadIdx.x != 0) return;
  *stage.strength.row(b, head) = static_cast<R>(sums.first);
  *stage.key_pull.row(b, head) = static_cast<R>(sums.second) * key.norm * slope_of(key.mode, key.eps, key.square);
}

// What weightings by content, and reads, add to the gradient of the memory that they look at.
template <class R>
struct Spread {
  const ContentHeads<R>& in;
  const Rows<const R>&memory, &norms, &cosines, &a;
  int64_t readers;
  const Rows<const R>&weights, &gradient;  // of the reads
  const Rows<R>&dmemory, &key_parts;
};

// dmemory.row(n) = base.row(n), or 0 where there is none, + sum_r weights[r][n] gradient[r] + sum_h a[h][n] key[h]
//                  - pull[n] memory[n]
// and the piece's part of the keys' gradients.
template <class R>
__device__ __forceinline__ void spread_piece(const Spread<R>& of, const Rows<const R>& base, int64_t b, int64_t piece,
                                             ContentShared<R>& shared) {
  const int64_t heads = of.in.heads, width = of.dmemory.width;
  const SlotRange range = slots_of(of.in.sizes, piece);
  R pull[kSlotsEach] = {};
  for (int64_t head = 0; head < heads; head += kSlotGroups) {
    const int64_t own = head + slot_group();
    const KeyNorm<R> key(of.in, b, min(own, heads - 1), own < heads);
    if (slot_lane() == 0) shared.norms[slot_group()] = key.norm;
    __syncthreads();
    for (int64_t h = head; h < min(head + kSlotGroups, heads); ++h) {
      const OfSlots<R> a(of.a.row(b, h), range), cosine(of.cosines.row(b, h), range);
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i) pull[i] = fma(-shared.norms[h - head], a[i] * cosine[i], pull[i]);
    }
    __syncthreads();  // the next norms may come
  }
  if (heads > 0) {
    const OfSlots<R> norms(of.norms.row(b, 0), range);
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i) pull[i] *= slope_norm(of.in.rule, norms[i]);
  }
  const bool wide = has_wide_rows(of.memory), wide_base = has_wide_rows(base), wide_keys = has_wide_rows(of.in.key);
  for (int64_t first = 0; first < width; first += kSlotColumns<R>) {
    SlotPart<R> d = {};
    if (base.data) load_slots(wide_base, base, b, range, first, d);
    add_multiples(of.weights, of.gradient, of.readers, b, range, first, d);
    if (heads > 0) {
      SlotPart<R> x;
      load_slots(wide, of.memory, b, range, first, x);
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
        for (int v = 0; v < kVectors; ++v)
#pragma unroll
          for (int j = 0; j < kWide<R>; ++j) d[i][v][j] = fma(pull[i], x[i][v][j], d[i][v][j]);
      for (int64_t head = 0; head < heads; head += kSumRows) {
        const int count = static_cast<int>(min(heads - head, int64_t{kSumRows}));
        RowPart<R> sums[kSumRows] = {};
#pragma unroll
        for (int h = 0; h < kSumRows; ++h) {
          if (h >= count) break;
          RowPart<R> y;
          load_row(wide_keys, of.in.key.row(b, head + h), width, first, y);
          const OfSlots<R> a(of.a.row(b, head + h), range);
          add_multiple(a, y, d);
#pragma unroll
          for (int i = 0; i < kSlotsEach; ++i)
#pragma unroll
            for (int v = 0; v < kVectors; ++v)
#pragma unroll
              for (int j = 0; j < kWide<R>; ++j) sums[h][v][j] = fma(a[i], x[i][v][j], sums[h][v][j]);
        }
        leave_columns(shared.columns, sums, count, first, width,
                      [&](int h) { return of.key_parts.row(b, piece * heads + head + h); });
      }
    }
    store_slots(of.dmemory, b, range, first, d);
  }
}

// A number of a key's gradient: what its pieces have summed up, less what the norm pulls.
template <class R>
__device__ __forceinline__ R join_key(const ContentHeads<R>& in, const Rows<const R>& parts, const Rows<const R>& pulls,
                                      int64_t b, int64_t head, int64_t m) {
  const R sum = join_parts(parts, b, slot_pieces(in.sizes), in.heads, head, m);
  return fma(-*pulls.row(b, head), in.key.row(b, head)[m], sum);
}

}  // namespace s2sfast::cuda
