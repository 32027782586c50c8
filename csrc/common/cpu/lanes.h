#pragma once
// The vectors of simd.h under one name for float and double, so that a kernel is written once for both.
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
  R lanes[kCount<R>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = to_real(R{}, p[i]);
  return Lanes<R>::load(lanes);
}

template <class R>
inline void store_first(R* p, V<R> x, int64_t n) {
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
template <class R>
inline void store_lanes(R* p, V<R> x, int64_t lanes) {
  if (lanes == kCount<R>)
    store(p, x);
  else
    store_first(p, x, lanes);
}

// Calls each.operator()<n>(begin) for the numbers of [begin, end), kMost at a time and then the rest at once.
template <int kMost, class Each>
inline void in_blocks(int64_t begin, int64_t end, Each each) {
  for (; begin + kMost <= end; begin += kMost) each.template operator()<kMost>(begin);
  if constexpr (kMost > 1)
    if (begin < end) in_blocks<kMost - 1>(begin, end, each);
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
