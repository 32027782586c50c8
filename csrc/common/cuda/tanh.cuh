#pragma once
// tanh to float32's accuracy: tanh.approx has an error of 2^-11 (PTX ISA 9.0, 9.7.3.24).
#include <cmath>

namespace s2sfast::cuda {

// x P(x^2) / Q(x^2) for |x| <= 8.6, with the coefficients of common/cpu/tanh.h. The reciprocal's error (1 ulp) is put
// back by one step of Newton's on the quotient, so that 2 ulp are left. 17 instructions, one of them special; no
// branch.
__device__ __forceinline__ float tanh_of(float x) {
  const float bounded = fminf(fmaxf(x, -8.6f), 8.6f), y = bounded * bounded;
  float p = fmaf(y, 1.4082477522e-8f, 2.11223882372e-5f), q = fmaf(y, 8.07064006824e-7f, 3.33627101586e-4f);
  p = fmaf(y, p, 3.52640209582e-3f), q = fmaf(y, q, 2.59939020244e-2f);
  p = fmaf(y, p, 0.134068757754f), q = fmaf(y, q, 0.46740197316f);
  p = fmaf(y, p, 0.999999986747f), q = fmaf(y, q, 1.0f);
  p *= x == x ? bounded : x;  // a NaN was lost on the way to the bounds
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(q));
  const float near = p * r;
  return fmaf(fmaf(-q, near, p), r, near);
}
__device__ __forceinline__ double tanh_of(double x) { return tanh(x); }

}  // namespace s2sfast::cuda
