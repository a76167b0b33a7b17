"""What tests of streams send, and how they make Spark repeat a batch."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["forget_commit", "numbers"]


def numbers(first: int, last: int) -> list[bytes]:
    return [json.dumps({"n": n}).encode() for n in range(first, last)]


def forget_commit(checkpoint: Path, batch: int) -> None:
    """Make it as if the driver had died after the sink had a batch and before Spark noted that."""
    for name in (str(batch), f".{batch}.crc"):
        (checkpoint / "rows" / "commits" / name).unlink(missing_ok=True)
