#pragma once
// From what is computed to what is stored: rounded to nearest, ties to even.
#include "common/numbers.h"

namespace s2sfast {

namespace {

inline void narrow(float x, float& y) { y = x; }
inline void narrow(double x, double& y) { y = x; }
inline void narrow(float x, BFloat16& y) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), odd = bits >> 16 & 1;
  y.bits =
      static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : (bits + 0x7fffu + odd) >> 16);
}
inline void narrow(float x, Half& y) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u)
    half = 0x7e00u;
  else if (magnitude >= 0x47800000u)  // 2^16
    half = 0x7c00u;
  else if (magnitude < 0x38800000u)  // subnormal: the addition rounds
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  else
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13;
  y.bits = static_cast<uint16_t>(sign | half);
}

}  // namespace
}  // namespace s2sfast
