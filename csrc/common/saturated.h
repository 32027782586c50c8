#pragma once
// The range of the types that are stored.
#include "common/numbers.h"

namespace s2sfast {

template <class T>
inline constexpr Real<T> kLargestOf = std::numeric_limits<Real<T>>::max();
template <>
inline constexpr float kLargestOf<BFloat16> = 0x1.fep127f;
template <>
inline constexpr float kLargestOf<Half> = 65504.0f;

// What is beyond becomes the largest finite number.
template <class T>
constexpr Real<T> saturated(Real<T> x) {
  return x > kLargestOf<T> ? kLargestOf<T> : x < -kLargestOf<T> ? -kLargestOf<T> : x;
}

}  // namespace s2sfast
