"""What tests of streams send, how they run one to its end, and how they make Spark repeat a batch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark import cloudpickle

import tritium
from tritium.streams import Sink, Versions

__all__ = ["END_LIMIT_S", "drain", "forget_commit", "no_two", "numbers", "publish"]

cloudpickle.register_pickle_by_value(sys.modules[__name__])

END_LIMIT_S = 300.0


def no_two(_: Any) -> Any:
    """Load a model that doubles ``n`` and fails on 2."""

    def predict(batch: Mapping[str, Any]) -> Any:
        if 2 in batch["n"]:
            raise ValueError("two")
        return batch["n"] * 2.0

    return predict


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


def publish(versions: Versions, plus: float) -> str:
    """Let a version that adds a number be the wanted one."""
    files = versions.state.with_name(f"plus-{plus}")
    files.mkdir(exist_ok=True)
    (files / "plus").write_text(str(plus))
    return versions.publish(files)
