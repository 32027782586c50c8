"""Writes the C++ file of a module: its kernels as functions, and the tables by which the runtime finds them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict

from tests.ptx.translator.instructions import translate
from tests.ptx.translator.operands import Operands, cpp_type, global_name
from tests.ptx.translator.parse import Instruction, Kernel, Label, Module, PtxError, Variable

PER_LINE = 12  # declarations of registers


def emit_module(module: Module, arch: int) -> str:
    parts = [f"// Translated from {module.file}.", '#include "translated.h"', "", "namespace ptx {", "namespace {", ""]
    variables = [variable for variable in module.variables.values() if variable.space in ("global", "const")]
    parts += [global_variable(module, variable) for variable in variables]
    entries = []
    for number, kernel in enumerate(module.kernels):
        emitter = KernelEmitter(module, kernel, number)
        parts += [emitter.function(), emitter.tables()]
        entries.append(emitter.entry())
    found = [f'    {{"{v.name}", &{global_name(v.name)}, sizeof {global_name(v.name)}}},' for v in variables]
    parts += [
        "const Kernel kernels[] = {",
        *entries,
        "    {}};",
        "const GlobalVariable variables[] = {",
        *found,
        "    {}};",
    ]
    parts.append(
        f'Module module{{"{module.file}", {arch}, kernels, {len(entries)}, variables, {len(found)}, nullptr}};\n'
        "const Registration registration(module);\n\n}  // namespace\n}  // namespace ptx\n"
    )
    return "\n".join(parts)


def global_variable(module: Module, variable: Variable) -> str:
    if variable.count is None:
        raise PtxError(f"{module.file}: a variable without a size: {variable.name}")
    values = variable.initial.strip("{} ")
    if (values and not re.fullmatch(r"[-\w.,\s{}]+", values)) or "generic" in values:
        raise PtxError(f"{module.file}: unknown initial value of {variable.name}: {variable.initial}")
    numbers = [initial_number(module, variable, value.strip()) for value in values.split(",")] if values else []
    declared = f"alignas({max(8, variable.align)}) {cpp_type(variable.type)} {global_name(variable.name)}"
    return f"{declared}[{max(1, variable.count)}] = {{{', '.join(numbers)}}};"


def initial_number(module: Module, variable: Variable, value: str) -> str:
    kind = cpp_type(variable.type)
    if match := re.fullmatch(r"0[fF]([0-9A-Fa-f]{8})", value):
        return f"as_f32(0x{match[1]}u)"
    if match := re.fullmatch(r"0[dD]([0-9A-Fa-f]{16})", value):
        return f"as_f64(0x{match[1]}ull)"
    if re.fullmatch(r"-?(?:0[xX][0-9A-Fa-f]+|\d+)U?", value):
        return f"({kind}){value.rstrip('U')}"
    raise PtxError(f"{module.file}: unknown initial value of {variable.name}: {value}")


class KernelEmitter:
    def __init__(self, module: Module, kernel: Kernel, number: int) -> None:
        self.module = module
        self.kernel = kernel
        self.number = number
        self.operands = Operands(module, kernel)
        self.labels: dict[str, int] = {}
        for position, item in enumerate(kernel.body):
            if isinstance(item, Label):
                if item.name in self.labels:
                    raise PtxError(f"{module.file}: two labels of one name: {item.name}")
                self.labels[item.name] = position
        if len(self.operands.layout.static_shared) > 250:
            raise PtxError(f"{module.file}: more than 250 shared variables in {kernel.name}")

    def function(self) -> str:
        lines = [
            f"// {self.kernel.name}",
            f"void kernel_{self.number}([[maybe_unused]] Thread* thread, [[maybe_unused]] const u8* parameters) {{",
            *self.declarations(),
        ]
        for position, item in enumerate(self.kernel.body):
            if isinstance(item, Label):
                lines.append(f" {self.label(item.name)}:;")
            else:
                lines.append(f"  {self.statement(item, position)}")
        return "\n".join([*lines, "}\n"])

    def declarations(self) -> list[str]:
        by_type = defaultdict(list)
        for register, declared in self.kernel.registers.items():
            by_type[cpp_type(declared)].append(register)
        lines = []
        for kind, registers in by_type.items():
            for start in range(0, len(registers), PER_LINE):
                lines.append(
                    f"  {kind} " + ", ".join(f"{name}{{}}" for name in registers[start : start + PER_LINE]) + ";"
                )
        layout = self.operands.layout
        if layout.local_bytes:
            lines.append(f"  alignas({layout.align}) u8 locals[{layout.local_bytes}];")
            lines.append("  std::memset(locals, 0xFF, sizeof locals);  // poison")
        lines.append("  [[maybe_unused]] bool carry = false;")
        return lines

    def statement(self, instruction: Instruction, position: int) -> str:
        self.operands.instruction = instruction
        guard = f"if ({self.operands.read(instruction.guard, 'pred')}) " if instruction.guard else ""
        if re.fullmatch(r"bra(?:\.uni)?", instruction.opcode) and len(instruction.operands) == 1:
            return guard + self.jump(instruction.operands[0], position)
        if re.fullmatch(r"brx\.idx(?:\.uni)?", instruction.opcode) and len(instruction.operands) == 2:
            return guard + self.indexed_jump(instruction, position)
        return guard + translate(self.operands, instruction)

    def label(self, name: str) -> str:
        return "L_" + re.sub(r"\W", "_", name)

    def jump(self, name: str, position: int) -> str:
        if name not in self.labels:
            raise self.operands.error(f"unknown label {name}")
        back = f"step(thread, {self.operands.site()}); " if self.labels[name] < position else ""
        return f"{{ {back}goto {self.label(name)}; }}"

    def indexed_jump(self, instruction: Instruction, position: int) -> str:
        index, targets = instruction.operands
        if targets not in self.kernel.branch_targets:
            raise self.operands.error(f"unknown branch targets {targets}")
        cases = [f"case {i}: {self.jump(name, position)}" for i, name in enumerate(self.kernel.branch_targets[targets])]
        missed = f"default: trap(thread, {self.operands.site()});"
        return f"switch ({self.operands.read(index, 'u32')}) {{ {' '.join(cases)} {missed} }}"

    def tables(self) -> str:
        number, layout = self.number, self.operands.layout
        sites = [f"    {{{s.line}, {quoted(s.text)}, {quoted(s.source)}}}," for s in self.operands.sites]
        parameters = [f"    {{{p.offset}, {p.size}}}," for p in self.kernel.parameters.values()]
        shared = [f'    {{"{v.name}", {layout.shared[v.name]}, {v.size}}},' for v in layout.static_shared]
        return "\n".join(
            [
                f"const Site sites_{number}[] = {{", *sites, "    {}};",
                f"const Parameter parameters_{number}[] = {{", *parameters, "    {}};",
                f"const SharedVariable shared_{number}[] = {{", *shared, "    {}};", "",
            ]
        )  # fmt: skip

    def entry(self) -> str:
        number, kernel, layout = self.number, self.kernel, self.operands.layout
        content = kernel.text + "\n".join(i.text if isinstance(i, Instruction) else i.name for i in kernel.body)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        required = ", ".join(map(str, kernel.required_threads))
        return (
            f'    {{"{kernel.name}", "{digest}", kernel_{number}, sites_{number}, parameters_{number}, '
            f"{len(kernel.parameters)}, {kernel.parameter_bytes}, shared_{number}, {len(layout.static_shared)}, "
            f"{layout.static_bytes}, {layout.dynamic_offset}, {kernel.max_threads}, {{{required}}}}},"
        )


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
