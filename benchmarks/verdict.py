"""An aim and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Verdict:
    aim: str
    wanted: str
    got: str
    met: bool | None
    """None: not measured."""
    note: str = ""

    @property
    def text(self) -> str:
        return "not measured" if self.met is None else ("met" if self.met else "**missed**") + self.note
