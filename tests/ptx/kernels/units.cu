// One instruction each; those that need more than units.h offers stand at the end.
// What each must compute is worked out in tests/ptx/test_instructions.py.
#include "units.h"

UNIT_3(bfe_u32, "bfe.u32", U32, U32, U32, U32)
UNIT_3(bfe_s32, "bfe.s32", S32, S32, U32, U32)
UNIT_3(bfe_s64, "bfe.s64", S64, S64, U32, U32)
UNIT_3(prmt, "prmt.b32", U32, U32, U32, U32)
UNIT_3(shf_l_wrap, "shf.l.wrap.b32", U32, U32, U32, U32)
UNIT_3(shf_r_wrap, "shf.r.wrap.b32", U32, U32, U32, U32)
UNIT_3(shf_l_clamp, "shf.l.clamp.b32", U32, U32, U32, U32)
UNIT_3(shf_r_clamp, "shf.r.clamp.b32", U32, U32, U32, U32)
UNIT_3(mad_hi_s32, "mad.hi.s32", S32, S32, S32, S32)
UNIT_3(mad_wide_s32, "mad.wide.s32", S64, S32, S32, S64)
UNIT_2(mul_hi_u64, "mul.hi.u64", U64, U64, U64)
UNIT_2(mul_hi_s64, "mul.hi.s64", S64, S64, S64)
UNIT_2(div_s64, "div.s64", S64, S64, S64)
UNIT_2(rem_s64, "rem.s64", S64, S64, S64)
UNIT_2(rem_u32, "rem.u32", U32, U32, U32)
UNIT_2(shl_b32, "shl.b32", U32, U32, U32)
UNIT_2(shr_s32, "shr.s32", S32, S32, U32)
UNIT_2(add_sat_s32, "add.sat.s32", S32, S32, S32)
UNIT_1(bfind_s32, "bfind.s32", U32, S32)
UNIT_1(bfind_shift_u32, "bfind.shiftamt.u32", U32, U32)
UNIT_1(brev_b32, "brev.b32", U32, U32)
UNIT_1(clz_b64, "clz.b64", U32, U64)
UNIT_1(popc_b64, "popc.b64", U32, U64)

UNIT_3(fma_rn_f32, "fma.rn.f32", F32, F32, F32, F32)
UNIT_3(fma_rn_f64, "fma.rn.f64", F64, F64, F64, F64)
UNIT_2(add_rz_f32, "add.rz.f32", F32, F32, F32)
UNIT_2(add_rp_f32, "add.rp.f32", F32, F32, F32)
UNIT_2(add_rm_f64, "add.rm.f64", F64, F64, F64)
UNIT_2(mul_f32, "mul.f32", F32, F32, F32)
UNIT_2(mul_ftz_f32, "mul.ftz.f32", F32, F32, F32)
UNIT_2(add_sat_f32, "add.sat.f32", F32, F32, F32)
UNIT_2(min_f32, "min.f32", F32, F32, F32)
UNIT_2(max_f32, "max.f32", F32, F32, F32)
UNIT_2(max_nan_f32, "max.NaN.f32", F32, F32, F32)
UNIT_2(div_rn_f64, "div.rn.f64", F64, F64, F64)
UNIT_2(copysign_f32, "copysign.f32", F32, F32, F32)
UNIT_1(sqrt_rn_f32, "sqrt.rn.f32", F32, F32)
UNIT_1(ex2_f32, "ex2.approx.f32", F32, F32)
UNIT_1(ex2_ftz_f32, "ex2.approx.ftz.f32", F32, F32)
UNIT_1(lg2_f32, "lg2.approx.f32", F32, F32)

UNIT_1(cvt_rni_s32_f32, "cvt.rni.s32.f32", S32, F32)
UNIT_1(cvt_rzi_s32_f32, "cvt.rzi.s32.f32", S32, F32)
UNIT_1(cvt_rmi_s32_f32, "cvt.rmi.s32.f32", S32, F32)
UNIT_1(cvt_rpi_u32_f32, "cvt.rpi.u32.f32", U32, F32)
UNIT_1(cvt_rzi_s64_f64, "cvt.rzi.s64.f64", S64, F64)
UNIT_1(cvt_rni_f32, "cvt.rni.f32.f32", F32, F32)
UNIT_1(cvt_sat_f32, "cvt.sat.f32.f32", F32, F32)
UNIT_1(cvt_rz_f32_f64, "cvt.rz.f32.f64", F32, F64)
UNIT_1(cvt_rp_f32_s32, "cvt.rp.f32.s32", F32, S32)
UNIT_1(cvt_sat_s8_s32, "cvt.sat.s8.s32", S32, S32)
UNIT_1(cvt_s8, "cvt.s32.s8", S32, S32)
UNIT_1(cvt_rn_f16_f32, "cvt.rn.f16.f32", U16, F32)
UNIT_1(cvt_rz_f16_f32, "cvt.rz.f16.f32", U16, F32)
UNIT_1(cvt_f32_f16, "cvt.f32.f16", F32, U16)
UNIT_1(cvt_rn_bf16_f32, "cvt.rn.bf16.f32", U16, F32)
UNIT_2(cvt_f16x2, "cvt.rn.f16x2.f32", U32, F32, F32)
UNIT_3(fma_f16, "fma.rn.f16", U16, U16, U16, U16)
UNIT_2(add_f16, "add.f16", U16, U16, U16)

