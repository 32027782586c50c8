// Half (f16) and bfloat16 values: a format is its number of fraction bits and its least exponent. Both fit a double
// exactly.
#pragma once
#include "floats.h"

namespace ptx {

struct Half {
  static constexpr int kFractionBits = 10, kLeastExponent = -14;
  static constexpr u16 kInfinity = 0x7c00;
};
struct Bfloat {
  static constexpr int kFractionBits = 7, kLeastExponent = -126;
  static constexpr u16 kInfinity = 0x7f80;
};
constexpr u16 kHalfNan = 0x7fff;  // the canonical NaN of both

template <typename Format>
inline f64 widen(u16 value) {
  const int exponent = (value & 0x7fff) >> Format::kFractionBits, fraction = value & ((1 << Format::kFractionBits) - 1);
  f64 magnitude;
  if ((value & Format::kInfinity) == Format::kInfinity) {
    magnitude = fraction ? std::nan("") : INFINITY;
  } else {
    const int significand = exponent ? fraction | 1 << Format::kFractionBits : fraction;
    magnitude = std::ldexp(significand, std::max(exponent, 1) - 1 + Format::kLeastExponent - Format::kFractionBits);
  }
  return value & 0x8000 ? -magnitude : magnitude;
}

// Rounded once, subnormals kept.
template <typename Format>
inline u16 narrow(f64 value, Rounding rounding = Rounding::nearest) {
  if (value != value) return kHalfNan;
  const bool negative = std::signbit(value);
  const u16 sign = negative ? 0x8000 : 0;
  const f64 magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return sign | Format::kInfinity;
  const int exponent =
      magnitude == 0 ? Format::kLeastExponent : std::max(std::ilogb(magnitude), Format::kLeastExponent);
  const f64 units = std::ldexp(magnitude, Format::kFractionBits - exponent);  // of the last place; exact
  const bool up = rounding == (negative ? Rounding::down : Rounding::up);
  const f64 rounded = rounding == Rounding::nearest ? std::nearbyint(units) : up ? std::ceil(units) : std::floor(units);
  // The leading bit of a normal number adds one to the exponent field, a carry out of the fraction another one.
  const s64 encoded =
      (static_cast<s64>(exponent - Format::kLeastExponent) << Format::kFractionBits) + static_cast<s64>(rounded);
  const bool overflow = encoded >= Format::kInfinity;
  if (overflow && rounding != Rounding::nearest && !up) return sign | (Format::kInfinity - 1);
  return sign | (overflow ? Format::kInfinity : static_cast<u16>(encoded));
}

// a * b + c, rounded once: the product is exact, the sum is rounded to odd, so that rounding it again is harmless
// (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums").
template <typename Format>
inline u16 fma_half(u16 a, u16 b, u16 c) {
  const f64 product = widen<Format>(a) * widen<Format>(b), addend = widen<Format>(c);
  f64 sum = product + addend;
  if (std::isfinite(sum)) {
    const f64 part = sum - product, error = (product - (sum - part)) + (addend - part);
    if (error != 0 && !(bits(sum) & 1)) sum = std::nextafter(sum, error > 0 ? INFINITY : -INFINITY);
  }
  return narrow<Format>(sum);
}
template <typename Format>
inline u16 add_half(u16 a, u16 b) {
  return narrow<Format>(widen<Format>(a) + widen<Format>(b));
}
template <typename Format>
inline u16 subtract_half(u16 a, u16 b) {
  return narrow<Format>(widen<Format>(a) - widen<Format>(b));
}
template <typename Format>
inline u16 multiply_half(u16 a, u16 b) {
  return narrow<Format>(widen<Format>(a) * widen<Format>(b));
}
template <typename Format>
inline u16 minimum_half(u16 a, u16 b) {
  return narrow<Format>(minimum(widen<Format>(a), widen<Format>(b)));
}
template <typename Format>
inline u16 maximum_half(u16 a, u16 b) {
  return narrow<Format>(maximum(widen<Format>(a), widen<Format>(b)));
}
template <typename Format>
inline u16 minimum_nan_half(u16 a, u16 b) {
  return unordered(widen<Format>(a), widen<Format>(b)) ? kHalfNan : minimum_half<Format>(a, b);
}
template <typename Format>
inline u16 maximum_nan_half(u16 a, u16 b) {
  return unordered(widen<Format>(a), widen<Format>(b)) ? kHalfNan : maximum_half<Format>(a, b);
}
template <typename Format>
inline u16 abs_half(u16 a) {
  return a & 0x7fff;
}
template <typename Format>
inline u16 neg_half(u16 a) {
  return a ^ 0x8000;
}
template <typename Format>
inline u16 ex2_half(u16 a) {
  return narrow<Format>(std::exp2(widen<Format>(a)));
}
template <typename Format>
inline u16 ex2_ftz_half(u16 a) {
  const u16 power = ex2_half<Format>(a);
  return power & Format::kInfinity ? power : 0;
}
template <typename Format>
inline u16 tanh_half(u16 a) {
  return narrow<Format>(std::tanh(widen<Format>(a)));
}

// The same operation on both halves of a pair.
template <u16 (*Operation)(u16)>
inline u32 pairwise(u32 a) {
  return static_cast<u32>(Operation(a >> 16)) << 16 | Operation(static_cast<u16>(a));
}
template <u16 (*Operation)(u16, u16)>
inline u32 pairwise(u32 a, u32 b) {
  return static_cast<u32>(Operation(a >> 16, b >> 16)) << 16 | Operation(static_cast<u16>(a), static_cast<u16>(b));
}
template <u16 (*Operation)(u16, u16, u16)>
inline u32 pairwise(u32 a, u32 b, u32 c) {
  return static_cast<u32>(Operation(a >> 16, b >> 16, c >> 16)) << 16 |
         Operation(static_cast<u16>(a), static_cast<u16>(b), static_cast<u16>(c));
}

template <typename Format>
inline u32 narrow_pair(f64 high, f64 low, Rounding rounding) {
  return static_cast<u32>(narrow<Format>(high, rounding)) << 16 | narrow<Format>(low, rounding);
}

}  // namespace ptx
