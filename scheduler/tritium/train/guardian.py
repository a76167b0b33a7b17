"""The process between a task and its rank: starts the rank, outlives the task, leaves nothing behind.

It runs in a session of its own as a subreaper, so that a rank's orphans stay its descendants. Its
one wire is a socket to the task: when that closes, for whatever reason, it ends every process of the
rank that it can find, removes the rank's folder and goes. It imports nothing but the standard
library and this package's `sweep`.

Run as ``python -m tritium.train.guardian FD FOLDER``. The task writes ``start.json`` (`mark`, `argv`,
`env`, `cwd`, `grace_s`) into FOLDER and sends ``start`` on FD together with the descriptors that are
the rank's; their new numbers are appended to `argv`. Answers: ``pid N``, then ``status N`` when the
rank ended by itself (as from ``waitpid``), then ``gone`` when all of its processes are. FOLDER lives
until the task has closed the socket, so that it can read what the rank left there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tritium.train import sweep

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_READ_LIMIT_S = 60.0
_MAX_DESCRIPTORS = 64


def main(argv: list[str]) -> int:
    """Guard one rank from its start to the end of its last process."""
    wire, folder = socket.socket(fileno=int(argv[1])), Path(argv[2])
    bell = _become_subreaper()
    try:
        word, descriptors, _, _ = socket.recv_fds(wire, 16, _MAX_DESCRIPTORS)
        if word:
            _guard(wire, bell, json.loads((folder / "start.json").read_text()), descriptors)
            _wait_for_close(wire)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _guard(wire: socket.socket, bell: int, order: dict[str, Any], descriptors: list[int]) -> None:
    rank = _start(order, descriptors)
    _say(wire, f"pid {rank.pid}")
    status = _watch(rank.pid, wire, bell)
    if status is not None:
        _say(wire, f"status {status}")
    if sweep.end(order["mark"], grace_s=order["grace_s"], family=True):
        _say(wire, "gone")


def _become_subreaper() -> int:
    """Leave the daemon's session, adopt future orphans, and return a descriptor that wakes on SIGCHLD."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    heard, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for deaf in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(deaf, signal.SIG_IGN)
    return heard


def _start(order: dict[str, Any], descriptors: list[int]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)

    def die_with_guardian() -> None:
        for deaf in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(deaf, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    rank = subprocess.Popen(
        [*order["argv"], *map(str, descriptors)],
        env=order["env"],
        cwd=order["cwd"],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
        preexec_fn=die_with_guardian,  # noqa: PLW1509  one thread here, and nothing else can set the signal in time
    )
    # A hold ends with the last descriptor of it: only processes that may use the card keep one.
    for descriptor in descriptors:
        os.close(descriptor)
    return rank


def _watch(pid: int, wire: socket.socket, bell: int) -> int | None:
    """Wait for the rank to end; returns its status, or None when the task said stop or went away."""
    while True:
        ready, _, _ = select.select([wire, bell], [], [])
        if bell in ready:
            os.read(bell, 4096)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status
        if wire in ready:
            return None


def _wait_for_close(wire: socket.socket) -> None:
    """Stay until the task has read the result; a task that is stuck has a limit."""
    with contextlib.suppress(OSError):
        wire.settimeout(_READ_LIMIT_S)
        wire.recv(1)


def _say(wire: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):
        wire.sendall(f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
