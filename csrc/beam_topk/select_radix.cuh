#pragma once
// The k best for k beyond 32, and the limits of max_per_beam for any: by radix selection, which stores only the
// winners. Internal to beam_topk_cuda.cu.
#include "beam_topk/select.cuh"
#include "common/cuda/radix.cuh"

namespace s2sfast::cuda {

inline constexpr int kRadixThreads = 512, kLimitThreads = 128;
inline constexpr uint32_t kCollected = 2 * kBeamTopkCudaMostK;

struct RadixShared {
  SelectShared select;
  RadixSelect::Shared radix;
  uint32_t found;
  uint64_t keys[kCollected];
};

// Collects the keys that each() shows and that are at least `lowest`; false where they are more than there is room for.
// The whole block calls.
template <class Each>
__device__ __forceinline__ bool collect(RadixShared& shared, uint64_t lowest, Each each) {
  for (uint32_t i = threadIdx.x; i < kCollected; i += blockDim.x) shared.keys[i] = 0;
  if (threadIdx.x == 0) shared.found = 0;
  __syncthreads();
  each([&](uint64_t key, bool present) {
    if (!present || key < lowest) return;
    const uint32_t slot = atomicAdd(&shared.found, 1u);
    if (slot < kCollected) shared.keys[slot] = key;
  });
  __syncthreads();
  return shared.found <= kCollected;
}

// The score that `key`, an ordered score in the upper half, stands for.
__device__ __forceinline__ float bound_of(uint64_t key) { return key ? score_of(key) : -FLT_MAX; }

template <class T>
__global__ void __launch_bounds__(kRadixThreads, 2)
    beam_topk_select_radix(const BeamTopkInputs<T> in, const BeamTopkWorkspace work, const BeamTopkOutputs out,
                           CudaFault* faults) {
  __shared__ RadixShared shared;
  Select<T> select(in, work, out, shared.select);
  if (!select.prepare(faults)) return;
  const Sentence<T>& sentence = select.sentence();
  const uint32_t k = static_cast<uint32_t>(in.sizes.k), beams = sentence.beams();
  RadixSelect radix(shared.radix);

  const uint64_t kth_seed = radix.kth_largest(k, 4, [&](auto take) {
    sentence.each_maximum(0, beams, select.seeds_by_group(), [&](uint32_t beam, float top, bool present) {
      const uint64_t seed = present ? select.seed(beam, top) : 0;
      take(seed << 32, seed != 0);
    });
  });
  const float least = fmaxf(bound_of(kth_seed), select.least_score());
  const auto bound = [&](const BeamTopkRow& row) { return sentence.bound(row, least, select.floors().token); };
  const auto each_key = [&](auto take) {
    sentence.each_column(0, beams, bound, [&](uint32_t beam, uint32_t column, double logit, double bias, bool present) {
      const uint64_t key = present ? select.key(beam, column, logit, bias, least) : 0;
      take(key, key != 0);
    });
  };
  // What reaches the bound is k and a few more, as a rule. Where it is not, as of many ties, the k-th key is found
  // first.
  if (!collect(shared, 0, each_key)) collect(shared, radix.kth_largest(k, 8, each_key), each_key);
  sort_descending<kCollected>(shared.keys);
  for (uint32_t i = threadIdx.x; i < k; i += blockDim.x) select.write(i, shared.keys[i]);
}

// Joins a row, and finds its max_per_beam-th best candidate: better ones pass the rule.
template <class T>
__global__ void __launch_bounds__(kLimitThreads, 8)
    beam_topk_limit(const BeamTopkInputs<T> in, const BeamTopkWorkspace work) {
  __shared__ RadixSelect::Shared shared;
  const uint32_t beams = static_cast<uint32_t>(in.sizes.beams), beam = blockIdx.x % beams;
  const Sentence<T> sentence(in, work, blockIdx.x / beams);
  if (warp_id() == 0) {
    const BeamTopkRow row = sentence.join_tiles(beam);
    if (lane_id() == 0) sentence.row(beam) = row;
  }
  __syncthreads();
  const BeamTopkRow row = sentence.row(beam);
  const uint32_t most = static_cast<uint32_t>(in.pruning.max_per_beam);  // below V, or the kernel is not launched
  RadixSelect radix(shared);

  const uint64_t seed = radix.kth_largest(most, 4, [&](auto take) {
    sentence.each_maximum(beam, beam + 1, sentence.needs_groups(1, most), [&](uint32_t, float top, bool present) {
      const float least = present ? sentence.least_value(row, top).score + 0.0f : -kInf;
      take(static_cast<uint64_t>(ordered(least)) << 32, top < kInf && least > -kInf);
    });
  });
  const float least = bound_of(seed);
  const uint64_t limit = radix.kth_largest(most, 8, [&](auto take) {
    const auto bound = [&](const BeamTopkRow& row) { return sentence.bound(row, least, -INFINITY); };
    const auto visit = [&](uint32_t, uint32_t column, double logit, double bias, bool present) {
      const float score = sentence.value(row, logit, bias).score;
      take(key_of(score, beam * sentence.vocab() + column), present && score > -kInf);
    };
    sentence.each_column(beam, beam + 1, bound, visit);
  });
  // The low bits that the limit leaves open must not let columns in that were not looked at.
  if (threadIdx.x == 0) sentence.limit(beam) = max(limit, static_cast<uint64_t>(ordered(least)) << 32);
}

}  // namespace s2sfast::cuda
