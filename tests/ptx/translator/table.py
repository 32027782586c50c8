"""The table of instructions: which forms are known, and what each means in C++.

A form is an opcode with all of its modifiers; whatever matches no form as a whole is refused. In a form,
`{T:u32,s32}` is one of these types, called T below; `{rnd}`, `{ftz}` and `{sat}` are optional modifiers, done by
`instructions.py` for every form alike: flushing operands and result, saturating, rounding.
`operands` are the types of the result and of the sources; `W` is the type twice as wide as T.
In the C++ the sources are called {a}, {b}, {c}, {d}, types by their names, and `{rounding}` the rounding mode.
"""

from __future__ import annotations

from typing import NamedTuple

WHOLE = "u16,s16,u32,s32,u64,s64"
BITS = "b16,b32,b64"


class Row(NamedTuple):
    form: str
    operands: str
    code: str
    directed: str = ""  # code under .rz, .rm or .rp


INTEGERS = [
    Row(f"add.{{T:{WHOLE}}}", "T T T", "({T})({a} + {b})"),
    Row(f"sub.{{T:{WHOLE}}}", "T T T", "({T})({a} - {b})"),
    Row("add.sat.s32", "s32 s32 s32", "(s32)saturate_to_s32<s64>((s64){a} + {b})"),
    Row("sub.sat.s32", "s32 s32 s32", "(s32)saturate_to_s32<s64>((s64){a} - {b})"),
    Row(f"mul.lo.{{T:{WHOLE}}}", "T T T", "({T})((u64){a} * (u64){b})"),
    Row(f"mul.hi.{{T:{WHOLE}}}", "T T T", "multiply_high<{T}>({a}, {b})"),
    Row("mul.wide.{T:u16,s16,u32,s32}", "W T T", "({W})(({W}){a} * ({W}){b})"),
    Row(f"mad.lo.{{T:{WHOLE}}}", "T T T T", "({T})((u64){a} * (u64){b} + (u64){c})"),
    Row(f"mad.hi.{{T:{WHOLE}}}", "T T T T", "({T})(multiply_high<{T}>({a}, {b}) + {c})"),
    Row("mad.wide.{T:u16,s16,u32,s32}", "W T T W", "({W})(({W}){a} * ({W}){b} + {c})"),
    Row("add.cc.{T:u32,s32,u64,s64}", "T T T", "add_carry<{T}>({a}, {b}, false, carry)"),
    Row("addc.{T:u32,s32,u64,s64}", "T T T", "({T})({a} + {b} + carry)"),
    Row("addc.cc.{T:u32,s32,u64,s64}", "T T T", "add_carry<{T}>({a}, {b}, carry, carry)"),
    Row("sub.cc.{T:u32,s32,u64,s64}", "T T T", "subtract_borrow<{T}>({a}, {b}, false, carry)"),
    Row("subc.{T:u32,s32,u64,s64}", "T T T", "({T})({a} - {b} - carry)"),
    Row("subc.cc.{T:u32,s32,u64,s64}", "T T T", "subtract_borrow<{T}>({a}, {b}, carry, carry)"),
    Row("sad.{T:u16,s16,u32,s32,u64,s64}", "T T T T", "({T})({c} + ({a} < {b} ? {b} - {a} : {a} - {b}))"),
    Row(f"div.{{T:{WHOLE}}}", "T T T", "divide<{T}>({a}, {b})"),
    Row(f"rem.{{T:{WHOLE}}}", "T T T", "remainder<{T}>({a}, {b})"),
    Row("abs.{T:s16,s32,s64}", "T T", "({T})({a} < 0 ? -{a} : {a})"),
    Row("neg.{T:s16,s32,s64}", "T T", "({T})(-{a})"),
    Row(f"min.{{T:{WHOLE}}}", "T T T", "std::min<{T}>({a}, {b})"),
    Row(f"max.{{T:{WHOLE}}}", "T T T", "std::max<{T}>({a}, {b})"),
    Row("popc.{T:b32,b64}", "u32 T", "(u32)__builtin_popcountll({a})"),
    Row("clz.{T:b32,b64}", "u32 T", "count_leading_zeros<{T}>({a})"),
    Row("brev.{T:b32,b64}", "T T", "reverse_bits<{T}>({a})"),
    Row("bfind.{T:u32,s32,u64,s64}", "u32 T", "find_leading_bit<{T}>({a}, false)"),
    Row("bfind.shiftamt.{T:u32,s32,u64,s64}", "u32 T", "find_leading_bit<{T}>({a}, true)"),
    Row("bfe.{T:u32,s32,u64,s64}", "T T u32 u32", "extract_field<{T}>({a}, {b}, {c})"),
    Row("bfi.{T:b32,b64}", "T T T u32 u32", "insert_field<{T}>({a}, {b}, {c}, {d})"),
]

