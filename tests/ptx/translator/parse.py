"""Reads a PTX file: kernels with their registers, variables, labels and instructions, each with its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path


class PtxError(Exception):
    """What is wrong, with file, line and text."""


@dataclass(frozen=True)
class Variable:
    """Of any space but .param. `count` is None for an array without a size: dynamic shared memory."""

    name: str
    space: str
    type: str
    align: int
    count: int | None
    initial: str

    @property
    def size(self) -> int:
        return type_size(self.type) * (self.count or 0)


@dataclass(frozen=True)
class Parameter:
    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Instruction:
    guard: str  # "%p1", "!%p1" or ""
    opcode: str  # "ld.shared.v4.f32"
    operands: tuple[str, ...]
    line: int
    text: str
    source: str  # "file.cu:12"; "" without -lineinfo


@dataclass(frozen=True)
class Label:
    name: str


@dataclass
class Kernel:
    name: str
    text: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    parameter_bytes: int = 0
    max_threads: int = 0
    required_threads: tuple[int, int, int] = (0, 0, 0)
    registers: dict[str, str] = field(default_factory=dict)  # its name in C++ -> PTX type
    variables: dict[str, Variable] = field(default_factory=dict)  # .shared and .local ones of its own
    branch_targets: dict[str, tuple[str, ...]] = field(default_factory=dict)  # for brx.idx
    body: list[Instruction | Label] = field(default_factory=list)


@dataclass
class Module:
    file: str
    arch: int
    variables: dict[str, Variable] = field(default_factory=dict)
    kernels: list[Kernel] = field(default_factory=list)


def type_size(ptx_type: str) -> int:
    """Bytes."""
    return {"f16x2": 4, "bf16x2": 4, "bf16": 2}.get(ptx_type) or int(ptx_type[1:]) // 8


@dataclass(frozen=True)
class Statement:
    kind: str  # "{", "}", "label", or ";": directive or instruction
    text: str
    line: int


IDENTIFIER = r"[A-Za-z_$%][\w$]*"
# What ends with its line, not with a semicolon.
LINE_DIRECTIVE = re.compile(r"\.(version|target|address_size|file|loc)\b[^\n]*")
HEADER = re.compile(r"(?:\.(?:visible|weak|extern)\s+)*\.(entry|func)\b")


def blank_comments(text: str) -> str:
    """Without comments, but with as many lines."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text, flags=re.S)


def statements(text: str) -> Iterator[Statement]:
    """Cuts PTX into statements. Function headers come as one statement with their parameters, without the brace."""
    label = re.compile(rf"({IDENTIFIER})\s*:(?!:)")
    position, line = 0, 1
    while position < len(text):
        character = text[position]
        if character.isspace() or character == ";":
            line += character == "\n"
            position += 1
            continue
        if character in "{}":
            yield Statement(character, character, line)
            position += 1
            continue
        if match := LINE_DIRECTIVE.match(text, position):
            yield Statement(";", match[0].strip(), line)
            position = match.end()
            continue
        if text.startswith(".section", position):  # debug strings
            end = text.index("}", position) + 1
        elif HEADER.match(text, position):
            brace, semicolon = (text.find(stop, position) % (len(text) + 1) for stop in "{;")
            end = min(brace, semicolon)
            yield Statement(";", text[position:end].strip(), line)
        elif match := label.match(text, position):
            end = match.end()
            yield Statement("label", match[1], line)
        else:
            end = text.find(";", position)
            if end < 0:
                raise PtxError(f"line {line}: no semicolon after: {text[position : position + 60].strip()}")
            yield Statement(";", " ".join(text[position:end].split()), line)
        line += text.count("\n", position, end)
        position = end


def split_operands(text: str) -> tuple[str, ...]:
    """Cuts at commas outside of brackets and braces."""
    operands, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            operands.append(text[start:position].strip())
            start = position + 1
    operands.append(text[start:].strip())
    return tuple(operand for operand in operands if operand)


@lru_cache
def is_toolkit(path: str) -> bool:
    """Whether a file is one of CUDA's own headers: one of the folders above it holds cuda_runtime.h."""
    return any((folder / "cuda_runtime.h").exists() for folder in Path(path).parents)


