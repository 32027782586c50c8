"""What single instructions compute, against NumPy and Python's integers."""

from __future__ import annotations

import ctypes
import math
from fractions import Fraction

import numpy as np
import pytest

CORNERS_32 = np.array(
    [0, 1, 2, 3, 5, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0x12345678, 0xDEADBEEF]
)
CORNERS_64 = [0, 1, 2, 7, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1, 0x123456789ABCDEF0, 10**18]
FLOATS = np.array(
    [
        0,
        -0.0,
        1,
        -1,
        0.1,
        1.5,
        -2.5,
        3.5,
        1e-40,
        -1e-45,
        3e38,
        -3e38,
        np.inf,
        -np.inf,
        np.nan,
        2**24 + 2,
        65504,
        65520,
        6e-8,
    ],
    np.float32,
)


@pytest.fixture
def units(library, arch):
    return library("units")


def run(lib, name: str, result, *inputs: np.ndarray, per_thread: int = 1) -> np.ndarray:
    """One thread per element; all inputs of one length."""
    count = len(inputs[0])
    out = np.zeros(count * per_thread, result)
    held = [np.ascontiguousarray(values) for values in inputs]
    error = getattr(lib, name)(count, *(ctypes.c_void_p(values.ctypes.data) for values in (out, *held)))
    assert error == 0, lib.last_report().decode()
    return out


def pairs(values, other=None):
    """Every value with every other one."""
    x, y = np.meshgrid(values, values if other is None else other, indexing="ij")
    return x.ravel(), y.ravel()


