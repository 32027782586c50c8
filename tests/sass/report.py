"""All that is measured of each kernel, for the gates, the tables and the generated docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.sass.compile import ARCHS, BUILD, FLAGS, Cubin, Resources, compile_all
from tests.sass.disassembly import block_sizes, disassemble
from tests.sass.flow import Flow
from tests.sass.loops import Region, hottest, regions
from tests.sass.names import element_bytes, readable
from tests.sass.occupancy import LANES, Occupancy, occupancy
from tests.sass.tools import ROOT

WIDE = 16
"""Bytes of the widest load per thread that all of the architectures have."""
_SCHEDULERS = 4


@dataclass(frozen=True)
class Kernel:
    name: str
    source: str
    arch: str
    resources: Resources
    threads: int | None
    """Per block, by `__launch_bounds__`; None without."""
    local: int
    """Instructions that reach for local memory."""
    wide_loads: int
    """Global loads of 16 bytes per thread or more."""
    whole: Region
    loops: list[Region]

    @property
    def hot(self) -> Region:
        return hottest(self.whole, self.loops)

    def occupancy(self, dynamic_shared: int = 0) -> Occupancy | None:
        """What an SM holds; `dynamic_shared` are the bytes that a launch asks for beside the static ones."""
        if self.threads is None:
            return None
        shared = self.resources.shared + dynamic_shared
        return occupancy(self.arch, self.resources.registers, shared, self.threads)


def measure(
    sources: Iterable[Path], archs: Sequence[str] = ARCHS, build: Path = BUILD, flags: Sequence[str] = FLAGS
) -> list[Kernel]:
    """Compiles and reads: by source, then name, then architecture in the order given."""
    cubins = compile_all(sources, archs, build, flags)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # reading is Python's own work
        kernels = [kernel for found in pool.map(_kernels, cubins) for kernel in found]
    return sorted(kernels, key=lambda kernel: (kernel.source, kernel.name, archs.index(kernel.arch)))


def report(sources: Iterable[Path], archs: Sequence[str] = ARCHS, build: Path = BUILD) -> list[dict[str, Any]]:
    """One flat row per kernel and architecture, fit for JSON."""
    return [as_row(kernel) for kernel in measure(sources, archs, build)]


def as_row(kernel: Kernel) -> dict[str, Any]:
    used, held = kernel.resources, kernel.occupancy()
    return {
        "kernel": kernel.name,
        "source": kernel.source,
        "arch": kernel.arch,
        "threads": kernel.threads,
        "registers": used.registers,
        "spill_bytes": used.spill_stores + used.spill_loads,
        "stack_bytes": used.stack,
        "local_instructions": kernel.local,
        "shared_bytes": used.shared,
        "barriers": used.barriers,
        "blocks_per_sm": held.blocks if held else None,
        "warps_per_sm": held.warps if held else None,
        "occupancy_percent": held.percent if held else None,
        "occupancy_limit": held.limit if held else None,
        "instructions": kernel.whole.instructions,
        "wide_loads": kernel.wide_loads,
        "hot": region_row(kernel.hot, element_bytes(kernel.name)),
        "whole": region_row(kernel.whole, element_bytes(kernel.name)),
        "loops": [region_row(loop, element_bytes(kernel.name)) for loop in kernel.loops],
    }


def region_row(region: Region, element: int | None) -> dict[str, Any]:
    """A loop, or with "depth" 0 the kernel. Per-iteration numbers are per warp, and bytes per thread."""
    shortest, longest, fullest = region.shortest, region.longest, region.fullest
    # Narrow loads are of something else than the elements as a rule: keys, indices.
    elements = fullest.bytes / element if element and min(region.in_flight, default=0) >= WIDE else 0
    rate = fullest.bytes * LANES * _SCHEDULERS / fullest.slots if fullest.slots else 0
    return {
        "address": region.address,
        "depth": region.depth,
        "innermost": region.innermost,
        "instructions": region.instructions,
        # On the shortest, the fullest and the longest way.
        "issue_cycles": [shortest.cycles, fullest.cycles, longest.cycles],
        "issue_slots": [shortest.slots, fullest.slots, longest.slots],
        "bytes": [shortest.bytes, fullest.bytes, longest.bytes],
        "load_widths": list(region.loads),
        "in_flight_widths": list(region.in_flight),
        "in_flight": len(region.in_flight),
        "bytes_in_flight": region.bytes_in_flight,
        # On the fullest way: instructions of a thread per element, if a template argument tells an element's size ...
        "instructions_per_element": round(fullest.slots / elements, 2) if elements else None,
        # ... and how fast an SM could issue its way through memory, were there nothing to wait for.
        "issue_bound_bytes_per_cycle": round(rate, 1) if rate else None,
        "mix": region.mix,
    }


def _kernels(cubin: Cubin) -> list[Kernel]:
    functions, threads, names = disassemble(cubin.path), block_sizes(cubin.path), readable(cubin.resources)
    found = []
    for mangled, resources in cubin.resources.items():
        function = functions[mangled]
        whole, loops = regions(Flow(function))
        found.append(
            Kernel(
                name=names[mangled],
                source=_place(cubin.source),
                arch=cubin.arch,
                resources=resources,
                threads=threads.get(mangled),
                local=sum(instruction.is_local for instruction in function.instructions),
                wide_loads=sum(instruction.load_width >= WIDE for instruction in function.instructions),
                whole=whole,
                loops=loops,
            )
        )
    return found


def _place(source: Path) -> str:
    """Relative to the project, or the bare name: reports name no path of a machine."""
    return source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else source.name
