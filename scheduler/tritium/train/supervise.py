"""Edge in a task: start a rank under its guardian and stay until nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import selectors
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tritium.train import sweep
from tritium.train.blame import FAILED
from tritium.train.contract import Contract
from tritium.train.ending import Ending, how_it_ended
from tritium.train.launch import Guardian
from tritium.train.lines import Lines
from tritium.train.link import Ear
from tritium.train.messages import (
    Dump,
    Dumped,
    FromTask,
    Idle,
    Line,
    Moment,
    Outcome,
    Peak,
    Report,
    Share,
    Shared,
    Started,
    Stop,
)
from tritium.train.printed import Printed
from tritium.train.stacks import stacks
from tritium_discovery.process import nearest_jvm

__all__ = ["Supervisor"]

_GRACE_S = 1.0
"""Between SIGTERM and SIGKILL."""
_GONE_LIMIT_S = 15.0
"""How long to wait for a guardian's last word: its grace plus what SIGKILL may take."""
_TAKE_LIMIT_S = 20.0
"""How long a rank may take to read an answer before it is left without one."""
_STACKS_LIMIT_S = 2.0
_LOOK_S = 0.5
_IDLE_S = 1.0
"""How often the driver is told since when the rank has done nothing."""


class Supervisor:
    """One rank's place in a task: its folder and guardian at once, its process once it is placed.

    Args:
        silence_s: limit for a guardian that does not answer, and for a rank that was stopped by a signal.
        logs: folder for the rank's whole output; ``None``: it is not kept.
    """

    def __init__(self, *, silence_s: float = 30.0, logs: Path | None = None) -> None:
        self._silence_s, self._logs = silence_s, logs
        self._mark: str | None = None
        self._status: int | None = None
        self._left: bytes | None = None
        self._clean = True
        """Whether nothing that was started here can still be alive."""
        self._over = False
        """Whether the guardian has said its last word."""
        self._stopped = False
        self._stop_by = math.inf
        """When a guardian that was sent home is not waited for any more."""
        self._standing: tuple[str, float] | None = None
        """Since when the rank has stood still, and by which signal."""
        self._oom = self._silent = ""
        """What speaks for an out-of-memory kill; what has been silent for too long."""
        self._words = {"guardian": Lines(), "rank": Lines()}
        self._printed = Printed(None)
        self._output, output = socket.socketpair()
        try:
            with output:
                self.guardian = Guardian(output.fileno())
        except OSError:
            self._output.close()
            raise
        self.folder = self.guardian.folder
        self._wire, self._far_wire = socket.socketpair()
        self._wire.settimeout(_TAKE_LIMIT_S)

    def start(self, contract: Contract, environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        """Let the guardian start the rank's process, which alone keeps the descriptors from here on."""
        self._mark, self._rank = contract.mark, contract.rank
        self._began = self._active_at = self._guardian_at = time.monotonic()
        self._told_at = 0.0
        if self._logs is not None:
            self._printed = Printed(self._logs / f"{contract.mark.replace('/', '-rank-')}.log")
        self._clean = False
        order = {
            "jvm": jvm.pid if (jvm := nearest_jvm()) is not None else None,
            "mark": contract.mark,
            "argv": [str(self.folder)],
            "env": {**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            "cwd": str(Path.cwd()),
            "grace_s": _GRACE_S,
        }
        (self.folder / "contract.pkl").write_bytes(pickle.dumps(contract))
        (self.folder / "start.json").write_text(json.dumps(order))
        # That a guardian was killed before is heard in `attend`, as whenever it is.
        with self._far_wire, contextlib.suppress(OSError):
            socket.send_fds(self.guardian.wire, [b"start"], [self._far_wire.fileno(), *descriptors])

    def abandon(self) -> None:
        """Leave without having started a rank."""
        self._finish()

    def attend(
        self, driver: Ear, say: Callable[[FromTask], None], *, task: int
    ) -> tuple[Outcome, bytes | None]:
        """Relay what the rank says until it is gone; end it when the driver says so or is lost.

        Returns how it ended and, if it returned, its pickled value.
        """
        self._task = task

        def still_say(message: FromTask) -> None:
            with contextlib.suppress(OSError):  # a lost driver is news on the other side of the wire
                say(message)

        self._say = still_say
        channels = {"guardian": self.guardian.wire, "output": self._output, "rank": self._wire}
        with selectors.DefaultSelector() as watched:
            for name, channel in channels.items():
                watched.register(channel, selectors.EVENT_READ, name)
            watched.register(driver, selectors.EVENT_READ, "driver")
            while (
                self.guardian.wire in watched.get_map()
                and not self._over
                and time.monotonic() < self._stop_by
            ):
                for key, _ in watched.select(timeout=_LOOK_S):
                    if key.data == "driver":
                        if not self._heed(driver):
                            watched.unregister(driver)
                    elif not self._listen(key.data, channels[key.data]):
                        watched.unregister(key.fileobj)
                self._look_at_the_clock()
        ending = self._ending()
        self._finish()
        return ending

    def _look_at_the_clock(self) -> None:
        """Tell how long the rank has been idle; end what stands still."""
        now = time.monotonic()
        if now - self._told_at > _IDLE_S:
            self._told_at = now
            self._say(Idle(task=self._task, seconds=now - self._active_at))
        if (self._stopped or self._silent) and sweep.stands_still(self.guardian.pid):
            self.guardian.kill()
        if self._silent or self._stopped or self._over:
            return
        limit = f"for {self._silence_s:g} s (silence_timeout_s)"
        if self._standing is not None and now - self._standing[1] > self._silence_s:
            self._silent = f"was stopped by {self._standing[0]} {limit}"
            self._send_guardian_home()
        elif now - self._guardian_at > self._silence_s:
            self._silent = f"its guardian process did not answer {limit}"
            self.guardian.kill()

    def _send_guardian_home(self) -> None:
        """Let the guardian end everything, if it is still there; it has a limited time for that."""
        self._stop_by = min(self._stop_by, time.monotonic() + _GONE_LIMIT_S)
        with contextlib.suppress(OSError):
            self.guardian.wire.shutdown(socket.SHUT_WR)

    def _heed(self, driver: Ear) -> bool:
        """Do what the driver says; returns whether there may be more to come."""
        try:
            message = driver.recv()
        except (OSError, EOFError):
            message = Stop()
        if isinstance(message, Shared):
            shared = [payload.decode() for payload in message.payloads]
            answer = {"call": message.call, "shared": shared, "mismatch": message.mismatch}
            with contextlib.suppress(OSError):
                self._wire.sendall(json.dumps(answer).encode() + b"\n")
        if isinstance(message, Dump):
            self._say(Dumped(task=self._task, stacks=self._stacks()))
        if not isinstance(message, Stop):
            return True
        self._stopped = True
        self._send_guardian_home()
        return False

    def _stacks(self) -> str:
        with contextlib.suppress(OSError):
            self.guardian.wire.send(b"?")
            return stacks(self.folder, within_s=_STACKS_LIMIT_S)
        return ""

    def _listen(self, name: str, channel: socket.socket) -> bool:
        """Take in what one channel has to say; returns whether it is still open."""
        try:
            data = channel.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        now = time.monotonic()
        if name == "guardian":
            self._guardian_at = now
        elif data:
            self._active_at = now
        if name == "output":
            self._relay(self._printed.feed(data, now=now))
            return bool(data)
        for line in self._words[name].feed(data):
            if name == "rank":
                self._take_word(json.loads(line))
            else:
                self._take_notice(*line.partition(" ")[::2], now=now)
        return bool(data)

    def _relay(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(Line(rank=self._rank, text=line))

    def _take_notice(self, what: str, rest: str, *, now: float) -> None:
        """Take in a line of the guardian's."""
        match what:
            case "pid":
                self._say(Started(task=self._task, rank=self._rank, pid=int(rest)))
            case "stopped":
                self._standing = (rest, now)
            case "continued":
                self._standing = None
            case "oom":
                self._oom = rest
            case "status":
                self._status = int(rest)
                # Read now: a guardian that is sent home does not wait until it has been.
                result = self.folder / "result.pkl"
                self._left = result.read_bytes() if result.exists() else None
                if self._status:
                    self._say(Moment(rank=self._rank, name=FAILED))
            case "gone" | "stuck":
                self._over, self._clean = True, what == "gone"
            case _:  # a beat
                pass

    def _finish(self) -> None:
        """Let the guardian go; if it could not do its work, do it here."""
        for channel in (self.guardian.wire, self._output, self._wire, self._far_wire):
            channel.close()
        if not (self.guardian.end(timeout_s=_GRACE_S) and self._clean) and self._mark is not None:
            sweep.end(self._mark, grace_s=0, family=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_word(self, word: dict[str, Any]) -> None:
        if "report" in word:
            self._say(Report(rank=self._rank, values=word["report"]))
        elif "moment" in word:
            self._say(Moment(rank=self._rank, name=word["moment"]))
        elif "peak" in word:
            self._say(Peak(rank=self._rank, **word["peak"]))
        elif "share" in word:
            self._say(Share(rank=self._rank, payload=word.pop("share").encode(), **word))

    def _drain(self) -> None:
        """Take in the last words, which came before the end but may be heard after it."""
        for name, channel in (("output", self._output), ("rank", self._wire)):
            channel.setblocking(False)
            while self._listen(name, channel):
                pass
        self._relay(self._printed.last(now=time.monotonic()))

    def _ending(self) -> tuple[Outcome, bytes | None]:
        self._drain()
        if self._stopped and self._status is None:
            ending = Ending(kind="stopped", cause="ended with the gang")
        elif self._silent:
            ending = Ending(kind="killed" if self._standing else "lost", cause=self._silent)
        else:
            ending = how_it_ended(self._status, self._left, oom=self._oom)
        failed = ending.kind not in ("returned", "stopped")
        outcome = Outcome(
            kind=ending.kind,
            cause=ending.cause,
            trace=ending.trace or (self._printed.tail if failed else ""),
            log=self._printed.where,
            seconds=time.monotonic() - self._began,
        )
        return outcome, ending.value
