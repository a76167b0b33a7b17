"""A task's link to the driver: both ends are heard at all times, and silence ends it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import Pipe
from typing import Any

import pytest

from tritium.train.link import Link
from tritium.train.messages import Beat, Go, Line, Pulse, Stop
from tritium.train.wire import dial


@contextmanager
def linked(*, silence_s: float) -> Iterator[tuple[Link, Any]]:
    near, far = Pipe()
    with closing(far), closing(Link(near, task=3, silence_s=silence_s)) as link:
        yield link, far


def test_what_is_sent_is_heard_on_either_side_in_order() -> None:
    with linked(silence_s=30.0) as (link, far):
        assert far.recv() == Beat(task=3)
        link.send(Line(rank=0, text="step 1"))
        assert far.recv() == Line(rank=0, text="step 1")
        for message in (Pulse(), Go(), Pulse(), Stop()):
            far.send(message)

        assert (link.recv(), link.recv()) == (Go(), Stop())
        assert not select.select([link], [], [], 0.1)[0]


def test_a_task_says_a_word_even_if_it_has_nothing_to_say() -> None:
    with linked(silence_s=1.0) as (_, far):
        beats = [far.recv() for _ in range(4)]

    assert beats == [Beat(task=3)] * 4


def test_a_driver_that_says_a_word_now_and_then_is_not_lost() -> None:
    with linked(silence_s=1.0) as (link, far):
        for _ in range(8):
            time.sleep(0.25)
            far.send(Pulse())
        far.send(Go())

        assert link.recv() == Go()


def test_what_a_driver_said_last_is_heard_even_if_it_hears_nothing_any_more() -> None:
    near, far = Pipe()
    far.send(Go())
    far.close()
    with closing(Link(near, task=3, silence_s=30.0)) as link:
        assert link.recv() == Go()
        with pytest.raises(EOFError):
            link.recv()


def test_a_silent_driver_is_lost_and_what_it_said_before_is_heard() -> None:
    with linked(silence_s=0.5) as (link, far):
        far.send(Go())

        assert link.recv() == Go()
        with pytest.raises(EOFError):
            link.recv()
        with pytest.raises(OSError, match=r"closed|Broken pipe"):
            link.send(Line(rank=0, text="nobody hears this"))


def test_a_closed_connection_is_known_at_once() -> None:
    with linked(silence_s=600.0) as (link, far):
        far.close()

        with pytest.raises(EOFError):
            link.recv()


def say_without_end(link: Link) -> None:
    while True:
        link.send(Line(rank=0, text="x" * 100_000))


DRIVER = """
import sys
from tritium.train.messages import Pulse
from tritium.train.wire import admit, listen
server = listen("127.0.0.1", 0, backlog=1)
print(server.getsockname()[1], flush=True)
wire = admit(server.accept()[0], b"key")
while True:
    wire.poll(0.1)
    wire.send(Pulse())
"""


def test_nobody_waits_for_a_driver_that_stands_still_however_much_there_is_to_say() -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        wire = dial(("127.0.0.1", int(driver.stdout.readline())), b"key")
        with closing(Link(wire, task=0, silence_s=2.0)) as link:
            os.kill(driver.pid, signal.SIGSTOP)
            began = time.monotonic()
            try:
                with pytest.raises(OSError, match=r"Broken pipe|reset|closed"):
                    say_without_end(link)
            finally:
                driver.kill()
            took_s = time.monotonic() - began

    assert took_s < 10
