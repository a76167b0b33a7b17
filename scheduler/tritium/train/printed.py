"""Edge in a task: what a rank prints, whole in a log beside Spark's own, at a bearable rate to the driver."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from pathlib import Path
from typing import IO

from tritium.train.lines import Lines

__all__ = ["LOGS", "Printed", "Rate", "log_folder"]

LOGS = "TRITIUM_LOGS"
"""Folder for the whole output of ranks, in the executors (``spark.executorEnv.TRITIUM_LOGS``)."""

_MAX_LINE = 65536
"""Longest line that is relayed in one piece, in bytes."""
_PER_S = 200.0
_BURST = 2000
_TAIL = 20


def log_folder() -> Path:
    """Where ranks' logs go: as told, else where Spark keeps the executor's own files."""
    from pyspark import SparkFiles

    return Path(os.environ.get(LOGS) or SparkFiles.getRootDirectory()).absolute()


class Rate:
    """Decides which lines go on: ``burst`` at once, then ``per_s`` of them.

    >>> rate = Rate(per_s=1, burst=2)
    >>> [rate.admits(now=0.0) for _ in range(4)], rate.left_out(), rate.admits(now=1.0), rate.left_out()
    ([True, True, False, False], 2, True, 0)
    """

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, float(burst)
        self._room, self._at = float(burst), 0.0
        self._left_out = 0

    def admits(self, *, now: float) -> bool:
        """Whether one more line may go on now."""
        self._room = min(self._burst, self._room + (now - self._at) * self._per_s)
        self._at = now
        if self._room < 1:
            self._left_out += 1
            return False
        self._room -= 1
        return True

    def left_out(self) -> int:
        """Count the lines that did not go on since this was asked last."""
        count, self._left_out = self._left_out, 0
        return count


class Printed:
    """One rank's output.

    Args:
        path: its log; ``None``: there is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._log: IO[bytes] | None = None
        if path is not None:
            with contextlib.suppress(OSError):  # without a log there is still the driver
                path.parent.mkdir(parents=True, exist_ok=True)
                self._log = path.open("ab", buffering=0)
        self.where = f"{path} on {socket.gethostname()}" if self._log is not None else ""
        """E.g. ``/var/spark/app-1/0/train-5f0c2a.0-rank-3.log on node-7``; empty without a log."""
        # What a rank prints may end its lines as a progress bar does, or never.
        self._lines = Lines(ends=rb"[\r\n]+", limit=_MAX_LINE)
        self._rate = Rate(per_s=_PER_S, burst=_BURST)
        self._tail: deque[str] = deque(maxlen=_TAIL)

    @property
    def tail(self) -> str:
        """The last lines."""
        return "\n".join(self._tail)

    def feed(self, data: bytes, *, now: float) -> list[str]:
        """Take in more; returns the lines that may go to the driver."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the training
                self._log.write(data)
        return self._admitted(self._lines.feed(data), now)

    def last(self, *, now: float) -> list[str]:
        """Close the log; returns what came after the last line's end, and how much was left out."""
        if self._log is not None:
            self._log.close()
        rest = self._lines.last()
        said = self._admitted([rest], now) if rest else []
        return said + self._gap()

    def _admitted(self, lines: list[str], now: float) -> list[str]:
        said = []
        for line in lines:
            self._tail.append(line)
            if self._rate.admits(now=now):
                said += [*self._gap(), line]
        return said

    def _gap(self) -> list[str]:
        count = self._rate.left_out()
        whole = f"; all of it: {self.where}" if self.where else ""
        return [f"tritium: {count} lines left out here{whole}"] if count else []
