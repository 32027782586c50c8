#pragma once
// exp in float64, for terms of a sum. At most 2 ulp for x in [-700, 88] (tests/native/test_vector_math.cpp).
//
//   x = n ln 2 + r, |r| <= ln 2 / 2;   exp(x) = 2^n sum_{i <= 13} r^i / i!      (the rest of the series is below 2^-57)
#include "common/cpu/simd.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// Below x = -700 the result is exp(-700), 1e-304, instead of less (at -inf too); NaN stays NaN; above 700, anything.
inline Doubles exp_for_sum(Doubles x) {
  const Doubles lowest = splat_double(-700.0), round = splat_double(0x1.8p52 + 1023);
  x = x < lowest ? lowest : x;
  const Doubles shifted = x * 0x1.71547652b82fep0 + round, n = shifted - round;  // n + 1023 in the low bits
  const Doubles r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;       // the first product is exact
  Doubles q = splat_double(1.0 / 6227020800);                                    // 1 / 13!
  constexpr double factorials[] = {479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1};
  for (double factorial : factorials) q = q * r + 1 / factorial;
  return q * reinterpret_cast<Doubles>(reinterpret_cast<Longs>(shifted) << 52);
}

// Calls each(vector) over n elements; the last vector is filled up with -inf.
template <class Each>
inline void each_doubles(const double* p, int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kDoubles <= n; i += kDoubles) each(load_doubles(p + i));
  if (i == n) return;
  double last[kDoubles];
  for (int j = 0; j < kDoubles; ++j) last[j] = i + j < n ? p[i + j] : -__builtin_inf();
  each(load_doubles(last));
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
