// What PTX's floating-point instructions compute. Results that are NaN are PTX's canonical NaN in single precision
// (x86 would give a negative one, and keys made from bits would sort elsewhere).
// Approximate instructions are computed to the last bit or one off: allow them 1-2 ulp.
#pragma once
#include <cmath>

#include "types.h"

namespace ptx {

inline f32 canonical(f32 value) { return value == value ? value : as_f32(0x7fffffffu); }
inline f64 canonical(f64 value) { return value; }

inline f32 flush(f32 value) {
  return std::fabs(value) < 0x1p-126f ? std::copysign(0.f, value) : value;  // NaN compares false
}
inline f64 flush(f64 value) { return std::fabs(value) < 0x1p-1022 ? std::copysign(0., value) : value; }

template <typename T>
inline T saturate(T value) {
  return value > 0 ? (value < 1 ? value : T(1)) : T(0);  // NaN and -0 become +0
}

// A NaN gives way to the other operand, and -0 is less than +0.
template <typename T>
inline T minimum(T a, T b) {
  if (a != a) return canonical(b);
  if (b != b) return a;
  return a < b || (a == b && std::signbit(a)) ? a : b;
}
template <typename T>
inline T maximum(T a, T b) {
  if (a != a) return canonical(b);
  if (b != b) return a;
  return a > b || (a == b && std::signbit(b)) ? a : b;
}
template <typename T>
inline T propagate_nan(T a, T b, T result) {
  return a != a || b != b ? canonical(std::numeric_limits<T>::quiet_NaN()) : result;
}

template <typename T>
inline bool unordered(T a, T b) {
  return a != a || b != b;
}

// Via double: the result is the exact one, rounded (nearly always) once.
inline f32 ex2(f32 x) { return canonical(static_cast<f32>(std::exp2(static_cast<f64>(x)))); }
inline f32 lg2(f32 x) { return canonical(static_cast<f32>(std::log2(static_cast<f64>(x)))); }
inline f32 sine(f32 x) { return canonical(static_cast<f32>(std::sin(static_cast<f64>(x)))); }
inline f32 cosine(f32 x) { return canonical(static_cast<f32>(std::cos(static_cast<f64>(x)))); }
inline f32 hyperbolic_tangent(f32 x) { return canonical(static_cast<f32>(std::tanh(static_cast<f64>(x)))); }
inline f32 reciprocal_root(f32 x) { return canonical(static_cast<f32>(1 / std::sqrt(static_cast<f64>(x)))); }
inline f64 reciprocal_root(f64 x) { return 1 / std::sqrt(x); }

// Directed rounding, out of line: the compiler must not move the operation out of the changed mode.
enum class Rounding { nearest, zero, down, up };
template <typename T>
T rounded_add(Rounding, T a, T b);
template <typename T>
T rounded_multiply(Rounding, T a, T b);
template <typename T>
T rounded_divide(Rounding, T a, T b);
template <typename T>
T rounded_fma(Rounding, T a, T b, T c);
template <typename T>
T rounded_root(Rounding, T a);
template <typename To, typename From>
To rounded_convert(Rounding, From value);

}  // namespace ptx