LOGIC = [
    Row(f"and.{{T:{BITS}}}", "T T T", "({T})({a} & {b})"),
    Row(f"or.{{T:{BITS}}}", "T T T", "({T})({a} | {b})"),
    Row(f"xor.{{T:{BITS}}}", "T T T", "({T})({a} ^ {b})"),
    Row(f"not.{{T:{BITS}}}", "T T", "({T})~{a}"),
    Row(f"cnot.{{T:{BITS}}}", "T T", "({T})({a} == 0)"),
    Row("and.pred", "pred pred pred", "{a} & {b}"),
    Row("or.pred", "pred pred pred", "{a} | {b}"),
    Row("xor.pred", "pred pred pred", "{a} ^ {b}"),
    Row("not.pred", "pred pred", "!{a}"),
    Row("lop3.b32", "b32 b32 b32 b32 u32", "lop3({a}, {b}, {c}, {d})"),
    Row(f"shl.{{T:{BITS}}}", "T T u32", "shift_left<{T}>({a}, {b})"),
    Row(f"shr.{{T:{BITS},{WHOLE}}}", "T T u32", "shift_right<{T}>({a}, {b})"),
    Row("shf.{D:l,r}.{M:wrap,clamp}.b32", "b32 b32 b32 u32", "shf_{D}_{M}({a}, {b}, {c})"),
    Row("prmt.b32", "b32 b32 b32 u32", "permute_bytes({a}, {b}, {c})"),
]

SELECTION = [
    Row(f"selp.{{T:{BITS},{WHOLE},f32,f64,f16,bf16}}", "T T T pred", "({c} ? {a} : {b})"),
    Row(f"slct.{{T:{BITS},{WHOLE},f32,f64}}.s32", "T T T s32", "({c} >= 0 ? {a} : {b})"),
]

