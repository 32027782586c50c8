"""One instruction to one C++ statement: rows of the table, and the few forms that need more than an expression."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

from tests.ptx.translator.operands import Operands, vector
from tests.ptx.translator.parse import Instruction, type_size
from tests.ptx.translator.table import REFUSED, ROWS, Row

ROUNDINGS = {
    "rn": "Rounding::nearest", "rz": "Rounding::zero", "rm": "Rounding::down", "rp": "Rounding::up",
}  # fmt: skip
TO_INTEGER = {
    "rni": "ToInteger::nearest", "rzi": "ToInteger::zero", "rmi": "ToInteger::down", "rpi": "ToInteger::up",
}  # fmt: skip
WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
MODIFIERS = {
    "{rnd}": r"(?:\.(?P<rnd>rn|rz|rm|rp))?",
    "{rnd!}": r"\.(?P<rnd>rn|rz|rm|rp)",
    "{ftz}": r"(?P<ftz>\.ftz)?",
    "{sat}": r"(?P<sat>\.sat)?",
    "{cta}": r"(?:\.cta)?",
    "{aligned}": r"(?:\.aligned)?",
    "{sem}": r"(?:\.sc|\.acq_rel|\.acquire|\.release)?",
}

NUMBERS = "u8|s8|u16|s16|u32|s32|u64|s64|f16|bf16|f32|f64"
MEMORY_TYPES = "b8|u8|s8|b16|u16|s16|b32|u32|s32|b64|u64|s64|f16|bf16|f16x2|bf16x2|f32|f64"
# Hints to caches change nothing that can be seen here.
HINTS = r"(?:\.(?:ca|cg|cs|lu|cv|wb|wt))?"
LEVELS = r"(?:\.L[12]::(?:evict_\w+|no_allocate|64B|128B|256B))*"
SCOPE = r"(?:\.cta|\.cluster|\.gpu|\.sys)"
ORDERS = rf"(?:\.weak|(?P<volatile>\.volatile)|\.(?P<atomic>relaxed|acquire|release){SCOPE})?"
SPACE = r"(?:\.(?P<space>param|shared|global|local|const)(?:::cta)?)?"
VECTOR = r"(?:\.v(?P<vector>2|4|8))?"

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNSIGNED_COMPARISONS = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
LOGICAL = {"and": "&", "or": "|", "xor": "^"}

Translate = Callable[[Operands, Instruction, "re.Match[str]"], str]
SPECIAL: list[tuple[re.Pattern[str], Translate]] = []


def form(pattern: str) -> Callable[[Translate], Translate]:
    """Marks the translation of all opcodes that match the pattern as a whole."""

    def register(translate: Translate) -> Translate:
        SPECIAL.append((re.compile(pattern), translate))
        return translate

    return register


def pattern_of(row: Row) -> re.Pattern[str]:
    pattern = row.form.replace(".", r"\.")
    for name, regex in MODIFIERS.items():
        pattern = pattern.replace(name, regex)
    pattern = re.sub(r"\{(\w):([\w,]+)\}", lambda match: f"(?P<{match[1]}>{match[2].replace(',', '|')})", pattern)
    return re.compile(pattern)


TABLE: defaultdict[str, list[tuple[re.Pattern[str], Row]]] = defaultdict(list)
for _row in ROWS:
    _first = re.match(r"\{O:([\w,]+)\}|(\w+)", _row.form)
    for _name in (_first[1] or _first[2]).split(","):
        TABLE[_name].append((pattern_of(_row), _row))


def translate(operands: Operands, instruction: Instruction) -> str:
    """The C++ statement of an instruction, without its guard."""
    operands.instruction = instruction
    for pattern, special in SPECIAL:
        if match := pattern.fullmatch(instruction.opcode):
            return special(operands, instruction, match)
    known_opcode = False
    for pattern, row in TABLE[instruction.opcode.split(".")[0]]:
        if match := pattern.fullmatch(instruction.opcode):
            known_opcode = True
            types = [t for t in row.operands.split() if t != "-"]
            if len(types) == len(instruction.operands):
                return from_row(operands, instruction, row, match)
    for start, reason in REFUSED.items():
        if instruction.opcode.startswith(start):
            raise operands.error(f"not supported ({reason})")
    raise operands.error("unknown operands of a known instruction" if known_opcode else "unknown instruction")


def from_row(operands: Operands, instruction: Instruction, row: Row, match: re.Match[str]) -> str:
    groups = {name: value for name, value in match.groupdict().items() if value}
    types = {**groups, "W": WIDER.get(groups.get("T", ""), "")}
    signature = [types.get(name, name) for name in row.operands.split()]
    has_result = signature[0] != "-"
    sources = instruction.operands[1:] if has_result else instruction.operands
    flush = "ftz" in groups
    values = {}
    for letter, operand, ptx_type in zip("abcd", sources, signature[1:], strict=False):
        if ptx_type == "address":
            operands.address(operand)
            continue
        value = operands.read(operand, ptx_type)
        values[letter] = f"flush({value})" if flush and ptx_type == "f32" else value
    directed = groups.get("rnd", "rn") != "rn"
    names = {**types, **values, "rounding": ROUNDINGS[groups.get("rnd", "rn")]}
    if "{site}" in row.code:
        names["site"] = str(operands.site())
    code = (row.directed if directed else row.code).format(**names)
    if flush and signature[0] == "f32":
        code = f"flush({code})"
    if "sat" in groups:
        code = f"saturate({code})"
    return operands.write(instruction.operands[0], signature[0], code) if has_result else f"{code};"


def count(operands: Operands, instruction: Instruction, *numbers: int) -> tuple[str, ...]:
    """The operands, if there are as many as one of `numbers`."""
    if len(instruction.operands) not in numbers:
        raise operands.error("unknown operands of a known instruction")
    return instruction.operands


# --- moving ------------------------------------------------------------------------------------------


@form(r"mov\.(?P<type>b16|u16|s16|b32|u32|s32|b64|u64|s64|f16|bf16|f32|f64|pred)")
def move(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    result, source = count(operands, instruction, 2)
    ptx_type = match["type"]
    if not (result + source).count("{"):
        return operands.write(result, ptx_type, operands.read(source, ptx_type))
    parts = vector(result if result.startswith("{") else source)
    if ptx_type not in ("b32", "b64") or len(parts) not in (2, 4):
        raise operands.error("unknown operands of a known instruction")
    bits = 8 * type_size(ptx_type) // len(parts)
    if result.startswith("{"):
        writes = [
            operands.write(part, f"b{bits}", f"(b{bits})(whole >> {i * bits})")
            for i, part in enumerate(parts)
            if part != "_"
        ]
        return f"{{ const {ptx_type} whole = {operands.read(source, ptx_type)}; {' '.join(writes)} }}"
    pieces = [f"({ptx_type}){operands.read(part, f'b{bits}')} << {i * bits}" for i, part in enumerate(parts)]
    return operands.write(result, ptx_type, " | ".join(pieces))


# --- memory ------------------------------------------------------------------------------------------


def access_of(match: re.Match[str], plain: str) -> str:
    """Volatile, relaxed, acquiring and releasing accesses do not race with each other."""
    return f"atomic_{plain}" if match["volatile"] or match["atomic"] else plain


@form(rf"ld{ORDERS}{SPACE}{HINTS}(?:\.nc)?{LEVELS}{VECTOR}\.(?P<type>{MEMORY_TYPES})")
def load(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    result, address = count(operands, instruction, 2)
    if match["atomic"] == "release":
        raise operands.error("unknown instruction")
    results, size = elements(operands, result, match)
    location = operands.location(address, match["space"] or "generic", size * len(results), access_of(match, "read"))
    if len(results) == 1:
        return operands.write(result, match["type"], f"load<{match['type']}>({location})")
    writes = [
        operands.write(register, match["type"], f"load<{match['type']}>(from + {i * size})")
        for i, register in enumerate(results)
        if register != "_"
    ]
    return f"{{ const char* from = {location}; {' '.join(writes)} }}"


@form(rf"st{ORDERS}{SPACE}{HINTS}{LEVELS}{VECTOR}\.(?P<type>{MEMORY_TYPES})")
def store(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    address, source = count(operands, instruction, 2)
    if match["atomic"] == "acquire":
        raise operands.error("unknown instruction")
    sources, size = elements(operands, source, match)
    location = operands.location(address, match["space"] or "generic", size * len(sources), access_of(match, "write"))
    ptx_type = match["type"]
    writes = [f"store<{ptx_type}>(to + {i * size}, {operands.read(s, ptx_type)});" for i, s in enumerate(sources)]
    return f"{{ char* to = {location}; {' '.join(writes)} }}"


def elements(operands: Operands, operand: str, match: re.Match[str]) -> tuple[list[str], int]:
    """The registers of a load or a store, and the size of each."""
    registers, size = vector(operand), type_size(match["type"])
    if len(registers) != int(match["vector"] or 1) or size * len(registers) > 32:
        raise operands.error("unknown operands of a known instruction")
    return registers, size


ATOMIC_TYPES = {
    "add": "u32 s32 u64 f32 f64", "min": "u32 s32 u64 s64", "max": "u32 s32 u64 s64", "and": "b32 b64", "or": "b32 b64",
    "xor": "b32 b64", "exch": "b32 b64", "inc": "u32", "dec": "u32", "cas": "b16 b32 b64",
}  # fmt: skip


@form(
    rf"(?P<name>atom|red)(?:\.relaxed|\.acquire|\.release|\.acq_rel)?{SCOPE}?{SPACE}{SCOPE}?"  # nvcc puts .sys behind
    r"\.(?P<operation>add|min|max|and|or|xor|exch|cas|inc|dec)\.(?P<type>[usbf]\d+)"
)
def atomic(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    operation, ptx_type, space = match["operation"], match["type"], match["space"] or "generic"
    if ptx_type not in ATOMIC_TYPES[operation].split() or space not in ("generic", "global", "shared"):
        raise operands.error("unknown instruction")
    given = count(operands, instruction, 2 + (match["name"] == "atom") + (operation == "cas"))
    result, address, *sources = given if match["name"] == "atom" else ("_", *given)
    location = operands.location(address, space, type_size(ptx_type), "atomic_write")
    values = ", ".join([location, *(operands.read(source, ptx_type) for source in sources)])
    return operands.write(result, ptx_type, f"atomic_{operation}<{ptx_type}>({values})")


# --- comparing ---------------------------------------------------------------------------------------


def comparison(operands: Operands, match: re.Match[str], a: str, b: str) -> str:
    ptx_type, name = match["type"], match["comparison"]
    x, y = operands.read(a, ptx_type), operands.read(b, ptx_type)
    if ptx_type in ("f16", "bf16"):
        half = "Half" if ptx_type == "f16" else "Bfloat"
        x, y = f"widen<{half}>({x})", f"widen<{half}>({y})"
    elif ptx_type not in ("f32", "f64"):
        signs = COMPARISONS if ptx_type[0] != "b" else {"eq": "==", "ne": "!="}
        if ptx_type[0] == "u":
            signs = signs | UNSIGNED_COMPARISONS
        if name not in signs or match["ftz"]:
            raise operands.error("unknown instruction")
        return f"({x} {signs[name]} {y})"
    if match["ftz"]:
        x, y = f"flush({x})", f"flush({y})"
    if name in ("num", "nan"):
        return f"{'!' if name == 'num' else ''}unordered({x}, {y})"
    if name.endswith("u") and name[:-1] in COMPARISONS:
        return f"(unordered({x}, {y}) || {x} {COMPARISONS[name[:-1]]} {y})"
    if name == "ne":
        return f"(!unordered({x}, {y}) && {x} != {y})"
    if name not in COMPARISONS:
        raise operands.error("unknown instruction")
    return f"({x} {COMPARISONS[name]} {y})"


COMPARE = r"\.(?P<comparison>[a-z]+)(?:\.(?P<logical>and|or|xor))?(?P<ftz>\.ftz)?"
COMPARED = r"\.(?P<type>b16|u16|s16|b32|u32|s32|b64|u64|s64|f16|bf16|f32|f64)"


@form(rf"setp{COMPARE}{COMPARED}")
def set_predicate(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    results, a, b, *more = count(operands, instruction, 4 if match["logical"] else 3)
    compared = comparison(operands, match, a, b)
    names = [name.strip() for name in results.split("|")]
    extra = f" {LOGICAL[match['logical']]} {operands.read(more[0], 'pred')}" if match["logical"] else ""
    if len(names) == 1:
        return operands.write(names[0], "pred", f"{compared}{extra}")
    # Both results before either is written: one of them may be an operand.
    writes = [
        operands.write(name, "pred", value) for name, value in zip(names, ("yes", "no"), strict=True) if name != "_"
    ]
    return f"{{ const bool holds = {compared}, yes = holds{extra}, no = !holds{extra}; {' '.join(writes)} }}"


@form(rf"set{COMPARE}\.(?P<result>u32|s32|f32){COMPARED}")
def set_number(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    result, a, b, *more = count(operands, instruction, 4 if match["logical"] else 3)
    holds = comparison(operands, match, a, b)
    if match["logical"]:
        holds = f"({holds} {LOGICAL[match['logical']]} {operands.read(more[0], 'pred')})"
    return operands.write(
        result, match["result"], f"({holds} ? {'1.f : 0.f' if match['result'] == 'f32' else '-1 : 0'})"
    )


# --- converting --------------------------------------------------------------------------------------


def is_integer(ptx_type: str) -> bool:
    return ptx_type[0] in "us"


def half_format(ptx_type: str) -> str:
    return {"f16": "Half", "bf16": "Bfloat"}.get(ptx_type, "")


@form(
    r"cvt(?:\.(?P<integral>rni|rzi|rmi|rpi)|\.(?P<rnd>rn|rz|rm|rp))?(?P<ftz>\.ftz)?(?P<sat>\.sat)?"
    rf"\.(?P<to>{NUMBERS})\.(?P<from>{NUMBERS})"
)
def convert(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    result, operand = count(operands, instruction, 2)
    to, source, rnd, integral, sat = (match[name] for name in ("to", "from", "rnd", "integral", "sat"))
    value = operands.read(operand, source)
    if match["ftz"]:
        if "f32" not in (to, source):
            raise operands.error("unknown instruction")
        value = f"flush({value})" if source == "f32" else value

    if is_integer(to) and is_integer(source):
        known = not rnd and not integral
        code = f"saturate_integer<{to}>({value})" if sat else f"({to}){value}"
    elif is_integer(to):
        known = bool(integral)
        wide = f"(f32)widen<{half_format(source)}>({value})" if half_format(source) else value
        code = f"float_to_integer<{to}>({TO_INTEGER.get(integral)}, {wide})"
    elif is_integer(source):
        known, code = bool(rnd), from_integer(to, source, rnd, value)
        known = known and bool(code)
    else:
        known, code = between_floats(to, source, rnd, integral, value)
    if not known:
        raise operands.error("unknown instruction")
    if sat and not is_integer(to):
        if half_format(to):
            raise operands.error("unknown instruction")
        code = f"saturate({code})"
    if match["ftz"] and to == "f32":
        code = f"flush({code})"
    return operands.write(result, to, code)


def from_integer(to: str, source: str, rnd: str, value: str) -> str:
    rounding = ROUNDINGS.get(rnd)
    if half_format(to):
        exact_first = type_size(source) < 8 or to == "f16"  # beyond 2^53 a half is infinite anyway
        return f"narrow<{half_format(to)}>((f64){value}, {rounding})" if exact_first else ""
    if rnd == "rn" or (to == "f64" and type_size(source) < 8):
        return f"({to}){value}"
    wide = value if type_size(source) >= 4 else f"(s32){value}"
    return f"rounded_convert<{to}>({rounding}, {wide})"


def between_floats(to: str, source: str, rnd: str, integral: str, value: str) -> tuple[bool, str]:
    """Whether the form is known, and its code."""
    rounding = ROUNDINGS.get(rnd)
    if to == source:
        if half_format(to):
            widened = f"widen<{half_format(to)}>({value})"
            return bool(integral), f"narrow<{half_format(to)}>(round_to_integer({TO_INTEGER.get(integral)}, {widened}))"
        if integral:
            return True, f"canonical(round_to_integer({TO_INTEGER[integral]}, {value}))"
        return not rnd, value
    if half_format(to):
        wide = f"widen<{half_format(source)}>({value})" if half_format(source) else f"(f64){value}"
        return bool(rnd) and not integral, f"narrow<{half_format(to)}>({wide}, {rounding})"
    if half_format(source):
        if source == "bf16" and to == "f32":
            return not rnd and not integral, f"as_f32((u32){value} << 16)"
        return not rnd and not integral, f"({to})widen<{half_format(source)}>({value})"
    if to == "f64":
        return not rnd and not integral, f"(f64){value}"
    if rnd == "rn":
        return not integral, f"canonical((f32){value})"
    return bool(rnd), f"rounded_convert<f32>({rounding}, {value})"


@form(r"cvt\.(?P<rnd>rn|rz)\.(?P<to>f16x2|bf16x2)\.f32")
def convert_pair(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    result, high, low = count(operands, instruction, 3)
    values = f"{operands.read(high, 'f32')}, {operands.read(low, 'f32')}"
    code = f"narrow_pair<{half_format(match['to'].removesuffix('x2'))}>({values}, {ROUNDINGS[match['rnd']]})"
    return operands.write(result, match["to"], code)


# --- lanes that look at each other -------------------------------------------------------------------


@form(r"shfl\.sync\.(?P<mode>up|down|bfly|idx)\.b32")
def shuffle(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    results, *given = count(operands, instruction, 5)
    a, b, c, mask = (operands.read(operand, "u32") for operand in given)
    mode = {"bfly": "xor", "idx": "index"}.get(match["mode"], match["mode"])
    call = f"shuffle(thread, Collective::shuffle_{mode}, {a}, {b}, {c}, {mask}, {operands.site()})"
    value, _, in_range = (name.strip() for name in results.partition("|"))
    writes = [] if value == "_" else [operands.write(value, "b32", "shuffled.value")]
    if in_range and in_range != "_":
        writes.append(operands.write(in_range, "pred", "shuffled.in_range"))
    return f"{{ const Shuffled shuffled = {call}; {' '.join(writes)} }}"


@form(r"match\.all\.sync\.(?P<type>b32|b64)")
def match_all(operands: Operands, instruction: Instruction, match: re.Match[str]) -> str:
    results, a, mask = count(operands, instruction, 3)
    value, _, all_same = (name.strip() for name in results.partition("|"))
    lanes, source = operands.read(mask, "u32"), operands.read(a, match["type"])
    writes = [operands.write(value, "b32", "same")] if value != "_" else []
    if all_same and all_same != "_":
        writes.append(operands.write(all_same, "pred", "same != 0"))
    call = f"(u32)meet(thread, {lanes}, Collective::match_all, {source}, 0, {operands.site()})"
    return f"{{ const u32 same = {call}; {' '.join(writes)} }}"


# --- control -----------------------------------------------------------------------------------------


@form(r"ret(?:\.uni)?|exit")
def leave(operands: Operands, instruction: Instruction, _: re.Match[str]) -> str:
    count(operands, instruction, 0)
    return "return;"


@form(r"trap")
def trap(operands: Operands, instruction: Instruction, _: re.Match[str]) -> str:
    count(operands, instruction, 0)
    return f"trap(thread, {operands.site()});"
