"""Names of kernels as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.sass.tools import run

_ELEMENT_BYTES = {"float": 4, "double": 8, "__half": 2, "__nv_bfloat16": 2, "Half": 2, "BFloat16": 2}


def readable(mangled: Iterable[str]) -> dict[str, str]:
    """By mangled name the short one, as in {"_ZN...": "scan<float, false>"}."""
    names = list(mangled)
    if not names:
        return {}
    demangled = run("c++filt", text="\n".join(names)).splitlines()
    return {name: short(text) for name, text in zip(names, demangled, strict=True)}


def short(demangled: str) -> str:
    """A kernel's name with template arguments; without result, parameters and namespaces.

    >>> short("void s2sfast::(anonymous namespace)::scan<float, (bool)0, s2sfast::Sizes>(float const*, int)")
    'scan<float, (bool)0, Sizes>'
    >>> short("plain")
    'plain'
    """
    text = demangled.removeprefix("void ").replace("(anonymous namespace)::", "")
    text = re.sub(r"\b[A-Za-z_]\w*::", "", text)
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return text[:index]
    return text


def element_bytes(name: str) -> int | None:
    """The size of the first template argument, where that is a type of number.

    >>> element_bytes("scan<__half, false>"), element_bytes("gather<8>")
    (2, None)
    """
    arguments = re.search(r"<\s*(\w+)", name)
    return _ELEMENT_BYTES.get(arguments[1]) if arguments else None
