// Conversions, half precision, and comparisons that give numbers: one instruction each.
// What each must compute is worked out in tests/ptx/test_numbers.py.
#include "units.h"

extern "C" const char* last_report() { return cudaGetErrorString(cudaErrorLaunchFailure); }

UNIT_1(cvt_rn_f32_f64, "cvt.rn.f32.f64", F32, F64)
UNIT_1(cvt_rz_f32_f64, "cvt.rz.f32.f64", F32, F64)
UNIT_1(cvt_rm_f32_f64, "cvt.rm.f32.f64", F32, F64)
UNIT_1(cvt_rp_f32_f64, "cvt.rp.f32.f64", F32, F64)
UNIT_1(cvt_rn_sat_f32_f64, "cvt.rn.sat.f32.f64", F32, F64)
UNIT_1(cvt_rn_ftz_f32_f64, "cvt.rn.ftz.f32.f64", F32, F64)
__global__ void double2float_ru_kernel(float* out, const double* x) {
  out[threadIdx.x] = __double2float_ru(x[threadIdx.x]);
}
extern "C" int double2float_ru(int count, void* out, void* x) { return launch(double2float_ru_kernel, count, out, x); }

UNIT_1(cvt_rn_f32_u64, "cvt.rn.f32.u64", F32, U64)
UNIT_1(cvt_rz_f32_u64, "cvt.rz.f32.u64", F32, U64)
UNIT_1(cvt_rm_f32_u64, "cvt.rm.f32.u64", F32, U64)
UNIT_1(cvt_rp_f32_u64, "cvt.rp.f32.u64", F32, U64)
UNIT_1(cvt_rn_f32_s64, "cvt.rn.f32.s64", F32, S64)
UNIT_1(cvt_rz_f32_s64, "cvt.rz.f32.s64", F32, S64)
UNIT_1(cvt_rm_f32_s64, "cvt.rm.f32.s64", F32, S64)
UNIT_1(cvt_rp_f32_s64, "cvt.rp.f32.s64", F32, S64)
UNIT_1(cvt_rn_f64_s64, "cvt.rn.f64.s64", F64, S64)
UNIT_1(cvt_rz_f64_s64, "cvt.rz.f64.s64", F64, S64)
UNIT_1(cvt_rm_f64_s64, "cvt.rm.f64.s64", F64, S64)
UNIT_1(cvt_rp_f64_s64, "cvt.rp.f64.s64", F64, S64)

UNIT_1(cvt_rni_s32_f64, "cvt.rni.s32.f64", S32, F64)
UNIT_1(cvt_rzi_s32_f64, "cvt.rzi.s32.f64", S32, F64)
UNIT_1(cvt_rmi_s32_f64, "cvt.rmi.s32.f64", S32, F64)
UNIT_1(cvt_rpi_s32_f64, "cvt.rpi.s32.f64", S32, F64)
UNIT_1(cvt_rni_u64_f64, "cvt.rni.u64.f64", U64, F64)
UNIT_1(cvt_rzi_u64_f64, "cvt.rzi.u64.f64", U64, F64)
UNIT_1(cvt_rmi_u64_f64, "cvt.rmi.u64.f64", U64, F64)
UNIT_1(cvt_rpi_u64_f64, "cvt.rpi.u64.f64", U64, F64)
UNIT_1(cvt_rni_u32_f32, "cvt.rni.u32.f32", U32, F32)
UNIT_1(cvt_rni_s64_f32, "cvt.rni.s64.f32", S64, F32)
UNIT_1(cvt_rni_u8_f32, "cvt.rni.u8.f32", U32, F32)
UNIT_1(cvt_rni_s8_f32, "cvt.rni.s8.f32", S32, F32)
UNIT_1(cvt_rni_f64, "cvt.rni.f64.f64", F64, F64)
UNIT_1(cvt_rzi_f64, "cvt.rzi.f64.f64", F64, F64)
UNIT_1(cvt_rmi_f64, "cvt.rmi.f64.f64", F64, F64)
UNIT_1(cvt_rpi_f64, "cvt.rpi.f64.f64", F64, F64)

UNIT_1(cvt_sat_u8_s32, "cvt.sat.u8.s32", U32, S32)
UNIT_1(cvt_sat_u32_s32, "cvt.sat.u32.s32", U32, S32)
UNIT_1(cvt_sat_s32_u32, "cvt.sat.s32.u32", S32, U32)
UNIT_1(cvt_sat_s16_s64, "cvt.sat.s16.s64", S16, S64)
UNIT_1(cvt_u8_s32, "cvt.u8.s32", U32, S32)
UNIT_1(cvt_s64_s32, "cvt.s64.s32", S64, S32)
UNIT_1(cvt_u64_u32, "cvt.u64.u32", U64, U32)
UNIT_1(cvt_s64_u32, "cvt.s64.u32", S64, U32)

