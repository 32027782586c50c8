"""Conversions, half precision and comparisons, against exact fractions.

What a number is rounded to is found by search in the list of all the numbers that there are.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from tests.ptx.test_instructions import CORNERS_32, CORNERS_64, pairs, run, same, signed, truncated

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAN = 0x7FFF  # the canonical one of both formats
INFINITY = {"f16": 0x7C00, "bf16": 0x7F80}  # as bits
ROUNDINGS = ("rn", "rz", "rm", "rp")


@pytest.fixture
def numbers(library):
    return library("numbers", archs=(90,))


def decoded(kind: str, codes) -> np.ndarray:
    codes = np.asarray(codes, np.uint16)
    single = codes.view(np.float16) if kind == "f16" else (codes.astype(np.uint32) << 16).view(np.float32)
    return single.astype(np.float64)


def magnitudes(kind: str) -> list[Fraction]:
    """Of all finite codes in order, and what infinity's code would be if it were a number."""
    finite = decoded(kind, np.arange(INFINITY[kind]))
    return [*map(Fraction, finite.tolist()), Fraction(2) ** (16 if kind == "f16" else 128)]


MAGNITUDES = {kind: magnitudes(kind) for kind in INFINITY}


def encoded(kind: str, exact: Fraction, negative: bool, rounding: str = "rn") -> int:
    """The code of a number; `negative` is the sign, for a zero's sake."""
    known, size = MAGNITUDES[kind], abs(exact)
    below = min(bisect.bisect_right(known, size), len(known) - 1) - 1
    code = below
    if size != known[below]:
        middle = (known[below] + known[below + 1]) / 2
        away = rounding == ("rm" if negative else "rp")
        nearer = size > middle or (size == middle and below % 2 == 1)
        code += nearer if rounding == "rn" else away
    return code | 0x8000 if negative else code


def code_of(kind: str, value: float, exact: Fraction | None = None, rounding: str = "rn") -> int:
    if math.isnan(value):
        return NAN
    negative = math.copysign(1, value) < 0
    if math.isinf(value):
        return INFINITY[kind] | negative << 15
    return encoded(kind, Fraction(value) if exact is None else exact, negative, rounding)


# --- half precision ----------------------------------------------------------------------------------


def operand_codes(kind: str, count: int, seed: int) -> list[np.ndarray]:
    """Three arrays: special values with each other, anything at all, and numbers whose exponents are close."""
    rng = np.random.default_rng(seed)
    special = [0, 0x8000, 1, 0x8001, INFINITY[kind], INFINITY[kind] | 0x8000, NAN, INFINITY[kind] - 1, 0x3C00, 0xBF80]
    near = rng.integers(0x3800, 0x4200, (3, count)) | rng.integers(0, 2, (3, count)) << 15
    codes = np.concatenate([rng.choice(special, (3, 200)), rng.integers(0, 65536, (3, count)), near], axis=1)
    return list(codes.astype(np.uint16))


OPERATIONS: dict[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "fma": lambda a, b, c: a * b + c,
}


@pytest.mark.parametrize("kind", INFINITY)
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_of_halves_is_exact_and_rounded_once(numbers, name, kind):
    operation = OPERATIONS[name]
    codes = operand_codes(kind, 400, seed=len(name))[: 3 if name == "fma" else 2]
    expected = []
    for values in zip(*(decoded(kind, column).tolist() for column in codes), strict=True):
        rough = operation(*values)  # its sign and kind are those of the exact result
        finite = all(map(math.isfinite, values))
        expected.append(code_of(kind, rough, operation(*map(Fraction, values)) if finite else None))
    same(run(numbers, f"{name}_{kind}", np.uint16, *codes), expected)
    packed = [column[::-1].astype(np.uint32) << 16 | column for column in codes]
    whole = np.array(expected, np.uint32)
    same(run(numbers, f"{name}_{kind}x2", np.uint32, *packed), whole[::-1] << 16 | whole)


