"""Decides who hears what ranks say: their reports, their lines, and whoever keeps the books."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tritium.train.assembly import Assembly
from tritium.train.board import Witness
from tritium.train.messages import FromTask, Line, Report

__all__ = ["ears", "print_line"]

_MOST = 10_000
"""How far callbacks may be behind what ranks say; after that they miss some, and are told how much."""
_CATCH_UP_S = 10.0
"""How long a gang's end waits for callbacks that are behind."""


class _Callbacks:
    """Calls the caller's functions, in order, in a thread that may be as slow as they are."""

    def __init__(self, most: int, missed: Callable[[int], None]) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(most)
        self._missed, self._left_out = missed, 0
        self._failure: Exception | None = None
        self._told = False
        self._thread = threading.Thread(target=self._run, name="tritium-callbacks", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Call it soon, if there is room."""
        try:
            if self._left_out:
                self._waiting.put_nowait(partial(self._missed, self._left_out))
                self._left_out = 0
            self._waiting.put_nowait(function)
        except queue.Full:
            self._left_out += 1

    def check(self) -> None:
        """Raise what one of them raised, once; the others are not called any more."""
        if self._failure is not None and not self._told:
            self._told = True
            raise self._failure

    def close(self) -> None:
        """Let them catch up, within a limit."""
        try:
            self._waiting.put(None, timeout=_CATCH_UP_S)
        except queue.Full:
            return
        self._thread.join(_CATCH_UP_S)

    def _run(self) -> None:
        while (function := self._waiting.get()) is not None:
            try:
                if self._failure is None:
                    function()
            except Exception as err:  # noqa: BLE001  it is the caller's, and is raised where the caller waits
                self._failure = err


@contextmanager
def ears(
    assembly: Assembly,
    witness: Witness,
    on_report: Callable[[int, Mapping[str, Any]], None] | None,
    on_line: Callable[[int, str], None],
    *,
    most: int = _MOST,
) -> Iterator[Callable[[FromTask], None]]:
    """Pass on what ranks say; a stopped gang's last words are not news.

    The caller's functions may take long or hang (a full pipe, a tracking server), so they run in a thread
    of their own: whoever listens to the tasks must go on. Tasks are heard every second, so an error in one is
    raised to the listener as soon, or at the end of the block.
    """

    def missed(count: int) -> None:
        print_line(0, f"tritium: {count} reports and lines left out here: on_report or on_line is too slow")

    callbacks = _Callbacks(most, missed)

    def hear(message: FromTask) -> None:
        callbacks.check()
        witness.hear(message)
        match message:
            case Report(rank=rank, values=values) if on_report is not None:
                callbacks.call(partial(on_report, rank, values))
            case Line(rank=rank, text=text) if assembly.error is None:
                callbacks.call(partial(on_line, rank, text))
            case _:
                pass

    try:
        yield hear
    finally:
        callbacks.close()
    callbacks.check()


def print_line(rank: int, text: str) -> None:
    """Show at the driver what a rank printed."""
    print(f"[rank {rank}] {text}", file=sys.stderr, flush=True)  # noqa: T201  the rank's own words
