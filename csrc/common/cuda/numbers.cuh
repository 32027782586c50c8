#pragma once
// Numbers on the device: loads of 16 bytes, exponentials for sums, and floats as integers in the same order.
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "common/numbers.h"

namespace s2sfast::cuda {

inline constexpr float kInf = INFINITY;

__device__ __forceinline__ float real(float x) { return x; }
__device__ __forceinline__ double real(double x) { return x; }
__device__ __forceinline__ float real(BFloat16 x) { return to_float(x); }
__device__ __forceinline__ float real(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

__device__ __forceinline__ void narrow(float x, float& y) { y = x; }
__device__ __forceinline__ void narrow(double x, double& y) { y = x; }
__device__ __forceinline__ void narrow(float x, BFloat16& y) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
__device__ __forceinline__ void narrow(float x, Half& y) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }

// Numbers per load of 16 bytes.
template <class T>
inline constexpr int kWide = 16 / sizeof(T);

__device__ __forceinline__ bool is_aligned_16(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 15) == 0; }

__device__ __forceinline__ uint4 load_16(const void* p) { return __ldg(static_cast<const uint4*>(p)); }

__device__ __forceinline__ void unpack(uint4 raw, const float*, float (&x)[4]) {
  x[0] = __uint_as_float(raw.x), x[1] = __uint_as_float(raw.y);
  x[2] = __uint_as_float(raw.z), x[3] = __uint_as_float(raw.w);
}
__device__ __forceinline__ void unpack(uint4 raw, const double*, double (&x)[2]) {
  x[0] = __hiloint2double(raw.y, raw.x), x[1] = __hiloint2double(raw.w, raw.z);
}
template <class T>  // of 2 bytes; the pointer only names the type
__device__ __forceinline__ void unpack(uint4 raw, const T*, float (&x)[8]) {
  const uint32_t words[] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = real(T{static_cast<uint16_t>(words[i] & 0xffffu)});
    x[2 * i + 1] = real(T{static_cast<uint16_t>(words[i] >> 16)});
  }
}

__device__ __forceinline__ float max_of(float a, float b) { return fmaxf(a, b); }  // a NaN is passed over
__device__ __forceinline__ double max_of(double a, double b) { return fmax(a, b); }

// The lowest finite number: the pivot of a sum that has only -inf, so that no -inf is taken from -inf.
__device__ __forceinline__ float lowest(float) { return -FLT_MAX; }
__device__ __forceinline__ double lowest(double) { return -DBL_MAX; }

// exp(x) for x <= 0 as a term of a sum that is not tiny: below x = -87 it is exp(-87) (at -inf too). What rounding
// takes from x log2(e) is put back, so that what is left is ex2.approx's own error, 2^-22.5 relative (PTX
// ISA 9.0, 9.7.3.21), and |x| 2^-25 of log2(e)'s rounding.
__device__ __forceinline__ float exp_for_sum(float x) {
  constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
  x = fmaxf(x, -87.0f);
  const float power = x * kLog2E, gained = fmaf(x, -kLog2E, power);  // the rounded product less the true one
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(power));
  return fmaf(y, gained * -kLn2, y);
}
__device__ __forceinline__ double exp_for_sum(double x) { return exp(x < -700.0 ? -700.0 : x); }

// Integers in the order of the floats. -0 comes before 0: add 0.0f first where they must tie.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float from_ordered(uint32_t place) {
  return __uint_as_float(place & 0x80000000u ? place & 0x7fffffffu : ~place);
}

// The smallest float32 that is at least x.
__device__ __forceinline__ float round_up(double x) { return __double2float_ru(x); }

}  // namespace s2sfast::cuda
