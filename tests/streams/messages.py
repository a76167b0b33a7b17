"""What tests of streams send, how they run one to its end, and how they make Spark repeat a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tritium
from tritium.streams import Sink

__all__ = ["END_LIMIT_S", "drain", "forget_commit", "numbers"]

END_LIMIT_S = 300.0


def numbers(first: int, last: int) -> list[bytes]:
    return [json.dumps({"n": n}).encode() for n in range(first, last)]


def forget_commit(checkpoint: Path, batch: int) -> None:
    """Make it as if the driver had died after the sink had a batch and before Spark noted that."""
    for name in (str(batch), f".{batch}.crc"):
        (checkpoint / "rows" / "commits" / name).unlink(missing_ok=True)


def drain(source: Any, sink: Sink, checkpoint: Path, **rest: Any) -> None:
    """Run a stream over what is there now."""
    with tritium.stream(source, sink=sink, checkpoint=checkpoint, every_s=None, **rest) as stream:
        stream.wait(END_LIMIT_S)
