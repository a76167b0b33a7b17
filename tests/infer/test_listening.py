"""An owner's listening side alone, as a thread of the test: who is let in, who is heard, who is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rigs.processes import eventually
from tritium.infer import owner as owning
from tritium.infer.guests import Guest
from tritium.infer.link import Link, bind, connect
from tritium.infer.memory import Memory
from tritium.infer.words import Order
from tritium_discovery.drain import Ask

_ORDER = Order(
    what="owner of a model",
    host="h",
    executor="executor 0",
    devices=(),
    load=b"",
    output=("y",),
    quarantine=False,
    keep_s=60,
    limit_s=60,
)


class Drains:
    """Devices that may be asked for."""

    ask: Ask | None = None

    def asked(self) -> Ask | None:
        return self.ask

    def weigh(self, priority: int | None) -> None:
        pass


class Listening(owning._Owner):
    """Notes when its process would end, instead of ending that of the test."""

    def __init__(self, listener: socket.socket, drains: Any) -> None:
        super().__init__(_ORDER, listener, drains)
        self.ended = threading.Event()

    def _end_at_once(self) -> None:
        self.ended.set()
        for guest in self._guests.values():  # as the kernel does
            guest.link.close()
        raise SystemExit

    def in_queue(self) -> int:
        return self._work.qsize()


class Rig:
    def __init__(self, life: int) -> None:
        listener = bind(f"{os.getpid()}.1", "listening")
        self.address = listener.getsockname()[1:].decode()
        self.drains = Drains()
        self.owner = Listening(listener, self.drains)
        self.thread = threading.Thread(target=self._run, args=(listener, life))
        self.thread.start()

    def _run(self, listener: socket.socket, life: int) -> None:
        with listener, contextlib.suppress(SystemExit):
            self.owner.listen([life])

    def guest(self) -> Link:
        link = connect(self.address, within_s=60)
        assert link is not None
        link.send(("attach", 99, "a0"))
        (word, _), _ = link.receive()
        assert word == "welcome"
        return link

    def takes(self, link: Link) -> bool:
        """Whether a batch of this guest's is taken in."""
        memory, before = Memory(), self.owner.in_queue()
        where, _ = memory.write({"x": [1]})
        with contextlib.suppress(OSError):
            link.send((0, 1, where, None), [memory.fileno])
        limit = time.monotonic() + 10
        while self.owner.in_queue() == before and time.monotonic() < limit:
            time.sleep(0.01)
        return self.owner.in_queue() == before + 1


@pytest.fixture
def rig() -> Iterator[Rig]:
    life, death = os.pipe()
    made = Rig(life)
    yield made
    os.close(death)  # its executor goes
    made.thread.join(20)
    os.close(life)
    assert not made.thread.is_alive()


def test_a_guest_that_says_what_cannot_be_read_is_left_and_the_others_are_served(rig: Rig) -> None:
    good, bad, unknown = rig.guest(), rig.guest(), rig.guest()

    bad.socket.send(b"no message")
    unknown.send((7, 1, ((0, 1),)))  # a place whose memory never came

    for left in (bad, unknown):
        with pytest.raises(EOFError):
            left.receive()
    assert rig.takes(good)
    assert not rig.owner.ended.is_set()
    for link in (good, bad, unknown):
        link.close()


def test_a_guest_that_does_not_read_is_left_at_the_deadline_and_finds_out_why(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owning, "_DRAIN_S", 0.5)
    quiet = rig.guest()

    rig.drains.ask = Ask(by="rank 0 of gang g", deadline=time.time() + 1)

    assert rig.owner.ended.wait(20)
    assert time.time() >= rig.drains.ask.deadline
    assert quiet.receive()[0] == ("leave", None)
    with pytest.raises(EOFError):
        quiet.receive()
    quiet.close()


def test_descriptors_of_any_number_can_be_listened_to(rig: Rig) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this host allows no process so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    some = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]

    try:
        guest = rig.guest()
        assert guest.socket.fileno() > 1024
        assert rig.takes(guest)
        guest.close()
    finally:
        for fileno in some:
            os.close(fileno)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not rig.owner.ended.is_set()


def test_a_guest_is_welcome_before_it_hears_anything_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Guest.say

    def slowly(self: Any, message: Any, descriptors: Any = ()) -> None:
        if message[0] == "welcome":
            rig.owner._ready(("loaded", 1.0))  # the other thread, in just this moment
        said(self, message, descriptors)

    monkeypatch.setattr(Guest, "say", slowly)

    guest = rig.guest()  # which looks at the first word

    assert guest.receive()[0] == ("loaded", 1.0)
    guest.close()


_TASK = """
import os, sys, time
from tritium.infer.link import connect
link = connect(sys.argv[1], within_s=60)
link.send(("attach", 99, "a0"))
assert link.receive()[0][0] == "welcome"
if child := os.fork():
    print(child, flush=True)
time.sleep(600)
"""


def test_a_guest_whose_process_was_killed_is_gone_though_what_it_forked_lives(rig: Rig) -> None:
    task = subprocess.Popen([sys.executable, "-c", _TASK, rig.address], stdout=subprocess.PIPE)
    assert task.stdout is not None
    child = int(task.stdout.readline())
    try:
        assert len(rig.owner._guests) == 1

        task.kill()

        eventually(lambda: not rig.owner._guests)
        os.kill(child, 0)  # and it does live
    finally:
        os.kill(child, signal.SIGKILL)
        task.stdout.close()
        task.wait()


def test_a_guest_that_leaves_leaves_no_descriptor_behind(rig: Rig) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  no Path is needed for it

    before = open_now()
    for _ in range(3):
        rig.guest().close()

    eventually(lambda: open_now() == before)
