"""Edge in a task: its connection to the driver, on which both ends are heard at all times.

A closed connection is news at once. A machine that stands still or a cable that is cut closes nothing,
so both ends also say a word every few moments, whatever else they do: here a thread does.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from multiprocessing.connection import wait
from typing import Protocol

from tritium.train.messages import Beat, FromTask, Pulse, ToTask
from tritium.train.wire import Wire, hang_up

__all__ = ["Ear", "Link", "beat_s"]


def beat_s(silence_s: float) -> float:
    """How often to say a word, so that a few may be late before it counts as silence.

    >>> beat_s(30.0), beat_s(2.0)
    (5.0, 0.5)
    """
    return min(5.0, silence_s / 4)


class Ear(Protocol):
    """Where the driver is heard."""

    def fileno(self) -> int:
        """Readable when there is something to receive, or nothing more will come."""

    def recv(self) -> ToTask:
        """Return the next message."""


class Link:
    """One task's end of its connection, from its first word to `close`."""

    def __init__(self, wire: Wire, *, task: int, silence_s: float) -> None:
        self._wire, self._task, self._silence_s = wire, task, silence_s
        self._heard: deque[ToTask] = deque()
        self._bell, self._ring = os.pipe()
        self._woken, self._wake = os.pipe()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="tritium-link", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there is something to receive, or nothing more will come."""
        return self._bell

    def send(self, message: FromTask) -> None:
        """Tell the driver something.

        Raises:
            OSError: it is lost.
        """
        with self._sending:
            try:
                self._wire.send(message)
            except OSError:
                # Perhaps half of it went out: nothing can follow.
                hang_up(self._wire)
                raise

    def recv(self) -> ToTask:
        """Wait for the next message.

        Raises:
            EOFError: the driver is gone, or has been silent for too long.
        """
        if not os.read(self._bell, 1):
            raise EOFError
        return self._heard.popleft()

    def close(self) -> None:
        """End the connection and the thread."""
        os.write(self._wake, b"x")
        self._thread.join()
        self._wire.close()
        for fileno in (self._bell, self._woken, self._wake):
            os.close(fileno)

    def _beat(self) -> None:
        # Whoever is sending right now may wait for a driver that does not read.
        if self._sending.acquire(blocking=False):
            try:
                self._wire.send(Beat(task=self._task))
            except OSError:
                hang_up(self._wire)  # what has come before that is still heard
            finally:
                self._sending.release()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                self._hear_and_be_heard()
            hang_up(self._wire)  # so that nobody waits in send
        finally:
            os.close(self._ring)

    def _hear_and_be_heard(self) -> None:
        every_s = beat_s(self._silence_s)
        heard_at, next_beat = time.monotonic(), 0.0
        while True:
            if (now := time.monotonic()) >= next_beat:
                self._beat()
                next_beat = now + every_s
            ready = wait([self._wire, self._woken], timeout=next_beat - now)
            if self._woken in ready:
                return
            if ready:
                heard_at = time.monotonic()
                if not isinstance(message := self._wire.recv(), Pulse):
                    self._heard.append(message)
                    os.write(self._ring, b"x")
            elif time.monotonic() - heard_at > self._silence_s:
                return
