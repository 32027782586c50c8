"""What a loop, or a whole kernel, costs and keeps in flight, as far as the machine code alone tells.

Issue cycles: the sum of the stall counts on a way through the loop. A warp alone on its scheduler takes no less,
whatever the caches do; it takes more where it waits on scoreboards. Issue slots: the instructions on that way. A
scheduler issues one per cycle and an SM has four, so W warps of an SM take W * slots / 4 cycles at least. Where
branches fork, the shortest and the longest way are given (by cycles): the usual way and the one with every rare branch
taken, as a rule. The third is the fullest: it loads the most, and of such it is the shortest. No way goes through an
inner loop more than once.

Loads in flight: a global load is in flight from its issue until an instruction waits on the scoreboard that the load
releases; waiting on another scoreboard leaves it in flight. Every way through the code is followed (except ways that no
warp takes together because their conditions exclude each other: nothing knows that here). The largest number of bytes
counts, since latency times bandwidth is a number of bytes (Little's law). Several warps of an SM multiply it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.sass.disassembly import Instruction
from tests.sass.flow import Flow, Loop

_STATES = 64
"""Sets of loads in flight that are followed per block. More are dropped: the result could then be too low, never too
high."""


class Way(NamedTuple):
    """One way through the code."""

    cycles: int
    slots: int
    bytes: int


@dataclass(frozen=True)
class Region:
    """A loop, or the whole kernel (depth 0)."""

    address: int
    depth: int
    innermost: bool
    instructions: int
    mix: dict[str, int]
    shortest: Way
    longest: Way
    fullest: Way
    loads: tuple[int, ...]
    """Widths in bytes per thread of its own global loads: those in loops inside are theirs."""
    in_flight: tuple[int, ...]
    """Widths of the loads in flight where they are the most bytes."""

    @property
    def bytes_in_flight(self) -> int:
        return sum(self.in_flight)


def regions(flow: Flow) -> tuple[Region, list[Region]]:
    """The whole kernel, and its loops by address."""
    loops = sorted((_loop(flow, loop) for loop in flow.loops), key=lambda region: region.address)
    return _kernel(flow), loops


def hottest(kernel: Region, loops: list[Region]) -> Region:
    """The loop with the most bytes in flight; of equals the one with fewer, wider loads. No loop loads: the kernel."""
    loading = [region for region in loops if region.loads]
    return max(loading, key=lambda r: (r.bytes_in_flight, -len(r.in_flight), sum(r.loads)), default=kernel)


def _loop(flow: Flow, loop: Loop) -> Region:
    inside = frozenset().union(*(other.blocks for other in flow.loops if other.blocks < loop.blocks))
    return _region(flow, loop.header, loop.blocks, loop.blocks - inside, loop.latches, loop.depth, loop.innermost)


def _kernel(flow: Flow) -> Region:
    every = frozenset(flow.order)
    ends = frozenset(block for block in every if flow.blocks[block].leaves)
    return _region(flow, flow.order[0], every, every, ends, 0, not flow.loops)


def _region(
    flow: Flow,
    entry: int,
    blocks: frozenset[int],
    own: frozenset[int],
    ends: Iterable[int],
    depth: int,
    innermost: bool,
) -> Region:
    code = [instruction for block in sorted(blocks) for instruction in flow.code(block)]
    loads = [instruction for block in sorted(own) for instruction in flow.code(block) if instruction.load_width]
    return Region(
        address=flow.code(entry)[0].address,
        depth=depth,
        innermost=innermost,
        instructions=len(code),
        mix=dict(Counter(instruction.name for instruction in code).most_common()),
        shortest=_way(flow, entry, blocks, ends, lambda way: -way.cycles),
        longest=_way(flow, entry, blocks, ends, lambda way: way.cycles),
        fullest=_way(flow, entry, blocks, ends, lambda way: (way.bytes, -way.cycles)),
        loads=tuple(load.load_width for load in loads),
        in_flight=_in_flight(flow, entry, blocks, loads),
    )


def _way(flow: Flow, entry: int, blocks: frozenset[int], ends: Iterable[int], merit: Callable[[Way], Any]) -> Way:
    """The best way from the entry to one of the ends that goes through no loop inside twice."""
    best: dict[int, Way] = {entry: Way(0, 0, 0)}
    through: dict[int, Way] = {}
    for block in flow.order:
        if block not in blocks or block not in best:
            continue
        code, so_far = flow.code(block), best[block]
        way = through[block] = Way(
            so_far.cycles + sum(max(1, instruction.stall) for instruction in code),
            so_far.slots + len(code),
            so_far.bytes + sum(instruction.load_width for instruction in code),
        )
        for target in flow.blocks[block].next:
            if target in blocks and not flow.is_back_edge(block, target):
                best[target] = max(way, best.get(target, way), key=merit)
    return max((through[end] for end in ends if end in through), key=merit, default=Way(0, 0, 0))


class _Step(NamedTuple):
    """What an instruction does to the set of loads in flight, as bit masks over the loads."""

    arrived: int
    issued: int


def _in_flight(flow: Flow, entry: int, blocks: frozenset[int], loads: list[Instruction]) -> tuple[int, ...]:
    """Follows sets of loads along every edge between the blocks, back edges included, until nothing new comes."""
    bit = {load.address: 1 << index for index, load in enumerate(loads)}
    boards: Counter[int] = Counter()
    for load in loads:
        if load.write_barrier is not None:
            boards[load.write_barrier] |= bit[load.address]

    def steps(block: int) -> list[_Step]:
        found = []
        for instruction in flow.code(block):
            arrived = 0
            for board in _awaited(instruction):
                arrived |= boards[board]
            # A load that releases no scoreboard is a prefetch: nobody will wait for it.
            issued = bit.get(instruction.address, 0) if instruction.write_barrier is not None else 0
            if arrived or issued:
                found.append(_Step(arrived, issued))
        return found

    def weight(state: int) -> tuple[int, int]:
        widths = [load.load_width for index, load in enumerate(loads) if state >> index & 1]
        return sum(widths), -len(widths)

    of_block = {block: steps(block) for block in blocks}
    seen: dict[int, list[int]] = {block: [] for block in blocks}
    best, todo = 0, [(entry, 0)]
    while todo:
        block, state = todo.pop()
        if any(state | other == other for other in seen[block]) or len(seen[block]) >= _STATES:
            continue  # a larger set was followed from here already
        seen[block] = [other for other in seen[block] if other | state != state] + [state]
        for step in of_block[block]:
            state = state & ~step.arrived | step.issued
            best = max(best, state, key=weight)
        todo.extend((target, state) for target in flow.blocks[block].next if target in blocks)
    return tuple(load.load_width for index, load in enumerate(loads) if best >> index & 1)


def _awaited(instruction: Instruction) -> set[int]:
    """The scoreboards that an instruction waits on.

    DEPBAR.LE SB0, 2 waits until no more than two are out; which ones is unknown, so all of them count as arrived.
    """
    named = {
        int(word[2]) for word in instruction.operands.replace(",", " ").split() if word[:2] == "SB" and len(word) == 3
    }
    return set(instruction.waits) | (named if instruction.name == "DEPBAR" else set())
