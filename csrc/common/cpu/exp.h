#pragma once
// Vector exp, float32. Errors measured against long double over every float (tests/native/test_vector_math.cpp):
// at most 1.01 ulp where the result is normal, and the correctly rounded result or its neighbour where it is subnormal.
//
//   x = n ln 2 + r, |r| <= ln 2 / 2;   exp(x) = 2^n (1 + r + r^2 q(r))
//
// ln 2 is split in two, so that n ln2_high is exact (Cody & Waite 1980); q is the degree-4 minimax polynomial of
// (exp(r) - 1 - r) / r^2 under the weight of the relative error of exp (Remez; 3.1e-9).
#include "common/cpu/simd.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

constexpr float kExpUnderflow = -104.0f;  // exp is 0 in float32 at and below
constexpr float kExpOverflow = 89.0f;     // exp is infinite in float32 at and above

// 1 + r + r^2 q(r) of x = n ln 2 + r.
inline Vec exp_of_rest(Vec x, Vec n) {
  const Vec r = fma(n, splat(-0x1.7f7d1cp-20f), fma(n, splat(-0x1.62e4p-1f), x));
  Vec q = splat(1.38145986467e-3f);
  q = fma(q, r, splat(8.36871687973e-3f));
  q = fma(q, r, splat(4.16683880453e-2f));
  q = fma(q, r, splat(1.66665206317e-1f));
  q = fma(q, r, splat(4.99999934478e-1f));
  return fma(q, r * r, r) + splat(1.0f);
}

constexpr float kLog2E = 1.44269504088896341f;

// For every x: 0 at -inf, inf at +inf, NaN stays NaN.
inline Vec exp(Vec x) {
  const Vec round = splat(0x1.8p23f);  // adding it leaves the nearest integer
  x = min(splat(kExpOverflow), max(splat(kExpUnderflow), x));
  const Vec n = fma(x, splat(kLog2E), round) - round;
  return scale_by_power_of_two(exp_of_rest(x, n), n);
}

// For terms of a sum that is not tiny: below x = -86 the result is exp(-86), 4e-38, instead of less (at -inf too).
// Right for x up to 88, finite or not above; NaN stays NaN. The integer of n stands in the low bits of n + round, moved
// by 127 so that a shift makes it the exponent of 2^n.
inline Vec exp_for_sum(Vec x) {
  const Vec round = splat(0x1.8p23f + 127);
  x = max(splat(-86.0f), x);
  const Vec shifted = fma(x, splat(kLog2E), round), n = shifted - round;
  return scale_to_normal(exp_of_rest(x, n), n, shifted);
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
