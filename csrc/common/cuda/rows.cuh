#pragma once
// Several loads of 16 bytes at once from rows that may start anywhere.
#include "common/cuda/numbers.cuh"
#include "common/rows.h"

namespace s2sfast::cuda {

// Where a load of kWide numbers begins, and how many of them there are; none at all where it is not positive.
template <class T>
struct Spot {
  const T* data;
  int64_t count;
};

// kLoads loads in flight; what is not there is 0. `wide`: every spot is aligned, and there in whole or not at all.
// Which numbers a load brings does not depend on it. at(i) gives the i-th spot.
template <class T, int kLoads, class At>
__device__ __forceinline__ void load_burst(bool wide, At at, Real<T> (&x)[kLoads][kWide<T>]) {
  if (wide) {
    uint4 raw[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const Spot<T> spot = at(i);
      raw[i] = spot.count > 0 ? load_16(spot.data) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) unpack(raw[i], static_cast<const T*>(nullptr), x[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const Spot<T> spot = at(i);
#pragma unroll
      for (int j = 0; j < kWide<T>; ++j) x[i][j] = j < spot.count ? real(spot.data[j]) : Real<T>(0);
    }
  }
}

// The rows' loads of 16 bytes are aligned, and a row holds a whole number of them.
template <class T>
__device__ __forceinline__ bool has_wide_rows(const Rows<const T>& rows) {
  return is_aligned_16(rows.data) && rows.width % kWide<T> == 0 && rows.row_stride % kWide<T> == 0 &&
         rows.sentence_stride % kWide<T> == 0;
}

}  // namespace s2sfast::cuda