def test_the_product_and_the_sum_of_fma_are_not_rounded_apart(numbers):
    """(1 + 2^-10)^2 - (1 + 2^-9) = 2^-20; and ties of the product that the least addend breaks."""
    a, c = np.uint16([0x3C01]), np.uint16([0xBC02])
    same(run(numbers, "fma_f16", np.uint16, a, a, c), [code_of("f16", 2.0**-20)])
    tie, least = np.uint16([0x3C01, 0x3C01]), np.uint16([0x0001, 0x8001])
    half = np.uint16([0x3E00, 0x3E00])  # 1.5 * (1 + 2^-10) = 1.5 + 1.5 * 2^-10 lies between two halves
    same(run(numbers, "fma_f16", np.uint16, tie, half, least), [0x3E02, 0x3E01])


@pytest.mark.parametrize("kind", INFINITY)
def test_least_and_greatest_of_halves(numbers, kind):
    a, b, _ = operand_codes(kind, 300, seed=7)
    x, y = decoded(kind, a).tolist(), decoded(kind, b).tolist()
    for name, sign in (("min", 1), ("max", -1)):
        expected, strict = [], []
        for v, w in zip(x, y, strict=True):
            numbers_only = [u for u in (v, w) if not math.isnan(u)]
            best = min(numbers_only, key=lambda u: (sign * u, sign * math.copysign(1, u)), default=math.nan)
            expected.append(code_of(kind, best))
            strict.append(code_of(kind, best) if len(numbers_only) == 2 else NAN)
        same(run(numbers, f"{name}_{kind}", np.uint16, a, b), expected)
        same(run(numbers, f"{name}_nan_{kind}", np.uint16, a, b), strict)


@pytest.mark.parametrize("kind", INFINITY)
def test_functions_of_halves(numbers, kind):
    codes = np.concatenate([operand_codes(kind, 300, seed=8)[0], np.arange(0x8000 | 0x4B00, 0x8000 | 0x4C80, 4)])
    if kind == "bf16":  # 2^-126 and less: 2^x becomes subnormal
        codes = np.concatenate([codes[:700], np.arange(0xC2F8, 0xC310)])
    codes = codes.astype(np.uint16)
    values = decoded(kind, codes).tolist()
    same(run(numbers, f"abs_{kind}", np.uint16, codes), codes & 0x7FFF)
    same(run(numbers, f"neg_{kind}", np.uint16, codes), codes ^ 0x8000)
    close(kind, run(numbers, f"tanh_{kind}", np.uint16, codes), map(math.tanh, values))
    powers = [power_of_two(v) for v in values]
    if kind == "bf16":  # .ftz
        powers = [0.0 if p < 2.0**-126 else p for p in powers]
    close(kind, run(numbers, f"ex2_{kind}", np.uint16, codes), powers)


PAIRWISE = {"min": 2, "max": 2, "min_nan": 2, "max_nan": 2, "abs": 1, "neg": 1, "tanh": 1, "ex2": 1}


@pytest.mark.parametrize("kind", INFINITY)
@pytest.mark.parametrize("name", PAIRWISE)
def test_pairs_do_the_same_on_both_sides(numbers, name, kind):
    low = operand_codes(kind, 300, seed=9)[: PAIRWISE[name]]
    high = [column[::-1] for column in low]
    packed = [column[::-1].astype(np.uint32) << 16 | column for column in low]
    single = [run(numbers, f"{name}_{kind}", np.uint16, *columns).astype(np.uint32) for columns in (low, high)]
    same(run(numbers, f"{name}_{kind}x2", np.uint32, *packed), single[1] << 16 | single[0])


def power_of_two(exponent: float) -> float:
    return math.inf if exponent >= 1024 else 2.0**exponent


def close(kind: str, found: np.ndarray, expected) -> None:
    """Within one in the last place."""
    for code, value in zip(found.tolist(), expected, strict=True):
        assert abs(code - code_of(kind, value)) <= (0 if math.isnan(value) or value in (0, math.inf) else 1)


