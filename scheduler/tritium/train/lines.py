"""Decides where one line of a stream ends: bytes in, whole lines out."""

from __future__ import annotations

import re

__all__ = ["Lines"]


class Lines:
    r"""Cuts a stream into lines, without looking at any byte twice.

    >>> lines = Lines(ends=rb"[\r\n]", limit=8)
    >>> lines.feed(b"1/3\r2"), lines.feed(b"/3\r\nlonger than the limit"), lines.last()
    (['1/3'], ['2/3', '', 'longer than the limit'], '')
    """

    def __init__(self, *, ends: bytes = rb"\n", limit: int | None = None) -> None:
        self._ends = re.compile(ends)
        self._limit = limit
        self._open: list[bytes] = []

    def feed(self, data: bytes) -> list[str]:
        """Take in more bytes; returns the lines that they complete, or that grew beyond the limit."""
        *whole, rest = self._ends.split(data)
        if whole:
            whole[0] = b"".join([*self._open, whole[0]])
            self._open = []
        self._open.append(rest)
        if self._limit is not None and sum(map(len, self._open)) > self._limit:
            whole.append(b"".join(self._open))
            self._open = []
        return [line.decode(errors="replace") for line in whole]

    def last(self) -> str:
        """Return what came after the last line's end, and forget it."""
        rest, self._open = b"".join(self._open), []
        return rest.decode(errors="replace")
