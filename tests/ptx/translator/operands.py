"""Operands of an instruction as C++ expressions, and assignments to them."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.ptx.translator.parse import Instruction, Kernel, Module, PtxError, type_size

SPECIAL_REGISTERS = {
    "%laneid": "thread->lane",
    "%warpid": "thread->index / kWarpSize",
    "%nwarpid": "(u32)machine.warps.size()",
    "%lanemask_eq": "(1u << thread->lane)",
    "%lanemask_lt": "((1u << thread->lane) - 1)",
    "%lanemask_le": "(~0u >> (31 - thread->lane))",
    "%lanemask_gt": "(~1u << thread->lane)",
    "%lanemask_ge": "(~0u << thread->lane)",
    "%dynamic_smem_size": "machine.dynamic_bytes",
    "WARP_SZ": "32u",
}
for _axis, _letter in enumerate("xyz"):
    SPECIAL_REGISTERS[f"%tid.{_letter}"] = f"thread->tid[{_axis}]"
    for _name in ("ntid", "ctaid", "nctaid"):
        SPECIAL_REGISTERS[f"%{_name}.{_letter}"] = f"machine.{_name}[{_axis}]"

INTEGER = re.compile(r"(-?)(0[xX][0-9A-Fa-f]+|\d+)U?")
ADDRESS = re.compile(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?(?:0x)?[0-9A-Fa-f]+)\s*)?\]")


class Address(NamedTuple):
    base: str  # C++ of the base as u64
    offset: int
    symbol: str  # the base, where it is a variable or a parameter
    wide: bool  # the base is not a 32-bit register


class Layout:
    """Where the variables of a kernel are: shared memory with gaps, local memory as one array."""

    GAP = 64  # bytes between shared variables: as much as a vector of 16 floats runs over

    def __init__(self, kernel: Kernel, module: Module) -> None:
        used = {name for item in kernel.body if isinstance(item, Instruction) for name in symbols(item, module)}
        variables = [*kernel.variables.values(), *(module.variables[name] for name in sorted(used))]
        self.shared: dict[str, int] = {}
        self.local: dict[str, int] = {}
        self.static_shared = [v for v in variables if v.space == "shared" and v.count is not None]
        self.static_bytes = self.local_bytes = 0
        self.align = 16
        end = 0
        for variable in self.static_shared:
            self.static_bytes = align_up(self.static_bytes, variable.align) + variable.size
            self.shared[variable.name] = align_up(end, variable.align)
            end = self.shared[variable.name] + variable.size + self.GAP
        dynamic = [v for v in variables if v.space == "shared" and v.count is None]
        self.dynamic_offset = align_up(end, max([16, *(v.align for v in dynamic)]))
        self.shared.update({v.name: self.dynamic_offset for v in dynamic})
        for variable in variables:
            if variable.space == "local":
                self.align = max(self.align, variable.align)
                self.local[variable.name] = align_up(self.local_bytes, variable.align)
                self.local_bytes = self.local[variable.name] + variable.size


def symbols(instruction: Instruction, module: Module) -> list[str]:
    return [name for name in re.findall(r"[\w$%]+", " ".join(instruction.operands)) if name in module.variables]


def align_up(offset: int, align: int) -> int:
    return -(-offset // align) * align


class Operands:
    """Reads and writes the operands of one kernel's instructions."""

    def __init__(self, module: Module, kernel: Kernel) -> None:
        self.module = module
        self.kernel = kernel
        self.layout = Layout(kernel, module)
        self.sites: list[Instruction] = []
        self.instruction: Instruction | None = None

    def error(self, problem: str) -> PtxError:
        where = f" (from {self.instruction.source})" if self.instruction.source else ""
        return PtxError(f"{self.module.file}:{self.instruction.line}: {problem}: {self.instruction.text}{where}")

    def site(self) -> int:
        """The number by which the runtime finds line and text of this instruction, should it fault."""
        if not self.sites or self.sites[-1] is not self.instruction:
            self.sites.append(self.instruction)
        return len(self.sites) - 1

    def read(self, operand: str, ptx_type: str) -> str:
        """The operand, read as a PTX type; a register may be wider, then its low bits count."""
        if operand.startswith("!") and ptx_type == "pred":
            return f"!{self.read(operand[1:], 'pred')}"
        if operand in self.kernel.registers:
            return self.read_register(operand, ptx_type)
        if operand in SPECIAL_REGISTERS:
            return f"({ptx_type})({SPECIAL_REGISTERS[operand]})"
        if match := re.fullmatch(r"0[fF]([0-9A-Fa-f]{8})", operand):
            return self.immediate_bits(match[1], "f32", ptx_type)
        if match := re.fullmatch(r"0[dD]([0-9A-Fa-f]{16})", operand):
            return self.immediate_bits(match[1], "f64", ptx_type)
        if match := INTEGER.fullmatch(operand):
            if ptx_type in ("f32", "f64"):
                raise self.error(f"an integer as {ptx_type}")
            value = re.sub(r"^0(?=\d)", "0", match[2])  # a leading zero means octal in both languages
            return f"({'bool' if ptx_type == 'pred' else ptx_type})({match[1]}{value}ll)"
        address = self.symbol_address(operand)
        if address is None:
            raise self.error(f"unknown operand {operand}")
        return f"({ptx_type})({address})"

    def immediate_bits(self, digits: str, written: str, ptx_type: str) -> str:
        if ptx_type == written:
            return f"as_{written}(0x{digits}{'u' if written == 'f32' else 'ull'})"
        if ptx_type in ("f32", "f64", "pred") or type_size(ptx_type) != type_size(written):
            raise self.error(f"a {written} constant as {ptx_type}")
        return f"({ptx_type})0x{digits}ull"

    def read_register(self, register: str, ptx_type: str) -> str:
        declared = self.kernel.registers[register]
        if "pred" in (declared, ptx_type):
            if declared != ptx_type:
                raise self.error(f"{declared} register as {ptx_type}")
            return register
        if type_size(declared) < type_size(ptx_type):
            raise self.error(f"{declared} register read as {ptx_type}")
        if declared == ptx_type:
            return register if ptx_type[0] != "s" else f"({ptx_type}){register}"
        if ptx_type in ("f32", "f64"):
            if type_size(declared) != type_size(ptx_type):
                raise self.error(f"{declared} register read as {ptx_type}")
            return f"as_{ptx_type}({register})"
        value = f"bits({register})" if declared in ("f32", "f64") else register
        return value if cpp_type(declared) == ptx_type else f"({ptx_type}){value}"

    def write(self, register: str, ptx_type: str, value: str) -> str:
        """Assigns a C++ value of a PTX type; into a wider register signed types extend their sign, others zeros."""
        if register == "_":
            return f"(void)({value});"
        declared = self.kernel.registers.get(register)
        if declared is None:
            raise self.error(f"unknown register {register}")
        if "pred" in (declared, ptx_type):
            if declared != ptx_type:
                raise self.error(f"{ptx_type} into a {declared} register")
            return f"{register} = {value};"
        if type_size(declared) < type_size(ptx_type):
            raise self.error(f"{ptx_type} into a {declared} register")
        if declared == ptx_type:
            return f"{register} = {value};"
        if declared in ("f32", "f64"):
            return f"{register} = as_{declared}({value});"
        if ptx_type in ("f32", "f64"):
            return f"{register} = bits({value});"
        return f"{register} = ({cpp_type(declared)})({ptx_type})({value});"

    def symbol_address(self, operand: str) -> str | None:
        """Of a variable or a parameter, perhaps with an offset: its address in its own space."""
        name, _, offset = operand.partition("+")
        plus = f" + {int(offset, 0)}" if offset else ""
        if name in self.layout.shared:
            return f"{self.layout.shared[name]}u{plus}"
        if name in self.layout.local:
            return f"(u64)(locals + {self.layout.local[name]}){plus}"
        if name in self.kernel.parameters:
            return f"(u64)(parameters + {self.kernel.parameters[name].offset}){plus}"
        if name in self.module.variables:
            return f"(u64)&{global_name(name)}{plus}"
        return None

    def address(self, operand: str) -> Address:
        match = ADDRESS.fullmatch(operand)
        if not match:
            raise self.error(f"unknown address {operand}")
        base, offset = match[1], int(match[2] or "0", 0)
        if base in self.kernel.registers:
            size = type_size(self.kernel.registers[base])
            return Address(f"(u64){self.read(base, 'u64' if size == 8 else 'u32')}", offset, "", size == 8)
        if INTEGER.fullmatch(base):
            return Address("(u64)0", int(base, 0) + offset, "", True)
        found = self.symbol_address(base)
        if found is None:
            raise self.error(f"unknown address {operand}")
        return Address(f"(u64)({found})", offset, base, True)

    def location(self, operand: str, space: str, size: int, access: str) -> str:
        """A checked access: C++ of the host address."""
        address = self.address(operand)
        value = f"{address.base} + {address.offset}ll" if address.offset else address.base
        if space == "shared":
            narrow = "" if address.wide else "(u32)"  # 32-bit addresses wrap
            return f"check_shared(thread, {narrow}({value}), {size}, Access::{access}, {self.site()})"
        if space in ("global", "generic"):
            return f"check_{space}(thread, {value}, {size}, Access::{access}, {self.site()})"
        if access != "read" and space != "local":
            raise self.error(f"{access} in .{space}")
        if space == "local":
            return f'check_range(thread, {value}, {size}, locals, sizeof locals, "local", {self.site()})'
        if space == "param":
            return self.parameter(address, value, size)
        if space == "const":
            return f"check_constant(thread, {value}, {size}, {self.site()})"
        raise self.error(f"unknown space .{space}")

    def parameter(self, address: Address, value: str, size: int) -> str:
        if not address.symbol:
            total = self.kernel.parameter_bytes
            return f'check_range(thread, {value}, {size}, parameters, {total}, "parameter", {self.site()})'
        parameter = self.kernel.parameters.get(address.symbol)
        if parameter is None or not 0 <= address.offset <= parameter.size - size:
            raise self.error("outside of the parameter")
        return f"(const char*)(parameters + {parameter.offset + address.offset})"


def cpp_type(declared: str) -> str:
    """The C++ type of a register: its bits, but float and double where they are declared as such."""
    if declared == "pred":
        return "bool"
    return declared if declared in ("f32", "f64") else f"u{8 * type_size(declared)}"


def global_name(name: str) -> str:
    return "g_" + name.replace("$", "_").replace("%", "_")


def vector(operand: str) -> list[str]:
    """The elements of {a, b}; a lone operand is a vector of one."""
    if not operand.startswith("{"):
        return [operand]
    return [element.strip() for element in operand[1:-1].split(",")]
