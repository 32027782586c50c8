#pragma once
// Vector log, float32, of normal positive numbers. Errors measured against double over every float, and in
// tests/native/test_vector_math.cpp against long double: at most 0.92 ulp (0.91 with fma), also near 1.
//
//   x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2);   log(x) = k ln 2 + f - f^2 / 2 + f^3 p(f)
//
// p of degree 7, fitted for the relative error of the whole (5.8e-9, least squares with Lawson's weights). ln 2 is
// split in two, so that k ln2_high is exact (Cody & Waite 1980).
#include <cmath>

#include "common/cpu/lanes.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

using Words = int32_t __attribute__((vector_size(sizeof(Vec))));
using Bits = uint32_t __attribute__((vector_size(sizeof(Vec))));  // they may wrap: a NaN's sign is often set

// NaN stays NaN; other numbers that are not normal and positive give anything.
inline Vec log(Vec x) {
  constexpr uint32_t kRootOfHalf = 0x3f3504f3;
  const Bits bits = reinterpret_cast<Bits>(x);
  const Words power = reinterpret_cast<Words>(bits - kRootOfHalf) >> 23;
  const Vec k = __builtin_convertvector(power, Vec);
  const Vec f = reinterpret_cast<Vec>(bits - (reinterpret_cast<Bits>(power) << 23)) - splat(1.0f);
  Vec p = splat(-0x1.38b4aep-4f);
  p = fma(p, f, splat(0x1.055d4cp-3f));
  p = fma(p, f, splat(-0x1.0d8648p-3f));
  p = fma(p, f, splat(0x1.22d9eep-3f));
  p = fma(p, f, splat(-0x1.547226p-3f));
  p = fma(p, f, splat(0x1.99a00ap-3f));
  p = fma(p, f, splat(-0x1.000228p-2f));
  p = fma(p, f, splat(0x1.555554p-2f));
  const Vec square = f * f, low = fma(k, splat(0x1.7f7d1cp-20f), fma(f * square, p, square * splat(-0.5f)));
  const Vec result = fma(k, splat(0x1.62e4p-1f), f + low);
  return x == x ? result : x;
}

inline Doubles log(Doubles x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = std::log(x[i]);
  return x;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