def same(found: np.ndarray, expected) -> None:
    """Equal in every bit, except that any NaN is as good as another."""
    expected = np.asarray(expected, found.dtype)
    if found.dtype.kind == "f":
        assert (np.isnan(found) == np.isnan(expected)).all()
        bits = f"u{found.dtype.itemsize}"
        expected, found = (np.where(np.isnan(values), 0, values).view(bits) for values in (expected, found))
    np.testing.assert_array_equal(found, expected)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def truncated(a: int, b: int) -> int:
    """a / b towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


# --- integers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bits"), [("bfe_u32", 32), ("bfe_s32", 32), ("bfe_s64", 64)])
def test_bit_field_extract(units, name, bits):
    """Bit by bit: past the top come zeros, or the sign: the last bit of the field, at most the top one."""
    fields = [(p, n) for p in (0, 1, 7, 31, 32, 63, 200) for n in (0, 1, 8, 31, 32, 64, 255)]
    values = [0x80000000DEADBEEF, 0x7FFFFFFF12345678]
    cases = [(value & ((1 << bits) - 1), p, n) for value in values for p, n in fields]
    expected = []
    for value, p, n in cases:
        sign = value >> min(p + n - 1, bits - 1) & 1 if n and "_s" in name else 0
        digits = [(value >> (p + i) & 1 if p + i < bits else sign) if i < n else sign for i in range(bits)]
        expected.append(sum(digit << i for i, digit in enumerate(digits)))
    columns = [
        np.array(column, np.uint64).astype(kind)
        for column, kind in zip(zip(*cases, strict=True), (f"u{bits // 8}", "u4", "u4"), strict=False)
    ]
    same(run(units, name, f"u{bits // 8}", *columns), expected)


def test_bit_field_insert(units):
    cases = [(0xABCDEF01, 0x11111111, p, n) for p in (0, 4, 31, 32, 100) for n in (0, 1, 8, 32, 255)]
    expected = []
    for value, into, p, n in cases:
        for i in range(min(n, 32)):
            if p + i < 32:
                into = into & ~(1 << (p + i)) | (value >> i & 1) << (p + i)
        expected.append(into)
    same(run(units, "bfi", np.uint32, *np.array(cases, np.uint32).T), expected)


def test_permute_bytes(units):
    selectors = np.array([0x3210, 0x7654, 0x0123, 0x4140, 0xBA98, 0xFEDC, 0x8F0C], np.uint32)
    x, y = np.full(7, 0x83123456, np.uint32), np.full(7, 0x9ABCDEF0, np.uint32)
    source = (0x9ABCDEF083123456).to_bytes(8, "little")
    expected = []
    for selector in selectors.tolist():
        nibbles = [selector >> (4 * i) & 15 for i in range(4)]
        picked = [source[n] if n < 8 else 255 * (source[n - 8] >> 7) for n in nibbles]
        expected.append(int.from_bytes(bytes(picked), "little"))
    same(run(units, "prmt", np.uint32, x, y, selectors), expected)


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
def test_funnel_shift(units, mode):
    low, count = pairs(CORNERS_32, np.array([0, 1, 5, 31, 32, 33, 63]))
    high = np.roll(low, 5)
    triples = list(zip(low.tolist(), high.tolist(), count.tolist(), strict=True))
    shifts = [c % 32 if mode == "wrap" else min(c, 32) for _, _, c in triples]
    left = [((h << 32 | lo) << s >> 32) & 0xFFFFFFFF for (lo, h, _), s in zip(triples, shifts, strict=True)]
    right = [((h << 32 | lo) >> s) & 0xFFFFFFFF for (lo, h, _), s in zip(triples, shifts, strict=True)]
    inputs = [values.astype(np.uint32) for values in (low, high, count)]
    same(run(units, f"shf_l_{mode}", np.uint32, *inputs), left)
    same(run(units, f"shf_r_{mode}", np.uint32, *inputs), right)


def test_shifts_past_the_width(units):
    x, n = (values.astype(np.uint32) for values in pairs(CORNERS_32, np.array([0, 1, 31, 32, 33, 0xFFFFFFFF])))
    left = [(a << min(c, 32)) & 0xFFFFFFFF for a, c in zip(x.tolist(), n.tolist(), strict=True)]
    right = [(signed(a, 32) >> min(c, 32)) & 0xFFFFFFFF for a, c in zip(x.tolist(), n.tolist(), strict=True)]
    same(run(units, "shl_b32", np.uint32, x, n), left)
    same(run(units, "shr_s32", np.uint32, x, n), right)


def test_high_products_and_quotients(units):
    a, b = (np.array(values, np.uint64) for values in pairs(np.array(CORNERS_64, object)))
    ints = list(zip(a.tolist(), b.tolist(), strict=True))
    same(run(units, "mul_hi_u64", np.uint64, a, b), [x * y >> 64 for x, y in ints])
    signs = [(signed(x, 64), signed(y, 64)) for x, y in ints]
    same(run(units, "mul_hi_s64", np.int64, a, b), [x * y >> 64 for x, y in signs])
    quotients = [signed(truncated(x, y), 64) if y else -1 for x, y in signs]
    same(run(units, "div_s64", np.int64, a, b), quotients)
    same(run(units, "rem_s64", np.int64, a, b), [x - truncated(x, y) * y if y else x for x, y in signs])


def test_products_and_sums_of_32_bits(units):
    a, b = (values.astype(np.uint32) for values in pairs(CORNERS_32))
    signs = [(signed(x, 32), signed(y, 32)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    addend = np.full(len(a), -7, np.int64)
    wide = [signed(x * y - 7, 64) for x, y in signs]
    same(run(units, "mad_wide_s32", np.int64, a, b, addend), wide)
    high = [signed((x * y >> 32) - 7, 32) for x, y in signs]
    same(run(units, "mad_hi_s32", np.int32, a, b, addend.astype(np.int32)), high)
    saturated = [min(max(x + y, -(2**31)), 2**31 - 1) for x, y in signs]
    same(run(units, "add_sat_s32", np.int32, a, b), saturated)
    remainders = [x % y if y else x for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    same(run(units, "rem_u32", np.uint32, a, b), remainders)


def test_carries(units):
    a, b = (np.array(values, np.uint64) for values in pairs(np.array(CORNERS_64, object)))
    sums = run(units, "add_carry", np.uint64, a, b, per_thread=2).reshape(-1, 2).tolist()
    assert [low + (high << 64) for low, high in sums] == [x + y for x, y in zip(a.tolist(), b.tolist(), strict=True)]


def test_counting_bits(units):
    x = CORNERS_32.astype(np.uint32)
    leading = [max(v if v >= 0 else ~v, 0).bit_length() - 1 for v in (signed(v, 32) for v in x.tolist())]
    same(run(units, "bfind_s32", np.uint32, x), np.array(leading, np.int32).view(np.uint32))
    shifts = [32 - v.bit_length() if v else 0xFFFFFFFF for v in x.tolist()]
    same(run(units, "bfind_shift_u32", np.uint32, x), shifts)
    same(run(units, "brev_b32", np.uint32, x), [int(f"{v:032b}"[::-1], 2) for v in x.tolist()])
    wide = np.array(CORNERS_64, np.uint64)
    same(run(units, "clz_b64", np.uint32, wide), [64 - v.bit_length() for v in CORNERS_64])
    same(run(units, "popc_b64", np.uint32, wide), [v.bit_count() for v in CORNERS_64])


def test_lop3_and_scopes(units):
    x, y = (values.astype(np.uint32) for values in pairs(CORNERS_32))
    z = np.roll(y, 3)
    same(run(units, "lop3", np.uint32, x, y, z), (x & y) | (~x & z))  # 0xCA: x chooses between y and z
    same(run(units, "scopes", np.uint32, x), x + np.uint32(1))


# --- floats ------------------------------------------------------------------------------------------


def test_fma_rounds_once(units):
    """1 + 2^-23 squared, less its leading part: what a rounded product would lose."""
    x = np.array([1 + 2**-23, 1 / 3, 1e-30, 3.0], np.float32)
    z = -(x * x)
    exact = [float(Fraction(float(a)) ** 2 + Fraction(float(c))) for a, c in zip(x, z, strict=True)]
    found = run(units, "fma_rn_f32", np.float32, x, x, z)
    same(found, np.array(exact, np.float32))
    assert found[0] != 0
    x, z = x.astype(np.float64) + 2**-50, -((x.astype(np.float64) + 2**-50) ** 2)
    exact = [float(Fraction(float(a)) ** 2 + Fraction(float(c))) for a, c in zip(x, z, strict=True)]
    same(run(units, "fma_rn_f64", np.float64, x, x, z), exact)


def directed(exact: Fraction, kind, up: bool):
    """The neighbour of a number above (up) or below."""
    nearest = kind(float(exact))
    if Fraction(float(nearest)) < exact and up:
        return np.nextafter(nearest, kind(np.inf))
    if Fraction(float(nearest)) > exact and not up:
        return np.nextafter(nearest, kind(-np.inf))
    return nearest


def test_directed_rounding(units):
    x, y = pairs(np.array([1, -1, 0.1, -0.3, 1e-9, 16777216, -3e-5], np.float32))
    sums = [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(x, y, strict=True)]
    keep = np.array([s != 0 for s in sums])  # the sign of an exact zero depends on the mode
    x, y, sums = x[keep], y[keep], [s for s in sums if s]
    same(run(units, "add_rz_f32", np.float32, x, y), [directed(s, np.float32, s < 0) for s in sums])
    same(run(units, "add_rp_f32", np.float32, x, y), [directed(s, np.float32, True) for s in sums])
    d = run(units, "add_rm_f64", np.float64, x.astype(np.float64) / 3, y.astype(np.float64) / 7)
    exact = [
        Fraction(a) + Fraction(b)
        for a, b in zip((x.astype(np.float64) / 3).tolist(), (y.astype(np.float64) / 7).tolist(), strict=True)
    ]
    same(d, [directed(s, np.float64, False) for s in exact])


def test_denormals_are_kept_without_ftz(units):
    x, y = np.array([1e-30, 1e-40, -1e-40], np.float32), np.array([1e-10, 1, 1], np.float32)
    same(run(units, "mul_f32", np.float32, x, y), x * y)
    same(run(units, "mul_ftz_f32", np.float32, x, y), np.array([0, 0, -0.0], np.float32))
    assert run(units, "ex2_f32", np.float32, np.float32([-140]))[0] == np.float32(2.0**-140)
    assert run(units, "ex2_ftz_f32", np.float32, np.float32([-140]))[0] == 0


def test_minimum_and_maximum(units):
    """A number beats NaN, -0 is less than +0; with .NaN it is NaN that wins, as 0x7fffffff."""
    x, y = pairs(FLOATS)
    signs = np.signbit(x) | np.signbit(y)
    least = np.where((x == 0) & (y == 0), np.where(signs, -0.0, 0.0), np.fmin(x, y))
    both = np.signbit(x) & np.signbit(y)
    most = np.where((x == 0) & (y == 0), np.where(both, -0.0, 0.0), np.fmax(x, y))
    same(run(units, "min_f32", np.float32, x, y), least)
    same(run(units, "max_f32", np.float32, x, y), most)
    found = run(units, "max_nan_f32", np.float32, x, y)
    nan = np.isnan(x) | np.isnan(y)
    same(found, np.where(nan, np.nan, most))
    assert (found.view(np.uint32)[nan] == 0x7FFFFFFF).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_plain_arithmetic(units):
    x, y = pairs(FLOATS)
    found = run(units, "mul_f32", np.float32, x, y)
    same(found, x * y)
    assert (found.view(np.uint32)[np.isnan(found)] == 0x7FFFFFFF).all()
    clipped = np.clip(np.nan_to_num(x + y, nan=0, posinf=1, neginf=0), 0, 1)
    same(run(units, "add_sat_f32", np.float32, x, y), np.where(clipped == 0, 0.0, clipped))
    same(run(units, "div_rn_f64", np.float64, x.astype(np.float64), y.astype(np.float64)), x.astype(np.float64) / y)
    same(run(units, "copysign_f32", np.float32, x, y), np.copysign(y, x))
    same(run(units, "sqrt_rn_f32", np.float32, x), np.sqrt(x))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_approximations_are_nearly_exact(units):
    x = np.linspace(-120, 120, 1000).astype(np.float32)
    np.testing.assert_allclose(run(units, "ex2_f32", np.float32, x), np.exp2(x.astype(np.float64)), rtol=2**-23)
    positive = np.abs(x) + np.float32(1e-3)
    np.testing.assert_allclose(run(units, "lg2_f32", np.float32, positive), np.log2(positive.astype(float)), rtol=3e-7)


def test_library_functions(units):
    """exp, log, tanh and sin as nvcc expands them into instructions."""
    x = np.linspace(0.1, 20, 200)
    found = run(units, "math", np.float64, x, per_thread=8).reshape(-1, 8)
    for column, function in enumerate((np.exp, np.log, np.tanh, lambda v: v**-0.5)):
        np.testing.assert_allclose(found[:, column], function(x), rtol=1e-15, atol=1e-15)
    single = x.astype(np.float32).astype(np.float64)
    for column, function in enumerate((np.exp, np.log, np.sin, np.exp), start=4):
        np.testing.assert_allclose(found[:, column], function(single), rtol=2e-6, atol=2e-7)


# --- conversions -------------------------------------------------------------------------------------


def clamped(value: float, rounding, low: int, high: int) -> int:
    if math.isnan(value):
        return 0
    return min(max(value if math.isinf(value) else rounding(value), low), high)


def test_floats_to_integers(units):
    x = np.concatenate([FLOATS, np.float32([0.5, -0.5, 2.5, -1.5, 2147483648, -2147483904, 4294967296, 7.9])])
    values = x.astype(float).tolist()
    for name, rounding in (("rni", round), ("rzi", math.trunc), ("rmi", math.floor)):
        expected = [clamped(v, rounding, -(2**31), 2**31 - 1) for v in values]
        same(run(units, f"cvt_{name}_s32_f32", np.int32, x), expected)
    expected = [clamped(v, math.ceil, 0, 2**32 - 1) for v in values]
    same(run(units, "cvt_rpi_u32_f32", np.uint32, x), expected)
    doubles = np.array([1e18, -1e19, 1e19, -3.9, np.nan])
    same(run(units, "cvt_rzi_s64_f64", np.int64, doubles), [10**18, -(2**63), 2**63 - 1, -3, -(2**63)])


def test_floats_to_floats(units):
    x = np.float32([0.5, 1.5, -0.5, -2.5, 1e30, np.inf, np.nan])
    same(run(units, "cvt_rni_f32", np.float32, x), np.rint(x))
    same(run(units, "cvt_sat_f32", np.float32, x), np.float32([0.5, 1, 0, 0, 1, 1, 0]))
    doubles = np.array([0.1, -0.1, 1 / 3, 1e300])
    expected = [directed(Fraction(v), np.float32, v < 0) for v in doubles[:3].tolist()] + [np.finfo(np.float32).max]
    same(run(units, "cvt_rz_f32_f64", np.float32, doubles), expected)
    ints = np.array([16777217, -16777217, 2**31 - 1], np.int32)
    same(run(units, "cvt_rp_f32_s32", np.float32, ints), [16777218, -16777216, 2**31])


def test_narrow_integers(units):
    x = np.array([0, 127, 128, -128, -129, 300, -1, 0x7FFFFF80], np.int32)
    same(run(units, "cvt_sat_s8_s32", np.int32, x), np.clip(x, -128, 127))
    same(run(units, "cvt_s8", np.int32, x), x.astype(np.int8).astype(np.int32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_halves(units, arch):
    """Every half there is, and floats between halves, ties and subnormals among them."""
    halves = np.arange(0, 65536, 67, dtype=np.uint16)  # a block has 1024 threads
    same(run(units, "cvt_f32_f16", np.float32, halves), halves.view(np.float16).astype(np.float32))
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [FLOATS, rng.standard_normal(200) * 10.0 ** rng.integers(-9, 6, 200), [2049, 2051, 2.0**-25, 3 * 2.0**-25]]
    )
    x = x.astype(np.float32)
    same(run(units, "cvt_rn_f16_f32", np.uint16, x).view(np.float16), x.astype(np.float16))
    toward_zero = x.astype(np.float16)
    away = np.abs(toward_zero.astype(np.float32)) > np.abs(x)
    toward_zero[away] = np.nextafter(toward_zero[away], np.float16(0))
    same(run(units, "cvt_rz_f16_f32", np.uint16, x).view(np.float16), toward_zero)
    packed = run(units, "cvt_f16x2", np.uint32, x, np.roll(x, 1))
    same((packed >> 16).astype(np.uint16).view(np.float16), x.astype(np.float16))
    same(packed.astype(np.uint16).view(np.float16), np.roll(x, 1).astype(np.float16))


def test_bfloats(units):
    x = np.concatenate([FLOATS, np.random.default_rng(1).standard_normal(200)]).astype(np.float32)
    whole = x.view(np.uint32).astype(np.uint64)
    expected = (whole + 0x7FFF + (whole >> 16 & 1)) >> 16
    expected[np.isnan(x)] = 0x7FFF
    same(run(units, "cvt_rn_bf16_f32", np.uint16, x), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_arithmetic_of_halves(units):
    rng = np.random.default_rng(2)
    a, b, c = (rng.standard_normal(300).astype(np.float16) for _ in range(3))
    same(run(units, "add_f16", np.uint16, a, b).view(np.float16), a + b)
    exact = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)  # of such halves exact in double
    same(run(units, "fma_f16", np.uint16, a, b, c).view(np.float16), exact.astype(np.float16))


# --- lanes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["up", "down", "xor", "index"])
def test_shuffles(units, mode):
    """As CUDA's guide tells it: within segments of `width` lanes; out of range a lane reads itself."""
    x = np.arange(100, 132, dtype=np.uint32)
    for width in (32, 8, 2):
        for b in (0, 1, 3, 7, 8, 31):
            out = np.zeros(64, np.uint32)
            clamp = (0 if mode == "up" else 31) | (32 - width) << 8
            number = ["up", "down", "xor", "index"].index(mode)
            pointers = (ctypes.c_void_p(values.ctypes.data) for values in (out, x))
            assert units.shuffle_mode(number, *pointers, b, clamp) == 0
            for lane in range(32):
                start = lane // width * width
                source = {"up": lane - b, "down": lane + b, "xor": lane ^ b, "index": start + b % width}[mode]
                in_range = start <= source if mode == "up" else source < start + width
                assert out[2 * lane + 1] == in_range
                assert out[2 * lane] == x[source if in_range else lane]


def test_collectives(units, schedule):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 5, 64).astype(np.uint32)
    x[32:] |= 0x80000000
    found = run(units, "collectives", np.uint32, x, per_thread=6).reshape(2, 32, 6)
    for warp, values in enumerate(x.reshape(2, 32).tolist()):
        ballot = sum((v & 1) << lane for lane, v in enumerate(values))
        least = min(signed(v, 32) for v in values) & 0xFFFFFFFF
        for lane, value in enumerate(values):
            alike = sum(1 << other for other, v in enumerate(values) if v == value)
            odd = int((x & 1).sum())
            expected = [ballot, alike, 0xFFFFFFFF, sum(values) & 0xFFFFFFFF, least, odd]
            assert found[warp, lane].tolist() == expected
