#pragma once
// Vector tanh. float32: errors measured against long double over every float (tests/native/test_vector_math.cpp).
//
//   tanh(x) = x P(x^2) / Q(x^2),   |x| <= 8.6
//
// P and Q of degree 4, Q(0) = 1, fitted for the relative error (1.4e-8) by least squares with Lawson's weights; all
// coefficients are positive, so that no sum cancels. Beyond 8.6 tanh is within an ulp of 1.
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
  Vec p = fma(y, splat(1.4082477522e-8f), splat(2.11223882372e-5f));
  Vec q = fma(y, splat(8.07064006824e-7f), splat(3.33627101586e-4f));
  p = fma(y, p, splat(3.52640209582e-3f));
  q = fma(y, q, splat(2.59939020244e-2f));
  p = fma(y, p, splat(0.134068757754f));
  q = fma(y, q, splat(0.46740197316f));
  p = fma(y, p, splat(0.999999986747f));
  q = fma(y, q, splat(1.0f));
  return quotient(x * p, q);
}

inline Doubles tanh(Doubles x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = std::tanh(x[i]);
  return x;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
