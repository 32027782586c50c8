#pragma once
// From a sentence's rows to its k best: what both ways of selecting begin and end with. Internal to beam_topk_cuda.cu.
#include "beam_topk/sentence.cuh"
#include "common/cuda/fault.cuh"

namespace s2sfast::cuda {

struct SelectShared {
  unsigned long long fault;  // the lowest beam's, beam * 4 + what
  uint32_t score, token;     // the best of all candidates, ordered
};
inline constexpr unsigned long long kNoFault = ~0ull;

// One block's work on one sentence.
template <class T>
class Select {
 public:
  __device__ __forceinline__ Select(const BeamTopkInputs<T>& in, const BeamTopkWorkspace& work,
                                    const BeamTopkOutputs& out, SelectShared& shared)
      : in_(in), out_(out), shared_(shared), sentence_(in, work, blockIdx.x), limited_(work.limits) {}

  // Joins the rows and works out what the rules let pass. false: a fault was found, and the outputs are empty.
  __device__ __forceinline__ bool prepare(CudaFault* faults);

  __device__ __forceinline__ const BeamTopkFloors& floors() const { return floors_; }
  __device__ __forceinline__ const Sentence<T>& sentence() const { return sentence_; }

  __device__ __forceinline__ bool seeds_by_group() const {
    return sentence_.needs_groups(sentence_.beams(), in_.sizes.k);
  }

  // The score of the candidate that stands behind a maximum, ordered; 0 where the rules may drop it.
  __device__ __forceinline__ uint32_t seed(uint32_t beam, float top) const {
    if (!(top > -kInf && top < kInf)) return 0;  // an infinite sum was beyond float32: no lower bound of anything
    const auto least = sentence_.least_value(sentence_.row(beam), top);
    if (!(least.score > -kInf && least.token >= floors_.token)) return 0;
    if (limited_ && !(least.score > score_of(sentence_.limit(beam)))) return 0;
    return ordered(least.score + 0.0f);
  }

  // The key of a column, 0 where a rule drops it or its score is below `least`.
  __device__ __forceinline__ uint64_t key(uint32_t beam, uint32_t column, double logit, double bias,
                                          float least) const {
    const auto v = sentence_.value(sentence_.row(beam), logit, bias);
    if (!(v.score >= least && v.score > -kInf && v.token >= floors_.token)) return 0;
    const uint64_t key = key_of(v.score, beam * sentence_.vocab() + column);
    return limited_ && key < sentence_.limit(beam) ? 0 : key;
  }

  // What the score rules alone let pass.
  __device__ __forceinline__ float least_score() const { return fmaxf(round_up(floors_.score), -FLT_MAX); }

  __device__ __forceinline__ void write(int64_t slot, uint64_t key) const {
    const int64_t at = blockIdx.x * in_.sizes.k + slot;
    const uint32_t place = key ? place_of(key) : 0, beam = key ? place / sentence_.vocab() : 0;
    const uint32_t column = key ? place % sentence_.vocab() : 0;
    out_.scores[at] = key ? score_of(key) : -kInf;
    out_.parents[at] = beam;
    out_.tokens[at] = key && in_.token_ids.data ? in_.token_ids.row(blockIdx.x, beam)[column] : column;
  }

 private:
  __device__ __forceinline__ void join_rows();
  __device__ __forceinline__ void find_best();
  __device__ __forceinline__ void find_best_biased();
  __device__ __forceinline__ void raise_best(float score, float token) {
    if (lane_id() == 0) {
      atomicMax(&shared_.score, ordered(score));
      atomicMax(&shared_.token, ordered(token));
    }
  }

  const BeamTopkInputs<T>& in_;
  const BeamTopkOutputs& out_;
  SelectShared& shared_;
  const Sentence<T> sentence_;
  const bool limited_;
  BeamTopkFloors floors_;
};

template <class T>
__device__ __forceinline__ bool Select<T>::prepare(CudaFault* faults) {
  if (threadIdx.x == 0) shared_ = {kNoFault, ordered(-kInf), ordered(-kInf)};
  __syncthreads();
  join_rows();
  __syncthreads();
  const unsigned long long fault = shared_.fault;
  if (fault != kNoFault) {
    for (int64_t i = threadIdx.x; i < in_.sizes.k; i += blockDim.x) write(i, 0);
    if (threadIdx.x == 0 && faults)
      report(faults, static_cast<int>(fault % 4), blockIdx.x, static_cast<int64_t>(fault / 4));
    return false;
  }
  find_best();
  return true;
}

template <class T>
__device__ __forceinline__ void Select<T>::join_rows() {
  for (uint32_t p = warp_id(); p < sentence_.beams(); p += blockDim.x / kWarp) {
    // Where beams are limited, another kernel has joined their rows to find the limits.
    const BeamTopkRow row = limited_ ? sentence_.row(p) : sentence_.join_tiles(p);
    if (lane_id() != 0) continue;
    if (!limited_) sentence_.row(p) = row;
    if (row.fault != BeamTopkFault::none) atomicMin(&shared_.fault, 4ull * p + row.fault);
  }
}

template <class T>
__device__ __forceinline__ void Select<T>::find_best() {
  const BeamTopkPruning& rule = in_.pruning;
  // A rule that is off reaches down to -inf; added to a score of +inf it would be NaN.
  const double reach = fmax(rule.log_relative, -rule.absolute);
  if (!(reach > -INFINITY || rule.log_relative_local > -INFINITY)) return;
  if (in_.bias.data) {
    find_best_biased();
  } else {
    for (uint32_t p = threadIdx.x; p < sentence_.beams(); p += blockDim.x) {
      const BeamTopkRow& row = sentence_.row(p);
      if (row.score == -INFINITY) continue;
      const auto best = sentence_.value(row, row.max, 0);
      atomicMax(&shared_.score, ordered(best.score));
      atomicMax(&shared_.token, ordered(best.token));
    }
  }
  __syncthreads();
  if (reach > -INFINITY) floors_.score = from_ordered(shared_.score) + reach;
  if (rule.log_relative_local > -INFINITY) floors_.token = from_ordered(shared_.token) + rule.log_relative_local;
}

// The best sums of logit and bias, exactly: the tiles' rounded maxima tell where to look.
template <class T>
__device__ __forceinline__ void Select<T>::find_best_biased() {
  float score = -kInf, token = -kInf;
  sentence_.each_maximum(0, sentence_.beams(), false, [&](uint32_t beam, float top, bool present) {
    if (!present || !(top > -kInf && top < kInf)) return;
    const auto least = sentence_.least_value(sentence_.row(beam), top);
    score = fmaxf(score, least.score), token = fmaxf(token, least.token);
  });
  raise_best(warp_max(score), warp_max(token));
  __syncthreads();
  const float least_score = from_ordered(shared_.score), least_token = from_ordered(shared_.token);
  __syncthreads();
  const auto bound = [&](const BeamTopkRow& row) {
    return fminf(sentence_.bound(row, least_score, -INFINITY), sentence_.bound(row, -FLT_MAX, least_token));
  };
  sentence_.each_column(0, sentence_.beams(), bound,
                        [&](uint32_t beam, uint32_t, double logit, double bias, bool present) {
                          if (!present) return;
                          const auto v = sentence_.value(sentence_.row(beam), logit, bias);
                          score = fmaxf(score, v.score), token = fmaxf(token, v.token);
                        });
  raise_best(warp_max(score), warp_max(token));
}

}  // namespace s2sfast::cuda
