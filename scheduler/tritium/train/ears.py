"""Decides who hears what ranks say: their reports, their lines, and whoever keeps the books."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tritium.train.assembly import Assembly
from tritium.train.board import Witness
from tritium.train.messages import FromTask, Line, Report

__all__ = ["ears", "print_line"]


def ears(
    assembly: Assembly,
    witness: Witness,
    on_report: Callable[[int, Mapping[str, Any]], None] | None,
    on_line: Callable[[int, str], None],
) -> Callable[[FromTask], None]:
    """Pass on what ranks say as it is heard; a stopped gang's last words are not news."""

    def hear(message: FromTask) -> None:
        witness.hear(message)
        match message:
            case Report(rank=rank, values=values) if on_report is not None:
                on_report(rank, values)
            case Line(rank=rank, text=text) if assembly.error is None:
                on_line(rank, text)
            case _:
                pass

    return hear


def print_line(rank: int, text: str) -> None:
    """Show at the driver what a rank printed."""
    print(f"[rank {rank}] {text}", file=sys.stderr, flush=True)  # noqa: T201  the rank's own words
