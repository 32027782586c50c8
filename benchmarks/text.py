"""Numbers and tables as people read them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """
    >>> [seconds(x) for x in (4.567e-6, 0.000789, 0.0123, 2.5)]
    ['4.57 us', '789 us', '12.3 ms', '2.50 s']
    """
    for unit, scale in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        number = f"{value / scale:.3g}"
        if float(number) < 1000 or unit == "s":
            break
    digits = max(0, 3 - len(number.split(".")[0]))
    return f"{float(number):.{digits}f} {unit}"


def times(ratio: float) -> str:
    """
    >>> times(0.987), times(8.21), times(153.2)
    ('0.99x', '8.2x', '153x')
    """
    return f"{ratio:.2f}x" if ratio < 1 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


def table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])
