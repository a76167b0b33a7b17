"""Sets text in columns, for terminals, files and tests alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, indent: str = "") -> list[str]:
    r"""Return the lines of a table; numbers stand at the right of their column.

    >>> print("\n".join(table(("rank", "device"), [("0", "GPU-a"), ("10", "GPU-b")])))
    rank  device
       0  GPU-a
      10  GPU-b
    """
    cells = [[*head], *([*row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [all(_number(row[column]) for row in cells[1:]) for column in range(len(head))]
    return [
        indent
        + "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).isdigit() or text == "-"
