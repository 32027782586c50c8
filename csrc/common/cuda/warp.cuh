#pragma once
// What the 32 lanes of a warp do together. All lanes must call, in step: every mask is the whole warp.
#include <cstdint>

namespace s2sfast::cuda {

inline constexpr int kWarp = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }

// Joins the lanes' values by halves; every lane gets the result. The order is fixed: the same bits at every call.
template <class T, class Join>
__device__ __forceinline__ T warp_join(T x, Join join) {
#pragma unroll
  for (int distance = kWarp / 2; distance; distance /= 2) x = join(x, __shfl_xor_sync(kAllLanes, x, distance));
  return x;
}
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  return warp_join(x, [](T a, T b) { return a + b; });
}
template <class T>
__device__ __forceinline__ T warp_max(T x) {
  return warp_join(x, [](T a, T b) { return a > b ? a : b; });
}

// One step of a bitonic network: of the two lanes that `distance` parts, the one with `keep_larger` gets the larger.
template <class T>
__device__ __forceinline__ T exchange(T x, int distance, bool keep_larger) {
  const T other = __shfl_xor_sync(kAllLanes, x, distance);
  return (other > x) == keep_larger ? other : x;
}

// Sorts a bitonic sequence, largest in lane 0.
template <class T>
__device__ __forceinline__ T sort_bitonic(T x) {
#pragma unroll
  for (int distance = kWarp / 2; distance; distance /= 2) x = exchange(x, distance, (lane_id() & distance) == 0);
  return x;
}

// Sorts any sequence, largest in lane 0 (Batcher 1968).
template <class T>
__device__ __forceinline__ T sort_descending(T x) {
#pragma unroll
  for (int run = 2; run <= kWarp; run *= 2)
#pragma unroll
    for (int distance = run / 2; distance; distance /= 2)
      x = exchange(x, distance, ((lane_id() & distance) == 0) == ((lane_id() & run) == 0));
  return x;
}

// The 32 largest of two sequences sorted in descending order, sorted again; `b` may differ from lane to lane only as a
// sequence does: lane i holds its i-th.
template <class T>
__device__ __forceinline__ T merge_descending(T a, T b) {
  b = __shfl_xor_sync(kAllLanes, b, kWarp - 1);  // reversed: a and b together are bitonic
  return sort_bitonic(b > a ? b : a);
}

// The k <= 32 largest of all keys that a warp has offered, sorted, one in each lane; 0 is no key.
class WarpList {
 public:
  __device__ __forceinline__ explicit WarpList(int k) : k_(k) {}

  __device__ __forceinline__ uint64_t key() const { return key_; }
  // A key enters only if it is larger; 0 until k are held.
  __device__ __forceinline__ uint64_t bar() const { return bar_; }

  // Each lane offers one key, 0 for none.
  __device__ __forceinline__ void offer(uint64_t candidate) {
    for (uint32_t waiting = __ballot_sync(kAllLanes, candidate > bar_); waiting; waiting &= waiting - 1) {
      const uint64_t next = __shfl_sync(kAllLanes, candidate, __ffs(waiting) - 1);
      if (next <= bar_) continue;  // the bar has risen since
      const int place = __popc(__ballot_sync(kAllLanes, key_ > next));
      const uint64_t above = __shfl_up_sync(kAllLanes, key_, 1);
      if (lane_id() >= place) key_ = lane_id() == place ? next : above;
      bar_ = __shfl_sync(kAllLanes, key_, k_ - 1);
    }
  }

 private:
  int k_;
  uint64_t key_ = 0, bar_ = 0;
};

}  // namespace s2sfast::cuda
