#pragma once
// Runs an op as a row of stages: on the CPU piece by piece over torch's threads, on the device launch by launch.
#include <functional>
#include <initializer_list>

#include "attention/attention.h"
#include "common/cuda_calls.h"
#include "common/torch.h"

namespace s2sfast {

struct Stage {
  int64_t pieces;  // of a sentence
  std::function<void(int64_t sentence, int64_t begin, int64_t end)> run;
  std::function<int(CudaTarget)> launch;

  // Of a stage's arguments: `pieces_of`, `run_pieces` and `launch_stage` are found by their type.
  template <class Arguments>
  explicit Stage(const Arguments& a)
      : pieces(pieces_of(a)), run([a](int64_t b, int64_t i, int64_t j) { run_pieces(a, b, i, j); }) {
    if constexpr (kBuiltWithCuda && requires { launch_stage(a, CudaTarget{}); })
      launch = [a](CudaTarget target) { return launch_stage(a, target); };
  }
};

// Work that one thread does sooner than it could share it, in additions and multiplications.
inline constexpr double kSerialWork = 500e3;

// Every stage of a sentence after the one before it. A thread takes whole sentences where there are enough, so that
// what a stage wrote is still in the cache; else the threads share the pieces of every stage. The results are the same.
inline void run_stages(int64_t sentences, double work, std::initializer_list<Stage> stages) {
  const int64_t threads = torch::stable::get_num_threads();
  const auto whole = [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (const Stage& stage : stages) stage.run(b, 0, stage.pieces);
  };
  if (threads == 1 || work < kSerialWork) return whole(0, sentences);
  if (sentences % threads == 0 || sentences >= 4 * threads) return torch::stable::parallel_for(0, sentences, 1, whole);
  for (const Stage& stage : stages)
    torch::stable::parallel_for(0, sentences * stage.pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin / std::max<int64_t>(stage.pieces, 1); b * stage.pieces < end; ++b) {
        const int64_t first = b * stage.pieces;
        stage.run(b, std::max(begin, first) - first, std::min(end, first + stage.pieces) - first);
      }
    });
}

// Every stage for all sentences, launch by launch.
inline void launch_stages(const char* op, const Tensor& like, std::initializer_list<Stage> stages) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    for (const Stage& stage : stages) check_launch(op, stage.launch(call.target()));
  }
}

// --- the kernel of each stage, and its number of pieces -----------------------------------------------

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
