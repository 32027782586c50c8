"""What `python -m tests.sass` prints, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.sass.names import element_bytes
from tests.sass.report import Kernel, region_row

_HEAD = (
    "kernel", "arch", "threads", "registers", "spills", "stack", "local", "shared", "occupancy", "by", "LDG.128",
    "in flight", "cycles", "slots", "per element",
)  # fmt: skip

LEGEND = """\
spills, stack, shared: bytes; local: instructions that reach for local memory; occupancy: % of an SM's warps, and what
limits it. Of the hot loop (the one with the most bytes in flight; marked - if no loop loads, then of the whole kernel):
in flight: loads x bytes per thread; cycles: issue cycles per warp and iteration, slots: instructions, both on the way
through that loads most (the shortest of such); per element: slots by the elements loaded, where all loads are wide."""


def summary(kernels: Iterable[Kernel]) -> str:
    return aligned([list(_HEAD), *(_line(kernel) for kernel in kernels)]) + "\n\n" + LEGEND


def details(kernels: Iterable[Kernel]) -> str:
    return "\n".join(line for kernel in kernels for line in _details(kernel))


def aligned(rows: list[list[str]]) -> str:
    """
    >>> print(aligned([["kernel", "n"], ["a", "12"]]))
    kernel   n
    a       12
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line) for line in lines)


def loads(widths: Iterable[int]) -> str:
    """
    >>> loads([16, 16, 4]), loads([])
    ('2x16+1x4', '0')
    """
    counted = sorted(Counter(widths).items(), reverse=True)
    return "+".join(f"{count}x{width}" for width, count in counted) or "0"


def _span(ways: list[int]) -> str:
    """Shortest, fullest, longest, or the one number that they are."""
    return str(ways[0]) if len(set(ways)) == 1 else "/".join(map(str, ways))


def _line(kernel: Kernel) -> list[str]:
    used, held = kernel.resources, kernel.occupancy()
    hot = region_row(kernel.hot, element_bytes(kernel.name))
    cells = [kernel.name, kernel.arch, kernel.threads or "?", used.registers, used.spill_stores + used.spill_loads]
    cells += [used.stack, kernel.local, used.shared, f"{held.percent:g}" if held else "?", held.limit if held else "?"]
    cells += [kernel.wide_loads, loads(hot["in_flight_widths"]) + ("" if hot["depth"] else " -")]
    cells += [hot["issue_cycles"][1], hot["issue_slots"][1], hot["instructions_per_element"] or ""]
    return [str(cell) for cell in cells]


def _details(kernel: Kernel) -> list[str]:
    lines = [f"{kernel.name}, {kernel.arch} ({kernel.source})"]
    for region in (kernel.whole, *kernel.loops):
        row = region_row(region, element_bytes(kernel.name))
        where = f"{'  ' * region.depth}loop at {region.address:#06x}" if region.depth else "whole kernel"
        mix = " ".join(f"{name}:{count}" for name, count in list(region.mix.items())[:8])
        rate = row["issue_bound_bytes_per_cycle"]
        lines.append(
            f"  {where}{' (hot)' if region is kernel.hot else ''}: {region.instructions} instructions, "
            f"cycles {_span(row['issue_cycles'])}, slots {_span(row['issue_slots'])}, bytes {_span(row['bytes'])}, "
            f"loads {loads(region.loads)}, in flight {loads(region.in_flight)} ({region.bytes_in_flight} B)"
            + (f", issues {rate:g} B per cycle and SM" if rate else "")
            + f"; {mix}"
        )
    return lines
