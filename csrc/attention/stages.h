#pragma once
// The stages of attention.h, as common/stages.h runs them: of each its kernel, and its number of pieces.
#include "attention/attention.h"
#include "common/stages.h"

namespace s2sfast {

inline int64_t pair_blocks(const AttentionSizes& s) {
  return attention_blocks(s.queries, kAttentionQueries) * attention_blocks(s.positions, kAttentionPositions);
}

template <class T>
int64_t pieces_of(const AttentionDots<T>& a) {
  return pair_blocks(a.sizes);
}
template <class T>
void run_pieces(const AttentionDots<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_dots, a, b, i, j);
}
template <class T>
int launch_stage(const AttentionDots<T>& a, CudaTarget target) {
  return attention_dots_cuda(a, target);
}

template <class R>
int64_t pieces_of(const AttentionProducts<R>& a) {
  return a.sizes.queries;
}
template <class R>
void run_pieces(const AttentionProducts<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_products, a, b, i, j);
}

template <class R>
int64_t pieces_of(const AttentionSoftmax<R>& a) {
  return a.sizes.queries;
}
template <class R>
void run_pieces(const AttentionSoftmax<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_softmax, a, b, i, j);
}
template <class R>
int launch_stage(const AttentionSoftmax<R>& a, CudaTarget target) {
  return attention_softmax_cuda(a, target);
}

template <class R>
int64_t pieces_of(const AttentionSoftmaxBackward<R>& a) {
  return a.sizes.queries;
}
template <class R>
void run_pieces(const AttentionSoftmaxBackward<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_softmax_backward, a, b, i, j);
}
template <class R>
int launch_stage(const AttentionSoftmaxBackward<R>& a, CudaTarget target) {
  return attention_softmax_backward_cuda(a, target);
}

template <class T>
int64_t pieces_of(const AttentionSum<T>& a) {
  return attention_blocks(a.sizes.queries, kAttentionQueries) * attention_blocks(a.out.width, kAttentionColumns);
}
template <class T>
void run_pieces(const AttentionSum<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_sum, a, b, i, j);
}
template <class T>
int launch_stage(const AttentionSum<T>& a, CudaTarget target) {
  return attention_sum_cuda(a, target);
}

template <class R>
int64_t pieces_of(const AttentionSpread<R>& a) {
  return attention_blocks(a.sizes.positions, kAttentionPositions);
}
template <class R>
void run_pieces(const AttentionSpread<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_spread, a, b, i, j);
}
template <class R>
int launch_stage(const AttentionSpread<R>& a, CudaTarget target) {
  return attention_spread_cuda(a, target);
}

template <class R>
int64_t pieces_of(const AttentionKeep<R>& a) {
  return a.sizes.queries;
}
template <class R>
void run_pieces(const AttentionKeep<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_keep, a, b, i, j);
}
template <class R>
int launch_stage(const AttentionKeep<R>& a, CudaTarget target) {
  return attention_keep_cuda(a, target);
}

template <class R>
int64_t pieces_of(const AttentionJoin<R>& a) {
  return a.width;
}
template <class R>
void run_pieces(const AttentionJoin<R>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(attention_join, a, b, i, j);
}
template <class R>
int launch_stage(const AttentionJoin<R>& a, CudaTarget target) {
  return attention_join_cuda(a, target);
}

}  // namespace s2sfast
