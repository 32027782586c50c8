#pragma once
// The storage types that the kernels read beside float and double. Arithmetic is never done in them.
#include <bit>
#include <cstdint>
#include <limits>

namespace s2sfast {

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

// What the numbers of a type are computed in, and a bias on them is given in.
template <class T>
struct RealOf {
  using type = float;
};
template <>
struct RealOf<double> {
  using type = double;
};
template <class T>
using Real = typename RealOf<T>::type;

constexpr float to_float(float x) { return x; }
// Finite stays finite: what is beyond float's range becomes its largest number.
constexpr float to_float(double x) {
  constexpr double largest = std::numeric_limits<float>::max(), infinity = std::numeric_limits<double>::infinity();
  if (x > largest && x < infinity) return static_cast<float>(largest);
  if (x < -largest && x > -infinity) return static_cast<float>(-largest);
  return static_cast<float>(x);
}
constexpr float to_float(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// IEEE binary16, subnormals, infinities and NaN included; no F16C needed. The magnitude is moved to float's exponent
// by a multiplication (exact: a power of two), which also normalises subnormals.
constexpr float to_float(Half x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, magnitude = uint32_t{x.bits & 0x7fffu} << 13;
  if (magnitude >= 0x0f800000u) return std::bit_cast<float>(sign | magnitude | 0x70000000u);  // infinity or NaN
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

constexpr double to_double(double x) { return x; }
template <class T>
constexpr double to_double(T x) {
  return to_float(x);
}

}  // namespace s2sfast
