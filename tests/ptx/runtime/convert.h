// cvt between numbers (PTX ISA, "Data Movement and Conversion Instructions: cvt").
#pragma once
#include <limits>

#include "floats.h"

namespace ptx {

enum class ToInteger { nearest, zero, down, up };

template <typename T>
inline T round_to_integer(ToInteger rounding, T value) {
  switch (rounding) {
    case ToInteger::zero:
      return std::trunc(value);
    case ToInteger::down:
      return std::floor(value);
    case ToInteger::up:
      return std::ceil(value);
    default:
      return std::nearbyint(value);  // the mode is never changed outside of rounding.cpp: ties to even
  }
}

// Values out of range become the nearest limit. NaN becomes 0, but the top bit alone where a side has 64 bits.
template <typename To, typename From>
inline To float_to_integer(ToInteger rounding, From value) {
  using Limits = std::numeric_limits<To>;
  if (value != value) {
    return sizeof(From) == 8 || sizeof(To) == 8 ? static_cast<To>(u64(1) << (8 * sizeof(To) - 1)) : To(0);
  }
  const f64 whole = round_to_integer(rounding, static_cast<f64>(value));
  if (whole <= static_cast<f64>(Limits::min())) return Limits::min();
  if (whole >= static_cast<f64>(Limits::max())) return Limits::max();  // of 64-bit types: rounded up to a power of two
  return static_cast<To>(whole);
}

template <typename To, typename From>
inline To saturate_integer(From value) {
  using Limits = std::numeric_limits<To>;
  const __int128 wide = value;
  return wide < Limits::min() ? Limits::min() : wide > Limits::max() ? Limits::max() : static_cast<To>(wide);
}

}  // namespace ptx
