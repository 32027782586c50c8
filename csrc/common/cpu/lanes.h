#pragma once
// The vectors of simd.h under one name for float and double, so that a kernel is written once for both.
#include <type_traits>
#include <utility>

#include "common/cpu/simd.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

inline Doubles fma(Doubles a, Doubles b, Doubles c) { return a * b + c; }
inline Doubles max(Doubles a, Doubles b) { return a > b ? a : b; }
inline void store(double* p, Doubles x) { std::memcpy(p, &x, sizeof x); }

template <class R>
struct Lanes;

template <>
struct Lanes<float> {
  using V = Vec;
  static constexpr int count = kLanes;
  static V splat(float x) { return S2SFAST_ISA::splat(x); }
  template <class T>
  static V load(const T* p) {
    return S2SFAST_ISA::load(p);
  }
};

template <>
struct Lanes<double> {
  using V = Doubles;
  static constexpr int count = kDoubles;
  static V splat(double x) { return splat_double(x); }
  static V load(const double* p) { return load_doubles(p); }
};

#if defined(__AVX2__) && !defined(__AVX512F__)
inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

template <class R>
using V = typename Lanes<R>::V;
template <class R>
inline constexpr int kCount = Lanes<R>::count;

inline float to_real(float, float x) { return x; }
inline double to_real(double, double x) { return x; }
template <class T>
inline float to_real(float, T x) {
  return to_float(x);
}

// The first n < kCount<R> numbers at p; 0 in the other lanes.
template <class R, class T>
inline V<R> load_first(const T* p, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) return _mm256_maskload_ps(p, first_lanes(n));
#endif
  R lanes[kCount<R>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = to_real(R{}, p[i]);
  return Lanes<R>::load(lanes);
}

template <class R>
inline void store_first(R* p, V<R> x, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<R, float>) return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), x);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<R, float>) return _mm256_maskstore_ps(p, first_lanes(n), x);
#endif
  R lanes[kCount<R>];
  store(lanes, x);
  std::memcpy(p, lanes, n * sizeof(R));
}

// Calls each(index, lanes) for vectors of kCount<R> numbers; `lanes` is less for the last.
template <class R, class Each>
inline void each_lanes(int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kCount<R> <= n; i += kCount<R>) each(i, int64_t{kCount<R>});
  if (i < n) each(i, n - i);
}

template <class R, class T>
inline V<R> load_lanes(const T* p, int64_t lanes) {
  return lanes == kCount<R> ? Lanes<R>::load(p) : load_first<R>(p, lanes);
}
// `fill` in the other lanes.
template <class R>
inline V<R> load_filled(const R* p, int64_t lanes, R fill) {
  if (lanes == kCount<R>) return Lanes<R>::load(p);
  R filled[kCount<R>];
  for (int64_t i = 0; i < kCount<R>; ++i) filled[i] = i < lanes ? p[i] : fill;
  return Lanes<R>::load(filled);
}
template <class R>
inline void store_lanes(R* p, V<R> x, int64_t lanes) {
  if (lanes == kCount<R>)
    store(p, x);
  else
    store_first(p, x, lanes);
}

// They may be the same.
template <class R>
inline void copy_row(const R* from, R* to, int64_t n) {
  if (from != to) std::memcpy(to, from, n * sizeof(R));
}

// Calls each.operator()<n>(begin) for the numbers of [begin, end), kMost at a time and then the rest at once.
template <int kMost, class Each>
inline void in_blocks(int64_t begin, int64_t end, Each each) {
  for (; begin + kMost <= end; begin += kMost) each.template operator()<kMost>(begin);
  if constexpr (kMost > 1)
    if (begin < end) in_blocks<kMost - 1>(begin, end, each);
}

// Halves of a's groups of lanes, then of b's: the low ones or the high ones.
template <int kGroup, bool kHigh, class Vector, size_t... i>
inline Vector half_groups(Vector a, Vector b, std::index_sequence<i...>) {
  constexpr int kHalf = kGroup / 2;
  return __builtin_shufflevector(a, b, (static_cast<int>(i) / kHalf * kGroup + i % kHalf + (kHigh ? kHalf : 0))...);
}

// The sums of the lanes of kCount<R> vectors, in the lanes of one: the bits of sum_of(), at a third of the price.
template <class R, int kGroup = kCount<R>>
inline V<R> sums_of(V<R>* x) {
  if constexpr (kGroup == 1) {
    return x[0];
  } else {
    constexpr std::make_index_sequence<kCount<R>> lanes;
    for (int i = 0; i < kGroup / 2; ++i) {
      const V<R> a = x[2 * i], b = x[2 * i + 1];
      x[i] = half_groups<kGroup, false>(a, b, lanes) + half_groups<kGroup, true>(a, b, lanes);
    }
    return sums_of<R, kGroup / 2>(x);
  }
}

// A long sum of vectors: by blocks, so that its rounding errors do not grow with it.
template <class R>
class LongSum {
 public:
  void add(V<R> x) {
    block_ += x;
    if (++count_ == 32) join();
  }
  R total() {
    join();
    return sum_of(whole_);
  }

 private:
  void join() {
    whole_ += block_;
    block_ = Lanes<R>::splat(0);
    count_ = 0;
  }
  V<R> block_ = Lanes<R>::splat(0), whole_ = Lanes<R>::splat(0);
  int count_ = 0;
};

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