# mul and add apart stay apart (-ffp-contract=off); fma rounds once.
FLOATS = [
    Row("add{rnd}{ftz}{sat}.f32", "f32 f32 f32", "canonical({a} + {b})", "rounded_add({rounding}, {a}, {b})"),
    Row("add{rnd}.f64", "f64 f64 f64", "{a} + {b}", "rounded_add({rounding}, {a}, {b})"),
    Row("sub{rnd}{ftz}{sat}.f32", "f32 f32 f32", "canonical({a} - {b})", "rounded_add({rounding}, {a}, -({b}))"),
    Row("sub{rnd}.f64", "f64 f64 f64", "{a} - {b}", "rounded_add({rounding}, {a}, -({b}))"),
    Row("mul{rnd}{ftz}{sat}.f32", "f32 f32 f32", "canonical({a} * {b})", "rounded_multiply({rounding}, {a}, {b})"),
    Row("mul{rnd}.f64", "f64 f64 f64", "{a} * {b}", "rounded_multiply({rounding}, {a}, {b})"),
    Row(
        "{O:fma,mad}{rnd!}{ftz}{sat}.f32",
        "f32 f32 f32 f32",
        "canonical(std::fma({a}, {b}, {c}))",
        "rounded_fma({rounding}, {a}, {b}, {c})",
    ),
    Row(
        "{O:fma,mad}{rnd!}.f64", "f64 f64 f64 f64", "std::fma({a}, {b}, {c})", "rounded_fma({rounding}, {a}, {b}, {c})"
    ),
    Row("div{rnd!}{ftz}.f32", "f32 f32 f32", "canonical({a} / {b})", "rounded_divide({rounding}, {a}, {b})"),
    Row("div{rnd!}.f64", "f64 f64 f64", "{a} / {b}", "rounded_divide({rounding}, {a}, {b})"),
    Row("div.{O:approx,full}{ftz}.f32", "f32 f32 f32", "canonical({a} / {b})"),
    Row("rcp{rnd!}{ftz}.f32", "f32 f32", "canonical(1 / {a})", "rounded_divide({rounding}, 1.f, {a})"),
    Row("rcp{rnd!}.f64", "f64 f64", "1 / {a}", "rounded_divide({rounding}, 1., {a})"),
    Row("rcp.approx{ftz}.f32", "f32 f32", "canonical(1 / {a})"),
    Row("rcp.approx.ftz.f64", "f64 f64", "flush(1 / flush({a}))"),
    Row("sqrt{rnd!}{ftz}.f32", "f32 f32", "canonical(std::sqrt({a}))", "rounded_root({rounding}, {a})"),
    Row("sqrt{rnd!}.f64", "f64 f64", "std::sqrt({a})", "rounded_root({rounding}, {a})"),
    Row("sqrt.approx{ftz}.f32", "f32 f32", "canonical(std::sqrt({a}))"),
    Row("rsqrt.approx{ftz}.f32", "f32 f32", "reciprocal_root({a})"),
    Row("rsqrt.approx.f64", "f64 f64", "reciprocal_root({a})"),
    Row("rsqrt.approx.ftz.f64", "f64 f64", "flush(reciprocal_root(flush({a})))"),
    Row("ex2.approx{ftz}.f32", "f32 f32", "ex2({a})"),
    Row("lg2.approx{ftz}.f32", "f32 f32", "lg2({a})"),
    Row("sin.approx{ftz}.f32", "f32 f32", "sine({a})"),
    Row("cos.approx{ftz}.f32", "f32 f32", "cosine({a})"),
    Row("tanh.approx.f32", "f32 f32", "hyperbolic_tangent({a})"),
    Row("abs{ftz}.f32", "f32 f32", "std::fabs({a})"),
    Row("abs.f64", "f64 f64", "std::fabs({a})"),
    Row("neg{ftz}.f32", "f32 f32", "-{a}"),
    Row("neg.f64", "f64 f64", "-{a}"),
    Row("min{ftz}.f32", "f32 f32 f32", "minimum({a}, {b})"),
    Row("max{ftz}.f32", "f32 f32 f32", "maximum({a}, {b})"),
    Row("min{ftz}.f32", "f32 f32 f32 f32", "minimum(minimum({a}, {b}), {c})"),  # three sources: sm_100
    Row("max{ftz}.f32", "f32 f32 f32 f32", "maximum(maximum({a}, {b}), {c})"),
    Row("min{ftz}.NaN.f32", "f32 f32 f32", "propagate_nan({a}, {b}, minimum({a}, {b}))"),
    Row("max{ftz}.NaN.f32", "f32 f32 f32", "propagate_nan({a}, {b}, maximum({a}, {b}))"),
    Row("min.f64", "f64 f64 f64", "minimum({a}, {b})"),
    Row("max.f64", "f64 f64 f64", "maximum({a}, {b})"),
    Row("copysign.{T:f32,f64}", "T T T", "std::copysign({b}, {a})"),
    Row("testp.finite.{T:f32,f64}", "pred T", "std::isfinite({a})"),
    Row("testp.infinite.{T:f32,f64}", "pred T", "std::isinf({a})"),
    Row("testp.number.{T:f32,f64}", "pred T", "!std::isnan({a})"),
    Row("testp.notanumber.{T:f32,f64}", "pred T", "std::isnan({a})"),
    Row("testp.normal.{T:f32,f64}", "pred T", "(std::isnormal({a}) || {a} == 0)"),
    Row("testp.subnormal.{T:f32,f64}", "pred T", "std::fpclassify({a}) == FP_SUBNORMAL"),
]

# Operations on halves: the name in PTX, the number of sources, the function in halves.h.
HALF_OPERATIONS = [
    ("add", 2, "add_half"),
    ("add.rn", 2, "add_half"),
    ("sub", 2, "subtract_half"),
    ("sub.rn", 2, "subtract_half"),
    ("mul", 2, "multiply_half"),
    ("mul.rn", 2, "multiply_half"),
    ("fma.rn", 3, "fma_half"),
    ("min", 2, "minimum_half"),
    ("max", 2, "maximum_half"),
    ("min.NaN", 2, "minimum_nan_half"),
    ("max.NaN", 2, "maximum_nan_half"),
    ("abs", 1, "abs_half"),
    ("neg", 1, "neg_half"),
    ("tanh.approx", 1, "tanh_half"),
]


def half_rows() -> list[Row]:
    rows = []
    powers = [("ex2.approx", 1, "ex2_half"), ("ex2.approx.ftz", 1, "ex2_ftz_half")]
    for name, sources, function in [*HALF_OPERATIONS, *powers]:
        arguments = ", ".join(f"{{{letter}}}" for letter in "abc"[:sources])
        for one, format_name in (("f16", "Half"), ("bf16", "Bfloat")):
            if name.startswith("ex2") and (one == "bf16") != name.endswith("ftz"):
                continue  # f16 comes without, bf16 with .ftz
            rows.append(
                Row(f"{name}.{one}", " ".join([one] * (sources + 1)), f"{function}<{format_name}>({arguments})")
            )
            pair = f"{one}x2"
            code = f"pairwise<{function}<{format_name}>>({arguments})"
            rows.append(Row(f"{name}.{pair}", " ".join([pair] * (sources + 1)), code))
    return rows