# --- conversions to and from half precision ----------------------------------------------------------


def singles(seed: int) -> np.ndarray:
    """Of every size, halfway between halves and bfloats too."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, 500, dtype=np.uint32)
    ties = (rng.integers(0, 2**16, 200, dtype=np.uint32) << 16) | rng.choice([0x8000, 0x7FFF, 0x8001], 200)
    halves = decoded("f16", rng.integers(0, INFINITY["f16"], 100))
    middles = (halves + decoded("f16", np.minimum(np.arange(100) + 1, 100))) / 2
    special = [0.0, -0.0, np.inf, -np.inf, 65504, 65519.996, 65520, -65520, 2.0**-24, 2.0**-25, 3.4e38]
    floats = np.float32([*middles, *special])
    return np.concatenate([bits, ties.astype(np.uint32), floats.view(np.uint32)]).view(np.float32)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", INFINITY)
def test_floats_to_halves(numbers, kind, rounding):
    x = singles(seed=1)
    expected = [code_of(kind, value, rounding=rounding) for value in x.tolist()]
    same(run(numbers, f"cvt_{rounding}_{kind}_f32", np.uint16, x), expected)


def test_other_conversions_of_halves(numbers):
    ints = np.array([0, 1, -1, 2049, 2051, -65519, 65520, 2**31 - 1, -(2**31), 257, 258, 16777217], np.int32)
    for kind in INFINITY:
        same(run(numbers, f"cvt_rn_{kind}_s32", np.uint16, ints), [code_of(kind, float(v)) for v in ints])
    doubles = np.array([1 + 2**-11 + 2**-40, 1 + 2**-11, 1e-8, -65520 + 2**-20, np.nan, -np.inf])
    same(run(numbers, "cvt_rn_f16_f64", np.uint16, doubles), [code_of("f16", v) for v in doubles.tolist()])
    codes = np.arange(0, 65536, 67, dtype=np.uint16)
    same(run(numbers, "cvt_f32_bf16", np.float32, codes), decoded("bf16", codes).astype(np.float32))
    halves = decoded("f16", codes)
    same(run(numbers, "cvt_f64_f16", np.float64, codes), halves)
    same(run(numbers, "cvt_rni_f16", np.uint16, codes), [code_of("f16", v) for v in np.rint(halves).tolist()])
    whole = [0 if math.isnan(v) else clamped(v, math.trunc, -(2**31), 2**31 - 1) for v in halves.tolist()]
    same(run(numbers, "cvt_rzi_s32_f16", np.int32, codes), whole)
    x, y = singles(seed=2), singles(seed=3)
    pair = [code_of("bf16", v) << 16 | code_of("bf16", w) for v, w in zip(x.tolist(), y.tolist(), strict=True)]
    same(run(numbers, "cvt_rn_bf16x2", np.uint32, x, y), pair)


# --- conversions -------------------------------------------------------------------------------------


def single_of(exact: Fraction, rounding: str) -> np.float32:
    """The neighbour that the rounding asks for; the nearest is found by distance."""
    start = np.float32(float(exact))  # perhaps rounded twice: the right one or a neighbour of it
    near = [start, np.nextafter(start, np.float32(np.inf)), np.nextafter(start, np.float32(-np.inf))]
    near = sorted({float(v) for v in near if np.isfinite(v)})
    below = [v for v in near if Fraction(v) <= exact]
    above = [v for v in near if Fraction(v) >= exact]
    if rounding == "rn":
        best = min(near, key=lambda v: (abs(Fraction(v) - exact), int(np.float32(v).view(np.uint32)) & 1))
        return np.float32(best)
    up = rounding == "rp" or (rounding == "rz" and exact < 0)
    return np.float32(min(above, default=np.inf) if up else max(below, default=-np.inf))


DOUBLES = np.array(
    [
        0.1, -0.1, 1 / 3, 1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-52, 1 + 3 * 2.0**-24, -1 - 2.0**-24, 16777217, -16777219,
        2.0**-150, 3 * 2.0**-150, -(2.0**-149), 1e-46, -1e-46, 2.0**-126 - 2.0**-160, 0.5, 1.0, 2.0**127 * 1.75,
    ]
)  # fmt: skip


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_doubles_to_floats(numbers, rounding):
    rng = np.random.default_rng(4)
    random_bits = rng.standard_normal(400) * 2.0 ** rng.integers(-155, 120, 400)
    x = np.concatenate([DOUBLES, random_bits])
    expected = [single_of(Fraction(v), rounding) for v in x.tolist()]
    expected = np.copysign(np.float32(expected), np.float32(np.sign(x)))  # also where it vanishes
    same(run(numbers, f"cvt_{rounding}_f32_f64", np.float32, x), expected)
    if rounding == "rp":
        same(run(numbers, "double2float_ru", np.float32, x), expected)


def test_doubles_beyond_the_floats(numbers):
    x = np.array([1e39, -1e39, np.inf, -np.inf, np.nan, 0.0, -0.0, 3.4028235677973366e38])  # the last: a tie
    most = np.finfo(np.float32).max
    specials = [np.inf, -np.inf, np.nan, 0.0, -0.0]
    same(run(numbers, "cvt_rn_f32_f64", np.float32, x), [np.inf, -np.inf, *specials, np.inf])
    same(run(numbers, "cvt_rz_f32_f64", np.float32, x), [most, -most, *specials, most])
    same(run(numbers, "cvt_rm_f32_f64", np.float32, x), [most, -np.inf, *specials, most])
    same(run(numbers, "cvt_rp_f32_f64", np.float32, x), [np.inf, -most, *specials, np.inf])
    y = np.array([1e-40, -1e-40, 1.5, -0.5, 0.25, np.nan, 2.0**-126, np.inf])
    same(run(numbers, "cvt_rn_sat_f32_f64", np.float32, y), np.float32([1e-40, 0, 1, 0, 0.25, 0, 2.0**-126, 1]))
    same(run(numbers, "cvt_rn_ftz_f32_f64", np.float32, y), np.float32([0, -0.0, *y[2:]]))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_integers_to_floats(numbers, rounding):
    rng = random.Random(5)
    whole = [*CORNERS_64, 2**24 + 1, 2**53 + 1, 2**53 + 3]
    whole += [rng.getrandbits(64) >> rng.randrange(64) for _ in range(300)]
    x = np.array(whole, np.uint64)
    signs = [signed(v, 64) for v in whole]
    same(run(numbers, f"cvt_{rounding}_f32_u64", np.float32, x), [single_of(Fraction(v), rounding) for v in whole])
    same(run(numbers, f"cvt_{rounding}_f32_s64", np.float32, x), [single_of(Fraction(v), rounding) for v in signs])
    expected = [double_of(v, rounding) for v in signs]
    same(run(numbers, f"cvt_{rounding}_f64_s64", np.float64, x), expected)


def double_of(value: int, rounding: str) -> float:
    nearest = float(value)  # Python rounds to nearest, ties to even
    if rounding == "rn" or int(nearest) == value:
        return nearest
    up = rounding == "rp" or (rounding == "rz" and value < 0)
    if (int(nearest) > value) == up:
        return nearest
    return math.nextafter(nearest, math.inf if up else -math.inf)


def clamped(value: float, rounding: Callable[[float], int], low: int, high: int) -> int:
    return min(max(value if math.isinf(value) else rounding(value), low), high)


TO_INTEGER = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


@pytest.mark.parametrize("rounding", TO_INTEGER)
def test_doubles_to_integers(numbers, rounding):
    whole = [0.5, 1.5, 2.5, -0.5, -1.5, 2.0**31 - 0.5, 2.0**31, -(2.0**31) - 0.5, 2.0**63, 1.8e19, 2.0**64, 1e300]
    x = np.array([*whole, -1e300, np.inf, -np.inf, 4503599627370496.5, 0.1, -0.1, -0.0])
    function = TO_INTEGER[rounding]
    low, high = -(2**31), 2**31 - 1
    same(run(numbers, f"cvt_{rounding}_s32_f64", np.int32, x), [clamped(v, function, low, high) for v in x.tolist()])
    expected = [clamped(v, function, 0, 2**64 - 1) for v in x.tolist()]
    same(run(numbers, f"cvt_{rounding}_u64_f64", np.uint64, x), np.array(expected, np.uint64))
    nearest = [v if math.isinf(v) else math.copysign(float(function(v)), v) for v in x.tolist()]
    same(run(numbers, f"cvt_{rounding}_f64", np.float64, x), nearest)


def test_not_a_number_to_integers(numbers):
    """0, but the highest bit alone where either side has 64 bits."""
    single, double = np.float32([np.nan]), np.array([np.nan])
    same(run(numbers, "cvt_rni_u32_f32", np.uint32, single), [0])
    same(run(numbers, "cvt_rni_s64_f32", np.int64, single), [-(2**63)])
    same(run(numbers, "cvt_rzi_s32_f64", np.int32, double), [-(2**31)])
    same(run(numbers, "cvt_rzi_u64_f64", np.uint64, double), np.uint64([2**63]))


def test_narrow_and_wide_integers(numbers):
    x = np.array([0, 127, 128, -128, -129, 255, 256, -1, 2**31 - 1, -(2**31)], np.int32)
    same(run(numbers, "cvt_sat_u8_s32", np.uint32, x), np.clip(x, 0, 255))
    same(run(numbers, "cvt_sat_u32_s32", np.uint32, x), np.clip(x, 0, None))
    same(run(numbers, "cvt_sat_s32_u32", np.int32, x.view(np.uint32)), [v if v >= 0 else 2**31 - 1 for v in x.tolist()])
    wide = np.array([0, 32767, 32768, -32768, -32769, 2**40, -(2**63)], np.int64)
    same(run(numbers, "cvt_sat_s16_s64", np.int16, wide), np.clip(wide, -32768, 32767))
    same(run(numbers, "cvt_u8_s32", np.uint32, x), x & 255)
    same(run(numbers, "cvt_s64_s32", np.int64, x), x)
    for name, kind in (("cvt_u64_u32", np.uint64), ("cvt_s64_u32", np.int64)):
        same(run(numbers, name, kind, x.view(np.uint32)), x.view(np.uint32))
    floats = np.float32([0.5, 1.5, 255.5, 300, -1, -128.5, 126.5, -200])
    same(run(numbers, "cvt_rni_u8_f32", np.uint32, floats), np.clip(np.rint(floats), 0, 255))
    same(run(numbers, "cvt_rni_s8_f32", np.int32, floats), np.clip(np.rint(floats), -128, 127))


# --- questions and choices ---------------------------------------------------------------------------


def test_kinds_of_floats(numbers):
    """Zeros count as normal (PTX ISA, "testp")."""
    x = np.float32([0, -0.0, 1, -1e-40, 1e-45, 2.0**-126, np.inf, -np.inf, np.nan, 3e38])
    magnitude = np.abs(x)
    subnormal = (magnitude > 0) & (magnitude < 2.0**-126)
    same(run(numbers, "finite_f32", np.uint32, x), np.isfinite(x))
    same(run(numbers, "infinite_f32", np.uint32, x), np.isinf(x))
    same(run(numbers, "number_f32", np.uint32, x), ~np.isnan(x))
    same(run(numbers, "notanumber_f32", np.uint32, x), np.isnan(x))
    same(run(numbers, "normal_f32", np.uint32, x), np.isfinite(x) & ~subnormal)
    same(run(numbers, "subnormal_f32", np.uint32, x), subnormal)
    y = np.array([0, -0.0, 1e-310, 2.0**-1022, np.inf, np.nan, -5e-324])
    same(run(numbers, "normal_f64", np.uint32, y), [1, 1, 0, 1, 0, 0, 0])
    same(run(numbers, "subnormal_f64", np.uint32, y), [0, 0, 1, 0, 0, 0, 1])


def test_selection_by_sign_and_set(numbers):
    c = np.array([0, 1, -1, -(2**31), 2**31 - 1], np.int32)
    a, b = np.arange(5, dtype=np.uint32), np.arange(10, 15, dtype=np.uint32)
    same(run(numbers, "slct_u32", np.uint32, a, b, c), [0, 1, 12, 13, 4])
    same(run(numbers, "slct_f64", np.float64, a.astype(float), b.astype(float), c), [0, 1, 12, 13, 4])
    ones = 0xFFFFFFFF
    same(run(numbers, "set_lt_u32_s32", np.uint32, c, c[::-1]), [ones, 0, 0, ones, 0])
    same(run(numbers, "set_hs_f32_u32", np.float32, c.view(np.uint32), c[::-1].view(np.uint32)), [0, 0, 1, 1, 1])
    x, y = np.float32([1, 2, np.nan, 0, np.inf]), np.float32([2, 1, 1, -0.0, np.nan])
    same(run(numbers, "set_ltu_u32_f32", np.uint32, x, y), [ones, 0, ones, 0, ones])
    same(run(numbers, "set_ne_s32_f32", np.int32, x, y), [-1, -1, 0, 0, 0])


def test_sums_of_absolute_differences(numbers):
    a, b = (values.astype(np.uint32) for values in pairs(CORNERS_32))
    c = np.roll(a, 5)
    rows = list(zip(a.tolist(), b.tolist(), c.tolist(), strict=True))
    same(run(numbers, "sad_u32", np.uint32, a, b, c), [(w + abs(u - v)) % 2**32 for u, v, w in rows])
    signs = [tuple(signed(v, 32) for v in row) for row in rows]
    same(run(numbers, "sad_s32", np.int32, a, b, c), [signed(w + abs(u - v), 32) for u, v, w in signs])
    wide = [np.array(values, np.uint64) for values in pairs(np.array(CORNERS_64, object))]
    signs = [tuple(signed(v, 64) for v in row) for row in zip(*(w.tolist() for w in wide), strict=True)]
    same(run(numbers, "sad_s64", np.int64, *wide, wide[0]), [signed(u + abs(u - v), 64) for u, v in signs])


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_quotients_and_remainders(numbers, bits):
    """Division by zero: all bits set, and the dividend (undefined in PTX; what sm_80 and later answer)."""
    corners = [0, 1, 2, 7, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2 ** (bits - 1) + 1, 2**bits - 1, 2**bits - 7]
    a, b = (np.array(values.tolist(), f"u{bits // 8}") for values in pairs(np.array(corners, object)))
    ints = list(zip(a.tolist(), b.tolist(), strict=True))
    quotients = np.array([x // y if y else 2**bits - 1 for x, y in ints], a.dtype)
    same(run(numbers, f"div_u{bits}", a.dtype, a, b), quotients)
    if bits != 32:  # rem.u32 is in test_instructions.py, as div and rem of s64 are
        remainders = np.array([x % y if y else x for x, y in ints], a.dtype)
        same(run(numbers, f"rem_u{bits}", a.dtype, a, b), remainders)
    if bits != 64:
        signs = [(signed(x, bits), signed(y, bits)) for x, y in ints]
        quotients = [signed(truncated(x, y), bits) if y else -1 for x, y in signs]
        remainders = [x - truncated(x, y) * y if y else x for x, y in signs]
        same(run(numbers, f"div_s{bits}", f"i{bits // 8}", a, b), quotients)
        same(run(numbers, f"rem_s{bits}", f"i{bits // 8}", a, b), remainders)