namespace {

__global__ void bfi_kernel(uint32_t* out, const uint32_t* x, const uint32_t* y, const uint32_t* position,
                           const uint32_t* length) {
  const unsigned i = threadIdx.x;
  asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(out[i]) : "r"(x[i]), "r"(y[i]), "r"(position[i]), "r"(length[i]));
}

__global__ void lop3_kernel(uint32_t* out, const uint32_t* x, const uint32_t* y, const uint32_t* z) {
  const unsigned i = threadIdx.x;
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(out[i]) : "r"(x[i]), "r"(y[i]), "r"(z[i]));
}

// 128-bit sums carry between words.
__global__ void add_carry_kernel(uint64_t* out, const uint64_t* x, const uint64_t* y) {
  const unsigned i = threadIdx.x;
  uint64_t low, high;
  asm("{ add.cc.u64 %0, %2, %3; addc.u64 %1, 0, 0; }" : "=l"(low), "=l"(high) : "l"(x[i]), "l"(y[i]));
  out[2 * i] = low;
  out[2 * i + 1] = high;
}

// Nested scopes declare registers of one name.
__global__ void scopes_kernel(uint32_t* out, const uint32_t* x) {
  const unsigned i = threadIdx.x;
  asm("{ .reg .u32 t; add.u32 t, %1, 1; { .reg .u32 t; mov.u32 t, 100; } add.u32 %0, t, 0; }"
      : "=r"(out[i])
      : "r"(x[i]));
}

// mode: 0 up, 1 down, 2 xor, 3 index. out[2i] is the value, out[2i + 1] whether the lane read was in range.
template <int kMode>
__device__ void shuffle(uint32_t* out, const uint32_t* x, uint32_t b, uint32_t c) {
  const unsigned i = threadIdx.x;
  uint32_t value, in_range;
#define SHUFFLE(mode)                                                                                         \
  asm volatile("{ .reg .pred p; shfl.sync." mode ".b32 %0|p, %2, %3, %4, 0xffffffff; selp.u32 %1, 1, 0, p; }" \
               : "=r"(value), "=r"(in_range)                                                                  \
               : "r"(x[i]), "r"(b), "r"(c))
  if (kMode == 0) SHUFFLE("up");
  if (kMode == 1) SHUFFLE("down");
  if (kMode == 2) SHUFFLE("bfly");
  if (kMode == 3) SHUFFLE("idx");
#undef SHUFFLE
  out[2 * i] = value;
  out[2 * i + 1] = in_range;
}
template <int kMode>
__global__ void shuffle_kernel(uint32_t* out, const uint32_t* x, uint32_t b, uint32_t c) {
  shuffle<kMode>(out, x, b, c);
}

// Six collectives of a warp, one after another.
__global__ void collectives_kernel(uint32_t* out, const uint32_t* x) {
  const unsigned i = threadIdx.x;
  int all_same = 0;
  out[6 * i + 0] = __ballot_sync(~0u, x[i] & 1);
  out[6 * i + 1] = __match_any_sync(~0u, x[i]);
  out[6 * i + 2] = __match_all_sync(~0u, x[i] >> 31, &all_same);
  out[6 * i + 3] = __reduce_add_sync(~0u, x[i]);
  out[6 * i + 4] = static_cast<uint32_t>(__reduce_min_sync(~0u, static_cast<int>(x[i])));
  out[6 * i + 5] = __syncthreads_count(x[i] & 1);
}

// Library functions, as nvcc expands them.
__global__ void math_kernel(double* out, const double* x) {
  const double value = x[threadIdx.x];
  const float single = static_cast<float>(value);
  double* row = out + 8 * threadIdx.x;
  row[0] = exp(value), row[1] = log(value), row[2] = tanh(value), row[3] = 1 / sqrt(value);
  row[4] = expf(single), row[5] = logf(single), row[6] = sinf(single), row[7] = __expf(single);
}

}  // namespace

extern "C" {

const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

int lop3(int count, void* out, void* x, void* y, void* z) { return launch(lop3_kernel, count, out, x, y, z); }
int add_carry(int count, void* out, void* x, void* y) { return launch(add_carry_kernel, count, out, x, y); }
int scopes(int count, void* out, void* x) { return launch(scopes_kernel, count, out, x); }
int collectives(int count, void* out, void* x) { return launch(collectives_kernel, count, out, x); }
int math(int count, void* out, void* x) { return launch(math_kernel, count, out, x); }
int bfi(int count, void* out, void* x, void* y, void* position, void* length) {
  return launch(bfi_kernel, count, out, x, y, position, length);
}

int shuffle_mode(int mode, uint32_t* out, const uint32_t* x, uint32_t b, uint32_t c) {
  void (*const kernels[])(uint32_t*, const uint32_t*, uint32_t, uint32_t) = {shuffle_kernel<0>, shuffle_kernel<1>,
                                                                             shuffle_kernel<2>, shuffle_kernel<3>};
  kernels[mode]<<<1, 32>>>(out, x, b, c);
  return cudaGetLastError();
}

}  // extern "C"