class Lines:
    """Follows .loc: the innermost place in a file of the user's, outside of inlined CUDA headers."""

    LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)\s+(\d+)(?:.*inlined_at\s+(\d+)\s+(\d+)\s+(\d+))?")

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.callers: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.current = ""

    def loc(self, directive: str) -> None:
        match = self.LOC.match(directive)
        if not match:
            return
        place, caller = match.groups()[:3], match.groups()[3:]
        if caller[0]:
            self.callers[place] = caller
        for _ in range(100):  # a recursive template could name a place as its own caller
            path = self.files.get(place[0], "?")
            if not is_toolkit(path) or not caller[0]:
                break
            place = caller
            caller = self.callers.get(place, (None,))
        # Line 0: made by the compiler, of no line.
        if place[1] != "0":
            self.current = f"{self.files.get(place[0], '?')}:{place[1]}"


class Parser:
    def __init__(self, text: str, file: str) -> None:
        self.text = blank_comments(text)
        self.file = file
        files = dict(re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]+)"', text, re.M))
        self.lines = Lines(files)
        self.module = Module(file, 0)
        self.kernel: Kernel | None = None
        self.scopes: list[dict[str, str]] = []  # register names as written -> in C++
        self.scope_count = 0

    def fail(self, problem: str, line: int, text: str) -> PtxError:
        where = f" (from {self.lines.current})" if self.lines.current else ""
        return PtxError(f"{self.file}:{line}: {problem}: {text}{where}")

    def run(self) -> Module:
        skip_depth = 0  # inside of a function that is only declared or of no use
        for statement in statements(self.text):
            if statement.kind == "{":
                if self.kernel is None:
                    skip_depth += 1
                else:
                    self.scopes.append({})
                    self.scope_count += 1
            elif statement.kind == "}":
                if skip_depth:
                    skip_depth -= 1
                else:
                    self.scopes.pop()
                    if not self.scopes:
                        self.kernel = None
            elif not skip_depth:
                self.statement(statement)
        return self.module

    def statement(self, statement: Statement) -> None:
        text, line = statement.text, statement.line
        if statement.kind == "label":
            self.in_kernel(statement).body.append(Label(text))
        elif re.match(r"\.loc\b", text):
            self.lines.loc(text)
        elif text.startswith((".file", ".version", ".pragma", ".section")):
            pass
        elif match := re.match(r"\.target\s+sm_(\d+)", text):
            self.module.arch = int(match[1])
        elif text.startswith(".address_size"):
            if text.split()[1] != "64":
                raise self.fail("only 64-bit addresses are known", line, text)
        elif match := HEADER.match(text):
            if match[1] == "entry":
                self.header(text[match.end() :], line)
        elif text.startswith(".alias"):
            raise self.fail("unknown directive", line, text)
        elif text.startswith(".reg"):
            self.declare_registers(statement)
        elif text.startswith((".branchtargets", ".callprototype", ".calltargets")):
            self.declare_targets(statement)
        elif text.startswith("."):
            self.declare_variable(statement)
        else:
            self.instruction(statement)

    def in_kernel(self, statement: Statement) -> Kernel:
        if self.kernel is None:
            raise self.fail("not in a kernel", statement.line, statement.text)
        return self.kernel

    def header(self, text: str, line: int) -> None:
        match = re.match(rf"\s*({IDENTIFIER})", text)
        if not match:
            raise self.fail("no name", line, text)
        kernel = Kernel(match[1], text)
        parameter = re.compile(
            rf"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)(?:\s+\.ptr(?:\s+\.\w+)*?(?:\s+\.align\s+\d+)?)?"
            rf"\s+({IDENTIFIER})(?:\[(\d+)\])?\s*$"
        )
        inside, _, after = text[match.end() :].strip().removeprefix("(").partition(")")
        for declaration in split_operands(inside):
            found = parameter.match(declaration)
            if not found:
                raise self.fail("unknown parameter", line, declaration)
            size = type_size(found[2])
            align = int(found[1] or size)
            offset = -(-kernel.parameter_bytes // align) * align
            size *= int(found[4] or 1)
            kernel.parameters[found[3]] = Parameter(found[3], offset, size)
            kernel.parameter_bytes = offset + size
        for directive, numbers in re.findall(r"\.(\w+)\s*([\d,\s]*)", after):
            values = [int(number) for number in re.findall(r"\d+", numbers)]
            values += [1] * (3 - len(values))
            if directive == "maxntid":
                kernel.max_threads = values[0] * values[1] * values[2]
            elif directive == "reqntid":
                kernel.required_threads = (values[0], values[1], values[2])
            elif directive not in ("minnctapersm", "maxnreg"):
                raise self.fail("unknown directive of a kernel", line, f".{directive}")
        self.module.kernels.append(kernel)
        self.kernel = kernel
        self.lines.current = ""

    def declare_registers(self, statement: Statement) -> None:
        kernel = self.in_kernel(statement)
        match = re.match(r"\.reg\s+\.(\w+)\s+(.+)$", statement.text)
        if not match or not re.fullmatch(r"pred|f16x2|bf16x2|bf16|[busf](8|16|32|64)", match[1]):
            raise self.fail("unknown register", statement.line, statement.text)
        for name in split_operands(match[2]):
            numbered = re.fullmatch(rf"({IDENTIFIER})<(\d+)>", name)
            names = [f"{numbered[1]}{i}" for i in range(int(numbered[2]))] if numbered else [name]
            for register in names:
                unique = re.sub(r"\W", "_", register.lstrip("%"))
                unique = f"r_{unique}" if len(self.scopes) == 1 else f"r{self.scope_count}_{unique}"
                self.scopes[-1][register] = unique
                kernel.registers[unique] = match[1]

    def declare_targets(self, statement: Statement) -> None:
        kernel = self.in_kernel(statement)
        directive, _, targets = statement.text.partition(" ")
        if directive != ".branchtargets":
            raise self.fail("calls through pointers are not supported", statement.line, statement.text)
        label = kernel.body.pop() if kernel.body else None
        if not isinstance(label, Label):
            raise self.fail("branch targets without a name", statement.line, statement.text)
        kernel.branch_targets[label.name] = split_operands(targets)

    VARIABLE = re.compile(
        r"(?:\.(?:visible|weak|extern|common)\s+)*\.(shared|global|const|local)\s+(?:\.align\s+(\d+)\s+)?"
        rf"\.([busf](?:8|16|32|64))\s+({IDENTIFIER})((?:\[\d*\])?)\s*(?:=\s*(.*))?$"
    )

    def declare_variable(self, statement: Statement) -> None:
        match = self.VARIABLE.match(statement.text)
        if not match:
            raise self.fail("unknown declaration", statement.line, statement.text)
        space, align, ptx_type, name, array, initial = match.groups()
        count = None if array == "[]" else int(array[1:-1]) if array else 1
        if (count is None) != (space == "shared" and ".extern" in statement.text):
            raise self.fail("a variable of another file", statement.line, statement.text)
        variable = Variable(name, space, ptx_type, int(align or type_size(ptx_type)), count, initial or "")
        (self.kernel.variables if self.kernel else self.module.variables)[name] = variable

    def instruction(self, statement: Statement) -> None:
        kernel = self.in_kernel(statement)
        match = re.fullmatch(r"(?:@(!?)(\S+)\s+)?([a-z]\w*(?:[.:]+\w+)*)\s*(.*)", statement.text)
        if not match:
            raise self.fail("not an instruction", statement.line, statement.text)
        negated, guard, opcode, rest = match.groups()
        operands = tuple(self.rename(operand) for operand in split_operands(rest))
        guard = (negated or "") + self.rename(guard) if guard else ""
        kernel.body.append(Instruction(guard, opcode, operands, statement.line, statement.text, self.lines.current))

    def rename(self, operand: str) -> str:
        """Registers under their names in C++, of the innermost scope that declares them."""

        def innermost(match: re.Match[str]) -> str:
            for scope in reversed(self.scopes):
                if match[0] in scope:
                    return scope[match[0]]
            return match[0]

        return re.sub(rf"(?<![\w.]){IDENTIFIER}", innermost, operand)


def parse(text: str, file: str) -> Module:
    return Parser(text, file).run()
