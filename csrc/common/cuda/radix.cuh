#pragma once
// The k-th largest of keys that can be looked at again and again, by eight bits a look: no key is stored, so that
// neither their number nor their ties matter.
#include <cstdint>

#include "common/cuda/warp.cuh"

namespace s2sfast::cuda {

class RadixSelect {
 public:
  struct Shared {
    uint32_t counts[256];
    uint32_t bin, rank, size;
  };

  __device__ __forceinline__ explicit RadixSelect(Shared& shared) : shared_(shared) {}

  // The k-th largest key, with zeros for the low bits that it did not take to tell it from the next; 0 where there are
  // fewer than k keys. The whole block calls. each(take) must call take(key, present) for every key, in all lanes of a
  // warp together; looks at the highest `digits` bytes of the keys and takes them for all there is.
  template <class Each>
  __device__ __forceinline__ uint64_t kth_largest(uint32_t k, int digits, Each each) {
    uint64_t known = 0;
    for (int digit = 0; digit < digits; ++digit) {
      const int shift = 56 - 8 * digit;
      for (int i = threadIdx.x; i < 256; i += blockDim.x) shared_.counts[i] = 0;
      __syncthreads();
      each([&](uint64_t key, bool present) {
        count(static_cast<uint32_t>(key >> shift) & 255u, present && (digit == 0 || key >> (shift + 8) == known));
      });
      __syncthreads();
      if (warp_id() == 0) find_bin(k);
      __syncthreads();
      if (shared_.size == 0) return 0;
      known = known << 8 | shared_.bin;
      k = shared_.rank;
      if (shared_.size == k || digit == digits - 1) return known << shift;  // all of the bin are among the k
    }
    return 0;
  }

 private:
  // Lanes with the same digit add once: the first digits of scores are nearly always equal.
  __device__ __forceinline__ void count(uint32_t digit, bool present) {
    const uint32_t equal = __match_any_sync(kAllLanes, present ? digit : 256u);
    if (present && __ffs(equal) - 1 == lane_id())
      atomicAdd(&shared_.counts[digit], static_cast<uint32_t>(__popc(equal)));
  }

  // The bin that holds the k-th largest, how many keys it has (0: there are fewer than k), and the k-th's rank in it.
  __device__ __forceinline__ void find_bin(uint32_t k) {
    constexpr int kBins = 256 / kWarp;
    const int highest = 255 - kBins * lane_id();
    uint32_t own = 0;
#pragma unroll
    for (int i = 0; i < kBins; ++i) own += shared_.counts[highest - i];
    uint32_t above = own;  // keys in the bins of this lane and of the lanes before it
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const uint32_t before = __shfl_up_sync(kAllLanes, above, distance);
      if (lane_id() >= distance) above += before;
    }
    if (lane_id() == kWarp - 1 && above < k) shared_.size = 0;
    above -= own;
    if (above >= k || above + own < k) return;
    for (int bin = highest;; --bin) {
      const uint32_t size = shared_.counts[bin];
      if (above + size >= k) {
        shared_.bin = bin, shared_.rank = k - above, shared_.size = size;
        return;
      }
      above += size;
    }
  }

  Shared& shared_;
};

// Sorts 2^n keys in shared memory, largest first (Batcher 1968). The whole block calls, after a barrier.
template <int kKeys>
__device__ __forceinline__ void sort_descending(uint64_t* keys) {
  for (int run = 2; run <= kKeys; run *= 2)
    for (int distance = run / 2; distance; distance /= 2) {
      for (int i = threadIdx.x; i < kKeys / 2; i += blockDim.x) {
        const int low = 2 * i - (i & (distance - 1)), high = low + distance;
        const uint64_t a = keys[low], b = keys[high];
        if ((a < b) == ((low & run) == 0)) keys[low] = b, keys[high] = a;
      }
      __syncthreads();
    }
}

}  // namespace s2sfast::cuda
