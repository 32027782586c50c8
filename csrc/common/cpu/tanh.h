#pragma once
// Vector tanh, float32. Errors measured against long double (tests/native/test_vector_math.cpp): at most 6.1 ulp of the
// exact number (5.7 with fma), of which there are 2^24 to 1; never beyond 1.
//
//   tanh(x) = x P(x^2) / Q(x^2),   |x| <= 8.6
//
// P and Q of degree 4, Q(0) = 1, fitted for the relative error (1.4e-8, least squares with Lawson's weights), then
// their float32 coefficients moved by single places for the smallest error of the evaluation as it stands below. All
// are positive, so that no sum cancels. Beyond 8.6 tanh is within an ulp of 1.
#include <cmath>

#include "common/cpu/lanes.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// a / b for normal b, to the last bit or its neighbour.
inline Vec quotient(Vec a, Vec b) {
#if defined(__AVX512F__)
  const Vec r = _mm512_rcp14_ps(b), near = a * r;
  return fma(_mm512_fnmadd_ps(b, near, a), r, near);  // one step of Newton's, on the quotient itself
#else
  return a / b;
#endif
}

// NaN stays NaN.
inline Vec tanh(Vec x) {
  x = min(splat(8.6f), max(splat(-8.6f), x));
  const Vec y = x * x;
  Vec p = fma(y, splat(0x1.e3dc4cp-27f), splat(0x1.626p-16f));
  Vec q = fma(y, splat(0x1.b149eep-21f), splat(0x1.5dd554p-12f));
  p = fma(y, p, splat(0x1.ce366ap-9f));
  q = fma(y, q, splat(0x1.a9e252p-6f));
  p = fma(y, p, splat(0x1.1292ap-3f));
  q = fma(y, q, splat(0x1.de9e98p-2f));
  p = fma(y, p, splat(0x1.fffffep-1f));
  q = fma(y, q, splat(1.0f));
  return min(splat(1.0f), max(splat(-1.0f), quotient(x * p, q)));  // a few places before 8.6 it would pass 1
}

inline Doubles tanh(Doubles x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = std::tanh(x[i]);
  return x;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