UNIT_1(cvt_rn_f16_f32, "cvt.rn.f16.f32", U16, F32)
UNIT_1(cvt_rz_f16_f32, "cvt.rz.f16.f32", U16, F32)
UNIT_1(cvt_rm_f16_f32, "cvt.rm.f16.f32", U16, F32)
UNIT_1(cvt_rp_f16_f32, "cvt.rp.f16.f32", U16, F32)
UNIT_1(cvt_rn_bf16_f32, "cvt.rn.bf16.f32", U16, F32)
UNIT_1(cvt_rz_bf16_f32, "cvt.rz.bf16.f32", U16, F32)
UNIT_1(cvt_rm_bf16_f32, "cvt.rm.bf16.f32", U16, F32)
UNIT_1(cvt_rp_bf16_f32, "cvt.rp.bf16.f32", U16, F32)
UNIT_1(cvt_rn_f16_f64, "cvt.rn.f16.f64", U16, F64)
UNIT_1(cvt_rn_f16_s32, "cvt.rn.f16.s32", U16, S32)
UNIT_1(cvt_rn_bf16_s32, "cvt.rn.bf16.s32", U16, S32)
UNIT_1(cvt_f32_bf16, "cvt.f32.bf16", F32, U16)
UNIT_1(cvt_f64_f16, "cvt.f64.f16", F64, U16)
UNIT_1(cvt_rni_f16, "cvt.rni.f16.f16", U16, U16)
UNIT_1(cvt_rzi_s32_f16, "cvt.rzi.s32.f16", S32, U16)
UNIT_2(cvt_rn_bf16x2, "cvt.rn.bf16x2.f32", U32, F32, F32)

// Of halves, bfloats and pairs of either.
#define HALF_1(name, op)                      \
  UNIT_1(name##_f16, op ".f16", U16, U16)     \
  UNIT_1(name##_bf16, op ".bf16", U16, U16)   \
  UNIT_1(name##_f16x2, op ".f16x2", U32, U32) \
  UNIT_1(name##_bf16x2, op ".bf16x2", U32, U32)
#define HALF_2(name, op)                           \
  UNIT_2(name##_f16, op ".f16", U16, U16, U16)     \
  UNIT_2(name##_bf16, op ".bf16", U16, U16, U16)   \
  UNIT_2(name##_f16x2, op ".f16x2", U32, U32, U32) \
  UNIT_2(name##_bf16x2, op ".bf16x2", U32, U32, U32)
#define HALF_3(name, op)                                \
  UNIT_3(name##_f16, op ".f16", U16, U16, U16, U16)     \
  UNIT_3(name##_bf16, op ".bf16", U16, U16, U16, U16)   \
  UNIT_3(name##_f16x2, op ".f16x2", U32, U32, U32, U32) \
  UNIT_3(name##_bf16x2, op ".bf16x2", U32, U32, U32, U32)

HALF_2(add, "add")
HALF_2(sub, "sub.rn")
HALF_2(mul, "mul")
HALF_3(fma, "fma.rn")
HALF_2(min, "min")
HALF_2(max, "max")
HALF_2(min_nan, "min.NaN")
HALF_2(max_nan, "max.NaN")
HALF_1(abs, "abs")
HALF_1(neg, "neg")
HALF_1(tanh, "tanh.approx")
UNIT_1(ex2_f16, "ex2.approx.f16", U16, U16)
UNIT_1(ex2_f16x2, "ex2.approx.f16x2", U32, U32)
UNIT_1(ex2_bf16, "ex2.approx.ftz.bf16", U16, U16)
UNIT_1(ex2_bf16x2, "ex2.approx.ftz.bf16x2", U32, U32)

PREDICATE_1(finite_f32, "testp.finite.f32", F32)
PREDICATE_1(infinite_f32, "testp.infinite.f32", F32)
PREDICATE_1(number_f32, "testp.number.f32", F32)
PREDICATE_1(notanumber_f32, "testp.notanumber.f32", F32)
PREDICATE_1(normal_f32, "testp.normal.f32", F32)
PREDICATE_1(subnormal_f32, "testp.subnormal.f32", F32)
PREDICATE_1(normal_f64, "testp.normal.f64", F64)
PREDICATE_1(subnormal_f64, "testp.subnormal.f64", F64)

UNIT_3(slct_u32, "slct.u32.s32", U32, U32, U32, S32)
UNIT_3(slct_f64, "slct.f64.s32", F64, F64, F64, S32)
UNIT_2(set_lt_u32_s32, "set.lt.u32.s32", U32, S32, S32)
UNIT_2(set_hs_f32_u32, "set.hs.f32.u32", F32, U32, U32)
UNIT_2(set_ltu_u32_f32, "set.ltu.u32.f32", U32, F32, F32)
UNIT_2(set_ne_s32_f32, "set.ne.s32.f32", S32, F32, F32)
UNIT_3(sad_u32, "sad.u32", U32, U32, U32, U32)
UNIT_3(sad_s32, "sad.s32", S32, S32, S32, S32)
UNIT_3(sad_s64, "sad.s64", S64, S64, S64, S64)

UNIT_2(div_u16, "div.u16", U16, U16, U16)
UNIT_2(rem_u16, "rem.u16", U16, U16, U16)
UNIT_2(div_s16, "div.s16", S16, S16, S16)
UNIT_2(rem_s16, "rem.s16", S16, S16, S16)
UNIT_2(div_u32, "div.u32", U32, U32, U32)
UNIT_2(div_s32, "div.s32", S32, S32, S32)
UNIT_2(rem_s32, "rem.s32", S32, S32, S32)
UNIT_2(div_u64, "div.u64", U64, U64, U64)
UNIT_2(rem_u64, "rem.u64", U64, U64, U64)
