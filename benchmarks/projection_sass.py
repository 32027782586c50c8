"""What the projection needs of the machine code, read once where nvcc is and kept in projection.json.

The gates' table (tests/sass/gates.json) holds one way through each kernel, the one that loads the most and is the
shortest of these: for the scan that is the way of log-probabilities, which need no exponentials. Here it is the way
that a tile of logits takes. A digest of the gates' values goes with it, so that a stale file is noticed without nvcc.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("projection.json")
GATES = Path(__file__).resolve().parent.parent / "tests" / "sass" / "gates.json"
ARCHS = ("sm_80", "sm_90")
SCANS = tuple(f"beam_topk_scan<{dtype}, false>" for dtype in ("float", "BFloat16", "Half"))
REGISTERS, RADIX, BACKTRACE = "beam_topk_select_registers<float>", "beam_topk_select_radix<float>", "backtrace_kernel"
DOT, ADDITIVE = "attention_decode<float, DotScore<float> >", "attention_decode<float, AdditiveScore<float, false> >"
TILES, COLUMNS = "additive_tiles<float, false, ScoreResult<float> >", "additive_columns<float, false>"
NAMES = (*SCANS, REGISTERS, RADIX, BACKTRACE, DOT, ADDITIVE, TILES, COLUMNS)

PIPES = {  # of the SM; what is not named here (branches, moves between uniform registers) only takes its issue slot
    "fma": ("FADD", "FMUL", "FFMA", "HADD2", "HMUL2", "HFMA2"),
    "imad": ("IMAD",),
    "alu": ("FMNMX", "FSETP", "FSEL", "ISETP", "IADD3", "VIADD", "LOP3", "SHF", "PRMT", "SEL", "LEA", "PLOP3", "MOV"),
    "special": ("MUFU", "F2F", "F2I", "I2F"),
    "fp64": ("DADD", "DMUL", "DFMA", "DSETP"),
    "shuffle": ("SHFL", "VOTE"),
}


def load() -> dict[str, Any]:
    """Raises:
    SystemExit: the gates' table has moved on, so that this is of other code.
    """
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if kept["gates"] != gates():
        raise SystemExit(f"benchmarks: {KEPT.name} is of other kernels: `python -m benchmarks.projection --read-sass`")
    return kept


def gates() -> dict[str, str]:
    """The compiler that the gates' table is of, and a digest of what it holds of the kernels here."""
    rows = {name: {arch: measured(name, arch) for arch in ARCHS} for name in NAMES}
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return {"nvcc": _table()["nvcc"], "digest": digest[:16]}


def measured(name: str, arch: str) -> dict[str, Any]:
    """Of a kernel, in the gates' table: registers, occupancy, loads in flight."""
    return _table()["kernels"][name][arch]["measured"]


def _table() -> dict[str, Any]:
    return json.loads(GATES.read_text(encoding="utf-8"))


def read() -> None:
    """Compiles the kernels, and writes what it finds; needs nvcc and nvdisasm."""
    from tests.sass.compile import compile_all, project_sources
    from tests.sass.disassembly import disassemble
    from tests.sass.flow import Flow
    from tests.sass.loops import regions
    from tests.sass.names import readable

    kernels: dict[str, dict[str, Any]] = {}
    for cubin in compile_all(project_sources(), ARCHS):
        functions = disassemble(cubin.path)
        for mangled, name in readable(cubin.resources).items():
            flow = Flow(functions[mangled])
            loops = regions(flow)[1]
            if name in SCANS:
                found = tile_of(flow)
            elif name in (REGISTERS, RADIX):
                found = select_of(loops)
            elif name == BACKTRACE:
                found = backtrace_of(loops)
            elif name in (DOT, ADDITIVE):
                found = decode_of(loops)
            elif name in (TILES, COLUMNS):
                found = tanh_of(loops)
            else:
                continue
            kernels.setdefault(name, {})[cubin.arch] = found
    lines = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(arch)}: {json.dumps(of[arch])}" for arch in ARCHS)
        + "\n  }"
        for name, of in sorted(kernels.items())
    ]
    text = f'{{\n "gates": {json.dumps(gates())},\n "kernels": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    KEPT.write_text(text, encoding="utf-8")


