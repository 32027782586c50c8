"""Reads `nvdisasm -hex`: the instructions of each function with their control fields.

A machine instruction has 128 bits since Volta. nvdisasm prints it as two 64-bit words, the upper one on a line of its
own. What the scheduler obeys is in bits 105-125 of it (Jia et al. 2018, "Dissecting the NVIDIA Volta GPU Architecture
via Microbenchmarking", section 2.1; unchanged up to sm_100):

    105-108  stall count: cycles until the warp's next instruction may issue
    109      yield hint
    110-112  write barrier: the scoreboard that is released when the result is there (7: none)
    113-115  read barrier: the scoreboard that is released when the operands were read (7: none)
    116-121  wait mask: the scoreboards that have to be free before this instruction issues
    122-125  reuse cache
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.sass.tools import run

_SECTION = re.compile(r"^\s*\.section\s+\.text\.([^,\s]+)")
_LABEL = re.compile(r"^([.$\w]+):\s*$")
_TEXT = re.compile(
    r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/\s+(?:(?P<guard>@!?U?P\w+)\s+)?(?P<opcode>[A-Z][\w.]*)\s*(?P<operands>.*?)\s*;"
    r"\s*/\* 0x[0-9a-f]{16} \*/\s*$"
)
_CONTROL = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/\s*$")
_TARGET = re.compile(r"\.L_\w+")
_NONE = 7


@dataclass(frozen=True)
class Instruction:
    address: int
    guard: str
    """The predicate in front, as in "@!P1"; empty if there is none."""
    opcode: str
    operands: str
    stall: int
    write_barrier: int | None
    read_barrier: int | None
    waits: frozenset[int]

    @cached_property
    def name(self) -> str:
        """The opcode without modifiers."""
        return self.opcode.split(".")[0]

    @property
    def targets(self) -> list[str]:
        return _TARGET.findall(self.operands)

    @cached_property
    def load_width(self) -> int:
        """Bytes per thread that are loaded from global memory; 0 if this is no global load.

        A generic load (LD) counts. Asynchronous copies (LDGSTS, UBLKCP) don't: they are not awaited by scoreboards.
        """
        if self.name not in ("LDG", "LD"):
            return 0
        return next((_WIDTHS[part] for part in self.opcode.split(".") if part in _WIDTHS), 4)

    @property
    def is_local(self) -> bool:
        """Whether it reaches for local memory: a spill, or an array that is not in registers."""
        return self.name in ("LDL", "STL")


_WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}


@dataclass
class Function:
    name: str
    """Mangled."""
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """The index of the instruction that a label stands before."""


def disassemble(cubin: Path) -> dict[str, Function]:
    return parse(run("nvdisasm", "-c", "-hex", cubin))


def parse(listing: str) -> dict[str, Function]:
    """The functions by mangled name. A line that looks like an instruction and isn't understood is an error."""
    functions: dict[str, Function] = {}
    function, head = None, None
    for number, line in enumerate(listing.splitlines(), 1):
        if section := _SECTION.match(line):
            function = functions[section[1]] = Function(section[1])
        elif function is None:
            continue
        elif head is not None:
            control = _CONTROL.match(line)
            if control is None:
                raise ValueError(f"nvdisasm, line {number}: expected the upper word of an instruction; got {line!r}")
            function.instructions.append(_instruction(head, int(control[1], 16)))
            head = None
        elif label := _LABEL.match(line):
            function.labels[label[1]] = len(function.instructions)
        elif line.lstrip().startswith("/*"):
            head = _TEXT.match(line)
            if head is None:
                raise ValueError(f"nvdisasm, line {number}: expected an instruction; got {line!r}")
    return functions


def _instruction(head: re.Match[str], upper: int) -> Instruction:
    control = upper >> (105 - 64)
    write, read, waits = control >> 5 & 7, control >> 8 & 7, control >> 11 & 63
    return Instruction(
        address=int(head["address"], 16),
        guard=head["guard"] or "",
        opcode=head["opcode"],
        operands=head["operands"],
        stall=control & 15,
        write_barrier=None if write == _NONE else write,
        read_barrier=None if read == _NONE else read,
        waits=frozenset(board for board in range(6) if waits >> board & 1),
    )


def block_sizes(cubin: Path) -> dict[str, int]:
    """Threads per block that a kernel was compiled for (`__launch_bounds__`), by mangled name, where it says so."""
    dump = run("cuobjdump", "-elf", cubin)
    found = {}
    for name, attributes in re.findall(r"^\.nv\.info\.(\S+)\n(.*?)(?=^\.|\Z)", dump, re.S | re.M):
        bounds = re.search(r"EIATTR_MAX_THREADS\s+Format:\s+EIFMT_SVAL\s+Value:\s+(0x\w+) (0x\w+) (0x\w+)", attributes)
        if bounds is not None:
            x, y, z = (int(value, 16) for value in bounds.groups())
            found[name] = x * y * z
    return found
