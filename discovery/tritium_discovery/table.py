"""Tables for people: columns as wide as their widest cell."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows with two spaces between the columns.

    >>> print(table([("A", "B"), ("long", "x")]))
    A     B
    long  x
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