def tile_of(flow: Any) -> dict[str, Any]:
    """What a warp issues for one whole tile of logits: the way with the wide loads and all exponentials; of such ways
    the one with the fewest stalls, which takes no rare branch."""

    def merit(code: list[Any]) -> tuple[int, int, int]:
        wide = sum(instruction.load_width == 16 for instruction in code)
        exponentials = sum(instruction.opcode.startswith("MUFU.EX2") for instruction in code)
        return exponentials, wide, -sum(max(1, instruction.stall) for instruction in code)

    code = best_way(flow, merit)
    names = Counter(instruction.name for instruction in code)
    return {
        "slots": len(code),
        "cycles": sum(max(1, instruction.stall) for instruction in code),
        "wide_loads": sum(instruction.load_width == 16 for instruction in code),
        "exponentials": sum(instruction.opcode.startswith("MUFU.EX2") for instruction in code),
        "pipes": pipes_of(names),
        "mix": dict(names.most_common(8)),
    }


def pipes_of(names: dict[str, int]) -> dict[str, int]:
    """How many instructions each pipe gets."""
    counts = {pipe: sum(names.get(name, 0) for name in members) for pipe, members in PIPES.items()}
    return {pipe: count for pipe, count in counts.items() if count}


def best_way(flow: Any, merit: Callable[[list[Any]], tuple]) -> list[Any]:
    """The way from the entry to an exit with the highest merit; loops are gone through once at most."""
    best: dict[int, list[Any]] = {flow.order[0]: []}
    ended = []
    for block in flow.order:
        if block not in best:
            continue
        way = [*best[block], *flow.code(block)]
        if flow.blocks[block].leaves:
            ended.append(way)
        for target in flow.blocks[block].next:
            if not flow.is_back_edge(block, target):
                best[target] = max(way, best.get(target, way), key=merit)
    return max(ended, key=merit)


def select_of(loops: Iterable[Any]) -> dict[str, Any]:
    """Per warp: a look at 32 maxima (a row of 24 bytes in three loads, the maximum, the score), and joining a row."""
    looks = [  # the division tells whose maximum it is; what reads logits again has none
        loop for loop in loops if loop.innermost and sorted(loop.loads) == [4, 4, 8, 8, 8] and "I2F" in loop.mix
    ]
    rows = [loop for loop in loops if loop.depth == 1 and 2 in loop.loads and "DFMA" in loop.mix]
    # Bias and float64 have loops of their own; the costliest is taken.
    if not looks:
        raise SystemExit("benchmarks: no loop over the maxima in the machine code of a select kernel")
    look = max(looks, key=lambda loop: loop.fullest.slots)
    return {"look": _cost(look), "row": _cost(_only(rows, "loop that joins the tiles of a row"))}


def backtrace_of(loops: Iterable[Any]) -> dict[str, Any]:
    """Copying parents to shared memory, walking back through them, and fetching tokens for the slots found."""
    loops = [loop for loop in loops if loop.innermost]
    copy = [loop for loop in loops if loop.mix.get("STS") and loop.loads]
    walk = [loop for loop in loops if loop.mix.get("LDS") and not loop.loads]
    fetch = [loop for loop in loops if loop.mix.get("STG") and len(loop.loads) > 4]
    back = _only(walk, "walking loop")
    return {
        "copy": _cost(_only(copy, "copying loop")),
        "walk": {**_cost(back), "steps": back.mix["LDS"]},
        "fetch": _cost(_only(fetch, "fetching loop")),
    }


def decode_of(loops: Iterable[Any]) -> dict[str, Any]:
    """Per warp: scoring 512 columns of a key for a query, and adding four values of 128 columns to four contexts."""
    loops = [loop for loop in loops if loop.innermost]
    score = [loop for loop in loops if loop.mix.get("SHFL") == 5 and loop.mix.get("FFMA", 0) >= 16]
    value = [loop for loop in loops if loop.mix.get("FFMA") == 64 and loop.mix.get("LDS")]
    return {"score": _whole(_only(score, "loop over queries")), "value": _whole(_only(value, "loop over values"))}


def tanh_of(loops: Iterable[Any]) -> dict[str, Any]:
    """Per warp: a turn of the loop that has a reciprocal for every tanh, and how many of them."""
    loop = _only([loop for loop in loops if loop.innermost and loop.mix.get("MUFU", 0) >= 4], "loop over columns")
    return {**_whole(loop), "tanh": loop.mix["MUFU"]}


def _whole(loop: Any) -> dict[str, Any]:
    """The way with every branch taken: what is skipped is only there for few columns, queries, or masks."""
    return {"slots": loop.longest.slots, "cycles": loop.longest.cycles, "pipes": pipes_of(loop.mix)}


def _cost(loop: Any) -> dict[str, int]:
    cost = {"slots": loop.fullest.slots, "cycles": loop.fullest.cycles}
    return {**cost, "loads": len(loop.loads), "in_flight": len(loop.in_flight)}


def _only(found: list[Any], what: str) -> Any:
    if len(found) != 1:
        raise SystemExit(f"benchmarks: expected one {what}; the machine code has {len(found)}")
    return found[0]
