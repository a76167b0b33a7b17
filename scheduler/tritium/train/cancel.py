"""Whether somebody has cancelled a run, from its first moment to its last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from tritium.errors import GangCancelled

__all__ = ["Cancel"]


class Cancel:
    """One run's: asked for from any thread, heeded by whatever the run is doing."""

    def __init__(self, gang: str) -> None:
        self._gang = gang
        self._lock = threading.Lock()
        self._asked = False
        self._end: Callable[[], None] | None = None

    @classmethod
    @contextmanager
    def noted(cls, among: set[Self], gang: str) -> Iterator[Self]:
        """Be found among those of a gang's runs, for the block."""
        cancel = cls(gang)
        among.add(cancel)
        try:
            yield cancel
        finally:
            among.discard(cancel)

    def ask(self) -> None:
        """Cancel the run; to ask twice is to ask once."""
        with self._lock:
            self._asked, end = True, self._end
        if end is not None:
            end()

    def check(self) -> None:
        """Go on if nobody has asked.

        Raises:
            GangCancelled: somebody has.
        """
        if self._asked:
            raise GangCancelled(f"{self._gang}: was cancelled")

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Let whoever asks during the block call ``end``.

        Raises:
            GangCancelled: somebody has asked before.
        """
        with self._lock:
            self.check()
            self._end = end
        try:
            yield
        finally:
            with self._lock:
                self._end = None
