#pragma once
// The k best for k up to 32: one key in each lane's registers. Internal to beam_topk_cuda.cu.
#include "beam_topk/select.cuh"

namespace s2sfast::cuda {

inline constexpr int kRegisterThreads = 256, kRegisterWarps = kRegisterThreads / kWarp;
inline constexpr int kRegisterMostK = kWarp;

struct RegisterShared {
  SelectShared select;
  uint32_t seeds[kRegisterWarps][kWarp];
  uint64_t keys[kRegisterWarps][kWarp];
  float bound;
};

// The 32 largest of all warps' sorted lists; the first warp calls.
template <class Key>
__device__ __forceinline__ Key merge_warps(Key (&lists)[kRegisterWarps][kWarp]) {
  Key best = lists[0][lane_id()];
  for (int i = 1; i < kRegisterWarps; ++i) best = merge_descending(best, lists[i][lane_id()]);
  return best;
}

template <class T>
__global__ void __launch_bounds__(kRegisterThreads, 1)
    beam_topk_select_registers(const BeamTopkInputs<T> in, const BeamTopkWorkspace work, const BeamTopkOutputs out,
                               CudaFault* faults) {
  __shared__ RegisterShared shared;
  Select<T> select(in, work, out, shared.select);
  if (!select.prepare(faults)) return;
  const Sentence<T>& sentence = select.sentence();
  const int k = static_cast<int>(in.sizes.k);

  // The k-th best of the threads' best maxima: no worse candidate can win.
  uint32_t seed = 0;
  sentence.each_maximum(0, sentence.beams(), select.seeds_by_group(), [&](uint32_t beam, float top, bool present) {
    if (present) seed = max(seed, select.seed(beam, top));
  });
  shared.seeds[warp_id()][lane_id()] = sort_descending(seed);
  __syncthreads();
  if (warp_id() == 0) {
    const uint32_t best = merge_warps(shared.seeds);
    if (lane_id() == k - 1) shared.bound = fmaxf(best ? from_ordered(best) : -FLT_MAX, select.least_score());
  }
  __syncthreads();

  const float least = shared.bound;
  WarpList list(k);
  const auto bound = [&](const BeamTopkRow& row) {
    const float bar = list.bar() ? fmaxf(score_of(list.bar()), least) : least;
    return sentence.bound(row, bar, select.floors().token);
  };
  sentence.each_column(0, sentence.beams(), bound,
                       [&](uint32_t beam, uint32_t column, double logit, double bias, bool present) {
                         list.offer(present ? select.key(beam, column, logit, bias, least) : 0);
                       });
  shared.keys[warp_id()][lane_id()] = list.key();
  __syncthreads();
  if (warp_id() != 0) return;
  const uint64_t best = merge_warps(shared.keys);
  if (lane_id() < k) select.write(lane_id(), best);
}

}  // namespace s2sfast::cuda
