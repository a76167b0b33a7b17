"""What a rank of the fault suite does: a training in phases, which stays in one of them to be hit there.

The module travels to ranks by value.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tritium

__all__ = ["work"]

_HIDE = "import os, time; os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(300)"


def work(order: dict[str, Any]) -> list[Any]:
    """Go through the phases, and stay in one until told to go on; returns token, attempt and first step.

    A gang that is tried again stays there in its first attempt only, then at its end. It saves checkpoints
    as it goes; what it may not save leaves a file that says so.
    """
    if order["deaf"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    training = _Training(order)
    for phase in ("start", "rendezvous", "step", "checkpoint", "end"):
        training.enter(phase)
        if phase == "rendezvous":
            tritium.rank().barrier()
            training.save(together=True)
        training.save()
    return [order["token"], tritium.rank().attempt, training.first]


class _Training:
    def __init__(self, order: dict[str, Any]) -> None:
        self._order, self._place, self._rank = order, Path(order["folder"]), tritium.rank()
        self._keeps, again = self._rank.checkpoints is not None, self._rank.attempt > 0
        self._stays_in = "end" if again else order["phase"]
        self._leaves_at = self._place / ("publish" if self._keeps and not again else "go")
        self._child = self._hide(self._witness())
        found = tritium.checkpoint.latest() if self._keeps else None
        self.first = self._step = found.step if found is not None else 0

    def _witness(self) -> list[int]:
        """Have a lock of our own for each device, so that two who use one are seen."""
        locks = []
        for device in self._rank.devices:
            locks.append(os.open(self._place.parent / f"witness-{device.uuid}", os.O_RDWR | os.O_CREAT))
            try:
                fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                (self._place.parent / f"double-{self._order['token']}-{device.uuid}").touch()
        return locks

    def _hide(self, locks: list[int]) -> int:
        """Start a grandchild that hides, and keeps the devices as a forked data loader does."""
        hidden = subprocess.Popen(
            [sys.executable, "-c", _HIDE], start_new_session=True, stdout=subprocess.PIPE, pass_fds=locks
        )
        assert hidden.stdout is not None
        return int(hidden.stdout.readline())

    def enter(self, phase: str) -> None:
        """Stay in a phase if it is the one to be hit in."""
        if phase != self._stays_in:
            return
        devices = ",".join(device.uuid for device in self._rank.devices)
        self._rank.report(phase=phase, pid=os.getpid(), hidden=self._child, devices=devices)
        victim, kind = self._rank.rank in self._order["victims"], self._order["kind"]
        # At the rendezvous one waits where the other does not come; whoever fails by itself is that other.
        waits = not victim if kind in ("exit", "exception") else self._rank.rank == 0
        if phase == "rendezvous" and waits:
            return
        while not self._leaves_at.exists():
            if victim and (self._place / kind).exists():
                if kind == "exit":
                    os._exit(7)
                raise ValueError("injected")
            if phase == "checkpoint":
                (self._place / f"checkpoint-{self._rank.rank}").write_bytes(os.urandom(1 << 16))
                self.save()
            time.sleep(0.01)

    def save(self, *, together: bool = False) -> None:
        """Save the next checkpoint: all ranks, or a victim alone."""
        self._step += 1
        if not self._keeps or not (together or self._rank.rank in self._order["victims"]):
            return
        content = {"attempt": b"%d" % self._rank.attempt}
        try:
            tritium.checkpoint.save(self._step, content, together=together)
        except Exception as err:  # noqa: BLE001  the suite wants to know whatever comes
            (self._place / f"refused-{self._rank.attempt}-{type(err).__name__}").touch()