WARP = [
    Row("vote.sync.all.pred", "pred pred u32", "meet(thread, {b}, Collective::vote_all, {a}, 0, {site})"),
    Row("vote.sync.any.pred", "pred pred u32", "meet(thread, {b}, Collective::vote_any, {a}, 0, {site})"),
    Row("vote.sync.uni.pred", "pred pred u32", "meet(thread, {b}, Collective::vote_uniform, {a}, 0, {site})"),
    Row("vote.sync.ballot.b32", "b32 pred u32", "(u32)meet(thread, {b}, Collective::ballot, {a}, 0, {site})"),
    Row("match.any.sync.{T:b32,b64}", "b32 T u32", "(u32)meet(thread, {b}, Collective::match_any, {a}, 0, {site})"),
    Row("redux.sync.add.{T:u32,s32}", "T T u32", "({T})meet(thread, {b}, Collective::add_u32, (u32){a}, 0, {site})"),
    Row(
        "redux.sync.{O:min,max}.{T:u32,s32}",
        "T T u32",
        "({T})meet(thread, {b}, Collective::{O}_{T}, (u32){a}, 0, {site})",
    ),
    Row("redux.sync.{O:and,or,xor}.b32", "b32 b32 u32", "(u32)meet(thread, {b}, Collective::{O}_b32, {a}, 0, {site})"),
    Row("bar.warp.sync", "- u32", "meet(thread, {a}, Collective::sync, 0, 0, {site})"),
    Row("{O:bar,barrier}{cta}.sync{aligned}", "- u32", "barrier(thread, {a}, {site})"),
    Row("{O:bar,barrier}{cta}.red.popc{aligned}.u32", "u32 u32 pred", "barrier_count(thread, {a}, {b}, {site})"),
    Row("{O:bar,barrier}{cta}.red.{P:and,or}{aligned}.pred", "pred u32 pred", "barrier_{P}(thread, {a}, {b}, {site})"),
]

ADDRESSES = [
    Row("cvta.shared.u64", "u64 u64", "shared_to_generic({a})"),
    Row("cvta.to.shared.u64", "u64 u64", "generic_to_shared({a})"),
    Row("cvta.{S:global,const,local,param}.u64", "u64 u64", "{a}"),
    Row("cvta.to.{S:global,const,local,param}.u64", "u64 u64", "{a}"),
    Row("isspacep.{S:global,shared,local}", "pred u64", "is_{S}({a})"),
]

# Of no effect here: launches, blocks and accesses are in order anyway.
NOTHING = [
    Row("membar.{L:cta,gl,sys}", "-", ""),
    Row("fence{sem}.{L:cta,cluster,gpu,sys}", "-", ""),
    Row("nanosleep.u32", "- u32", ""),
    Row("griddepcontrol.{L:launch_dependents,wait}", "-", ""),
    Row("prefetch.{S:global,local}.{L:L1,L2}", "- address", ""),
    Row("prefetch.{L:L1,L2}", "- address", ""),
    Row("prefetchu.L1", "- address", ""),
]

ROWS = [*INTEGERS, *LOGIC, *SELECTION, *FLOATS, *half_rows(), *WARP, *ADDRESSES, *NOTHING]

# What a reader may look for here in vain, and why. Matched at the start of the opcode.
REFUSED = {
    "call": "device functions that were not inlined",
    "activemask": "activemask: which lanes happen to run together is no basis for a result; pass masks",
    "elect": "elect.sync",
    "cp.": "asynchronous copies and TMA",
    "mbarrier": "mbarrier",
    "mma": "tensor cores",
    "wmma": "tensor cores",
    "wgmma": "tensor cores",
    "tcgen05": "tensor cores",
    "ldmatrix": "tensor cores",
    "stmatrix": "tensor cores",
    "tex": "textures",
    "tld4": "textures",
    "suld": "surfaces",
    "sust": "surfaces",
    "bar.arrive": "barriers of a part of the block",
    "barrier.arrive": "barriers of a part of the block",
    "barrier.cluster": "clusters",
    "mapa": "clusters",
    "getctarank": "clusters",
    "vote.any": "collectives without .sync",
    "vote.all": "collectives without .sync",
    "vote.ballot": "collectives without .sync",
    "shfl.up": "collectives without .sync",
    "shfl.down": "collectives without .sync",
    "shfl.bfly": "collectives without .sync",
    "shfl.idx": "collectives without .sync",
}
