"""The control flow of a function: basic blocks, dominators, natural loops.

A backward branch alone is no loop: ptxas puts what rarely runs behind the function's end and jumps back from there. So
a loop is what the textbooks call natural: an edge to a block that dominates its source, and all that reaches the source
without passing that block (Aho, Lam, Sethi, Ullman, "Compilers", section 9.6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.sass.disassembly import Function, Instruction

_LEAVES = ("EXIT", "RET", "KILL")
_JUMPS = ("BRA", "BRX", "JMP", "JMX", "BRXU", "JMXU")


@dataclass(frozen=True)
class Block:
    start: int
    end: int
    """Instructions [start, end) of the function."""
    next: tuple[int, ...]
    leaves: bool
    """Whether the kernel may end here."""


@dataclass(frozen=True)
class Loop:
    header: int
    latches: frozenset[int]
    """Blocks that jump back to the header."""
    blocks: frozenset[int]
    """All of its blocks, those of loops inside included."""
    depth: int
    """1: not inside another loop."""
    innermost: bool


class Flow:
    """Blocks are numbered by address; those that cannot be reached are left out of everything but `blocks`."""

    def __init__(self, function: Function):
        self.function = function
        self.blocks = _blocks(function)
        self.order = _reverse_postorder(self.blocks)
        self.dominators = _dominators(self.blocks, self.order)
        self.loops = self._loops()

    def code(self, block: int) -> list[Instruction]:
        return self.function.instructions[self.blocks[block].start : self.blocks[block].end]

    def is_back_edge(self, source: int, target: int) -> bool:
        return bool(self.dominators[source] >> target & 1)

    def _loops(self) -> list[Loop]:
        """Outer loops before inner ones."""
        latches: dict[int, set[int]] = {}
        before: dict[int, set[int]] = {block: set() for block in self.order}
        for source in self.order:
            for target in self.blocks[source].next:
                before[target].add(source)
                if self.is_back_edge(source, target):
                    latches.setdefault(target, set()).add(source)
        bodies = {header: _body(header, sources, before) for header, sources in latches.items()}
        loops = []
        for header, body in sorted(bodies.items(), key=lambda entry: (-len(entry[1]), entry[0])):
            depth = sum(header in other for other in bodies.values())
            innermost = not any(other in body for other in bodies if other != header)
            loops.append(Loop(header, frozenset(latches[header]), body, depth, innermost))
        return loops


def _body(header: int, latches: set[int], before: dict[int, set[int]]) -> frozenset[int]:
    body, todo = {header}, list(latches)
    while todo:
        block = todo.pop()
        if block not in body:
            body.add(block)
            todo.extend(before[block])
    return frozenset(body)


def _blocks(function: Function) -> list[Block]:
    instructions, labels = function.instructions, function.labels
    starts = {0, *(index for index in labels.values() if index < len(instructions))}
    starts |= {i + 1 for i, x in enumerate(instructions[:-1]) if x.name in _LEAVES + _JUMPS}
    ordered = sorted(starts)
    number = {start: block for block, start in enumerate(ordered)}
    blocks = []
    for block, start in enumerate(ordered):
        end = ordered[block + 1] if block + 1 < len(ordered) else len(instructions)
        last = instructions[end - 1]
        following = set()
        if _goes_on(last) and end < len(instructions):
            following.add(block + 1)
        if last.name in _JUMPS and not last.opcode.startswith("BRA.DIV"):
            # BRA.DIV leaves for code that only a warp which has lost its lanes runs: cold, so it is cut off here.
            following |= {number[labels[target]] for target in last.targets if target in labels}
        blocks.append(Block(start, end, tuple(sorted(following)), last.name in _LEAVES))
    return blocks


def _goes_on(last: Instruction) -> bool:
    """Whether the next instruction may follow: a guard, or a predicate among a branch's operands, may be false.

    Calls return, and what they call is not followed.
    """
    if last.name not in _LEAVES + _JUMPS:
        return True
    guarded = last.guard not in ("", "@PT", "@UPT")
    conditional = last.name == "BRA" and re.search(r"\bU?P\d", last.operands) is not None
    return guarded or conditional or last.opcode.startswith("BRA.DIV")


def _reverse_postorder(blocks: list[Block]) -> list[int]:
    """Of the blocks that can be reached; without the back edges, each comes after all that lead to it."""
    seen, finished = {0}, []
    stack = [(0, iter(blocks[0].next))]
    while stack:
        block, following = stack[-1]
        new = next((target for target in following if target not in seen), None)
        if new is None:
            finished.append(block)
            stack.pop()
        else:
            seen.add(new)
            stack.append((new, iter(blocks[new].next)))
    return finished[::-1]


def _dominators(blocks: list[Block], order: list[int]) -> dict[int, int]:
    """Per block a bit mask of the blocks that every way to it passes, itself included."""
    before: dict[int, list[int]] = {block: [] for block in order}
    for block in order:
        for target in blocks[block].next:
            before[target].append(block)
    everything = (1 << len(blocks)) - 1
    found = dict.fromkeys(order, everything)
    found[order[0]] = 1 << order[0]
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            common = everything
            for source in before[block]:
                common &= found[source]
            common |= 1 << block
            if common != found[block]:
                found[block], changed = common, True
    return found
