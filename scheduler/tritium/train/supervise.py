"""Edge in a task: start a rank under its guardian and stay until nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tritium.train import sweep
from tritium.train.contract import Contract
from tritium.train.launch import Guardian
from tritium.train.lines import Lines
from tritium.train.messages import FromTask, Line, Outcome, Report, Share, Shared, Started, Stop

__all__ = ["Supervisor"]

_GRACE_S = 1.0
"""Between SIGTERM and SIGKILL."""
_GONE_LIMIT_S = 15.0
"""How long to wait for a guardian's last word: its grace plus what SIGKILL may take."""


_TAKE_LIMIT_S = 20.0
"""How long a rank may take to read an answer before it is left without one."""
_MAX_LINE = 65536
"""Longest line that is relayed in one piece, in bytes."""


class Supervisor:
    """One rank's place in a task: its folder and guardian at once, its process once it is placed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tritium-rank-"))
        """For everything that the rank reads and leaves; the guardian removes it, whoever dies."""
        self._mark: str | None = None
        self._status: int | None = None
        self._clean = True
        """Whether nothing that was started here can still be alive."""
        self._over = False
        """Whether the guardian has said its last word."""
        self._stopped = False
        # What a rank prints may end its lines as a progress bar does, or never.
        printed = Lines(ends=rb"[\r\n]+", limit=_MAX_LINE)
        self._lines = {"guardian": Lines(), "output": printed, "rank": Lines()}
        self._output, output = socket.socketpair()
        self._wire, self._far_wire = socket.socketpair()
        self._wire.settimeout(_TAKE_LIMIT_S)
        with output:
            self.guardian = Guardian(self.folder, output.fileno())

    def start(self, contract: Contract, environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        """Let the guardian start the rank's process, which alone keeps the descriptors from here on."""
        self._mark, self._rank = contract.mark, contract.rank
        self._began = time.monotonic()
        self._clean = False
        order = {
            "mark": contract.mark,
            "argv": [str(self.folder)],
            "env": {**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            "cwd": str(Path.cwd()),
            "grace_s": _GRACE_S,
        }
        (self.folder / "contract.pkl").write_bytes(pickle.dumps(contract))
        (self.folder / "start.json").write_text(json.dumps(order))
        with self._far_wire:
            socket.send_fds(self.guardian.wire, [b"start"], [self._far_wire.fileno(), *descriptors])

    def abandon(self) -> None:
        """Leave without having started a rank."""
        self._finish()

    def attend(
        self, driver: Connection[Any, Any], say: Callable[[FromTask], None], *, task: int
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
            stop_by = math.inf
            while self.guardian.wire in watched.get_map() and not self._over and time.monotonic() < stop_by:
                for key, _ in watched.select(timeout=0.5):
                    if key.data == "driver":
                        if not self._heed(driver):
                            watched.unregister(driver)
                            stop_by = time.monotonic() + _GONE_LIMIT_S
                    elif not self._listen(key.data, channels[key.data]):
                        watched.unregister(key.fileobj)
        ending = self._ending()
        self._finish()
        return ending

    def _heed(self, driver: Connection[Any, Any]) -> bool:
        """Do what the driver says; returns whether there may be more to come."""
        try:
            message = driver.recv()
        except (OSError, EOFError):
            message = Stop()
        if isinstance(message, Shared):
            shared = [payload.decode() for payload in message.payloads]
            answer = {"call": message.call, "shared": shared}
            with contextlib.suppress(OSError):
                self._wire.sendall(json.dumps(answer).encode() + b"\n")
        if not isinstance(message, Stop):
            return True
        self._stopped = True
        with contextlib.suppress(OSError):
            self.guardian.wire.shutdown(socket.SHUT_WR)
        return False

    def _listen(self, name: str, channel: socket.socket) -> bool:
        """Take in what one channel has to say; returns whether it is still open."""
        try:
            data = channel.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        for line in self._lines[name].feed(data):
            self._take(name, line)
        return bool(data)

    def _take(self, name: str, line: str) -> None:
        if name == "output":
            self._say(Line(rank=self._rank, text=line))
        elif name == "rank":
            self._take_word(json.loads(line))
        elif line.startswith("pid "):
            self._say(Started(task=self._task, rank=self._rank, pid=int(line[4:])))
        elif line.startswith("status "):
            self._status = int(line[7:])
        elif line in ("gone", "stuck"):
            self._over, self._clean = True, line == "gone"

    def _finish(self) -> None:
        """Let the guardian go; if it could not do its work, do it here."""
        for channel in (self.guardian.wire, self._output, self._wire, self._far_wire):
            channel.close()
        if not (self.guardian.end(timeout_s=_GRACE_S) and self._clean) and self._mark is not None:
            sweep.end(self._mark, grace_s=0, family=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_word(self, word: Mapping[str, Any]) -> None:
        if "report" in word:
            self._say(Report(rank=self._rank, values=word["report"]))
        elif "share" in word:
            self._say(Share(rank=self._rank, call=word["call"], payload=word["share"].encode()))

    def _drain(self) -> None:
        """Take in the last words, which came before the end but may be heard after it."""
        for name, channel in (("output", self._output), ("rank", self._wire)):
            channel.setblocking(False)
            while self._listen(name, channel):
                pass
        if last := self._lines["output"].last():
            self._take("output", last)

    def _ending(self) -> tuple[Outcome, bytes | None]:
        self._drain()
        seconds = time.monotonic() - self._began
        if self._stopped:
            return Outcome(kind="stopped", cause="ended with the gang", seconds=seconds), None
        if self._status is None:
            return Outcome(kind="lost", cause="its guardian process was killed", seconds=seconds), None
        if os.WIFSIGNALED(self._status):
            name = _signal_name(os.WTERMSIG(self._status))
            return Outcome(kind="killed", cause=f"killed by {name}", seconds=seconds), None
        result = self.folder / "result.pkl"
        if not result.exists():
            cause = f"exited with code {os.WEXITSTATUS(self._status)}"
            return Outcome(kind="exited", cause=cause, seconds=seconds), None
        kind, first, *rest = pickle.loads(result.read_bytes())  # noqa: S301  written by our own rank
        if kind == "returned":
            return Outcome(kind="returned", seconds=seconds), first
        return Outcome(kind=kind, cause=first, trace=rest[0], seconds=seconds), None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"
