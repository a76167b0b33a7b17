"""The meeting at the driver, over real sockets and without Spark."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import AuthenticationError
from typing import Any

import pytest

from rigs.processes import eventually
from tritium.errors import GangCancelled, GangLost
from tritium.train.assembly import Assembly
from tritium.train.meeting import Meeting
from tritium.train.messages import Beat, FromTask, Gone, Here, Line, Outcome, Pulse, Stop, ToTask
from tritium.train.wire import Wire, dial, listen


def receive(wire: Wire) -> ToTask:
    while isinstance(message := wire.recv(), Pulse):
        pass
    assert isinstance(message, ToTask)
    return message


class Opened:
    """A meeting for one task, and what it was told."""

    def __init__(self, *, raising: bool = False, silence_s: float = 30.0, slow_s: float = 0.0) -> None:
        self.assembly = Assembly(
            gang="train", size=1, launch_s=60, launch_by=1e12, end_by=None, silence_s=silence_s
        )
        self.heard: list[FromTask] = []
        self.abandoned = threading.Event()
        self._raising, self._slow_s = raising, slow_s
        self.meeting = Meeting(
            self.assembly, bind="127.0.0.1", host="127.0.0.1", heard=self.hear, abandoned=self.abandoned.set
        )

    def hear(self, message: FromTask) -> None:
        if self._raising:
            raise ValueError("the caller's own")
        if isinstance(message, Here):
            time.sleep(self._slow_s)
        self.heard.append(message)


@contextmanager
def opened(**settings: Any) -> Iterator[Opened]:
    found = Opened(**settings)
    try:
        yield found
    finally:
        found.meeting.close()


def test_what_a_task_says_is_heard() -> None:
    with opened() as it, dial(it.meeting.address, it.meeting.key) as wire:
        wire.send(Here(task=0))
        wire.send(Line(rank=0, text="hello"))

        assert eventually(lambda: it.heard[1:]) == [Line(rank=0, text="hello")]


def test_nobody_enters_without_the_key() -> None:
    with opened() as it:
        with pytest.raises((AuthenticationError, EOFError, OSError)):
            dial(it.meeting.address, b"another key")

        with dial(it.meeting.address, it.meeting.key) as wire:
            wire.send(Here(task=0))
            assert eventually(lambda: it.heard)


def test_a_guest_that_says_nothing_holds_up_nobody() -> None:
    with (
        opened() as it,
        socket.create_connection(it.meeting.address),
        dial(it.meeting.address, it.meeting.key) as wire,
    ):
        wire.send(Here(task=0))

        assert eventually(lambda: it.heard)


def test_a_task_that_vanishes_is_lost_and_the_job_is_taken_from_spark() -> None:
    with opened() as it:
        with dial(it.meeting.address, it.meeting.key) as wire:
            wire.send(Here(task=0))
            eventually(lambda: it.heard)

        assert it.meeting.over.wait(5)
        assert isinstance(it.assembly.error, GangLost)
        assert it.abandoned.wait(5)


def test_a_driver_that_was_busy_takes_its_own_delay_for_nobodys_silence() -> None:
    with opened(silence_s=0.5, slow_s=1.5) as it, dial(it.meeting.address, it.meeting.key) as wire:
        wire.send(Here(task=0))
        for _ in range(15):
            wire.send(Beat(task=0))
            time.sleep(0.1)
        assert eventually(lambda: it.heard)
        assert it.assembly.error is None

        assert it.meeting.over.wait(5), "a task that says nothing more is lost"
        assert isinstance(it.assembly.error, GangLost)


def test_a_cancelled_gang_is_told_to_stop() -> None:
    with opened() as it, dial(it.meeting.address, it.meeting.key) as wire:
        wire.send(Here(task=0))
        eventually(lambda: it.heard)

        it.meeting.cancel()

        assert receive(wire) == Stop()
        wire.send(Gone(task=0, outcome=Outcome(kind="stopped")))
        assert it.meeting.over.wait(5)
        assert isinstance(it.assembly.error, GangCancelled)


def test_an_error_of_the_callers_callback_ends_the_gang_and_is_kept() -> None:
    with opened(raising=True) as it, dial(it.meeting.address, it.meeting.key) as wire:
        wire.send(Here(task=0))

        assert receive(wire) == Stop()
        assert isinstance(it.meeting.failure, ValueError)


def test_closing_ends_the_connections_and_the_thread() -> None:
    with opened() as it:
        wire = dial(it.meeting.address, it.meeting.key)
        wire.send(Here(task=0))
        eventually(lambda: it.heard)

    with pytest.raises((EOFError, OSError)):
        receive(wire)
    wire.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tritium-meeting"]


def test_a_task_finds_no_meeting_that_is_over() -> None:
    with opened() as it:
        pass

    began = time.monotonic()
    with pytest.raises(OSError, match="refused"):
        dial(it.meeting.address, it.meeting.key)
    assert time.monotonic() - began < 5


def test_a_socket_listens_on_both_kinds_of_address() -> None:
    for host in ("127.0.0.1", "localhost"):
        with listen(host, 0, backlog=1) as server:
            assert server.getsockname()[1] > 0
