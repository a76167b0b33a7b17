"""The process between a task and its rank: starts the rank, outlives the task, leaves nothing behind.

It runs in a session of its own as a subreaper, so that a rank's orphans stay its descendants. Its
one wire is a socket to the task: when that closes, for whatever reason, or the executor's JVM ends, it
ends every process of the rank that it can find, removes the rank's folder and goes. It imports nothing
but the standard library and this package's `ending`, `oom` and `sweep`.

Run as ``python -m tritium.train.guardian FD``, or forked by `tritium.train.forkserver`. Once it has said
``guardian PID FOLDER`` (or ``full WHY`` if there is no room for one), the task writes ``start.json`` (`mark`,
`argv`, `env`, `cwd`, `grace_s`, and `jvm`, the executor's pid or null) into FOLDER and sends ``start`` on FD
together with the descriptors that are the rank's; their new numbers are appended to `argv`. A byte on FD
after that asks the rank for its stacks. Answers: ``pid N``; ``beat`` every second; ``stopped NAME`` and
``continued``; ``status N`` when the rank ended by itself (as from ``waitpid``), after ``oom TEXT`` if memory
had run out; then ``gone`` when all of its processes are, or ``stuck`` if one would not die. FOLDER lives
until the task has closed the socket, so that it can read what the rank left there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from tritium.train import oom, sweep
from tritium.train.ending import signal_name

__all__ = ["Start", "die_with", "exec_rank", "fork_rank", "guard", "main"]

_PR_SET_PDEATHSIG = 1
_ENV_START = 50 - 3
"""Index of ``env_start`` in /proc/PID/stat behind the command's name."""
_READ_LIMIT_S = 60.0
_BEAT_S = 1.0
_MAX_DESCRIPTORS = 64

Start: TypeAlias = Callable[[dict[str, Any], list[int]], int]
"""Starts a rank's process from its order and its descriptors; returns its pid."""


def main(argv: list[str]) -> int:
    """Guard one rank in a process of its own."""
    guard(socket.socket(fileno=int(argv[1])), start=exec_rank)
    return 0


def guard(wire: socket.socket, *, start: Start) -> None:
    """Guard one rank from before its start to the end of its last process."""
    bell = _become_subreaper()
    try:
        folder = Path(tempfile.mkdtemp(prefix="tritium-rank-"))
    except OSError as err:
        _say(wire, f"full {err}")
        return
    try:
        _say(wire, f"guardian {os.getpid()} {folder}")
        word, descriptors, _, _ = socket.recv_fds(wire, 16, _MAX_DESCRIPTORS)
        if word:  # else the task has gone, or has another guardian
            order = json.loads((folder / "start.json").read_text())
            rank = start(order, descriptors)
            # A hold ends with the last descriptor of it: only processes that may use the card keep one.
            for descriptor in descriptors:
                os.close(descriptor)
            _see_to_its_end(wire, bell, rank, order)
            _wait_for_close(wire)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exec_rank(order: dict[str, Any], descriptors: list[int]) -> int:
    """Start a rank in a fresh interpreter."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tritium.train.rank_process", *order["argv"], *map(str, descriptors)],
        env=order["env"],
        cwd=order["cwd"],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        preexec_fn=partial(_be_rank, os.getpid()),  # noqa: PLW1509  one thread here, and nothing else can set the signal in time
    )
    process.returncode = 0  # it is reaped below, not by Popen
    return process.pid


def fork_rank(order: dict[str, Any], descriptors: list[int]) -> int:
    """Start a rank as a copy of this process, with the frameworks that it has loaded."""
    guardian = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _be_rank(guardian)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but({0, 1, 2, *descriptors})
        os.environ.clear()
        os.environ.update(order["env"])
        _show_mark(order["mark"])
        os.chdir(order["cwd"])
        sys.path[:] = list(dict.fromkeys([*order["env"]["PYTHONPATH"].split(os.pathsep), *sys.path]))
        _refresh()
        from tritium.train import rank_process

        code = rank_process.main(["rank", *order["argv"], *map(str, descriptors)])
    except BaseException:  # noqa: BLE001  nothing may return from here, and nobody else would print it
        traceback.print_exc()
    finally:
        os._exit(code)


def _be_rank(guardian: int) -> None:
    """Make this new process a rank: a session of its own, default signals, death with its guardian."""
    os.setsid()
    # Until it can answer it must not die of being asked.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for heard in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(heard, signal.SIG_DFL)
    die_with(guardian)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; its own children do not inherit that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it was asked for
        os._exit(1)


def _show_mark(mark: str) -> None:
    """Put the mark where /proc shows a process's environment, and so its children's that never exec.

    That memory is what the last exec left (proc(5), ``env_start``); since the environment was set anew
    nothing points into it any more.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ENV_START]), int(fields[_ENV_START + 1])
    ctypes.memmove(start, f"TRITIUM_GANG={mark}".encode().ljust(end - start, b"\0"), end - start)


def _close_all_but(keep: set[int]) -> None:
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(entry.name))


def _refresh() -> None:
    """Give a copy what a fresh interpreter would have: its own random numbers and number of threads."""
    random.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def _become_subreaper() -> int:
    """Leave the daemon's session, adopt future orphans, and return a descriptor that wakes on SIGCHLD."""
    os.setsid()
    sweep.adopt_orphans()
    heard, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for deaf in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(deaf, signal.SIG_IGN)
    return heard


def _see_to_its_end(wire: socket.socket, bell: int, rank: int, order: dict[str, Any]) -> None:
    _say(wire, f"pid {rank}")
    recent, status = oom.Recent(oom.kills), None
    with contextlib.suppress(ProcessLookupError):  # the executor has gone already
        lives = [os.pidfd_open(order["jvm"])] if order["jvm"] is not None else []
        status = _watch(rank, wire, bell, recent, lives)
    if status is not None:
        if os.WIFSIGNALED(status) and (evidence := recent.evidence(os.WTERMSIG(status))):
            _say(wire, f"oom {evidence}")
        _say(wire, f"status {status}")
    clean = sweep.end(order["mark"], grace_s=order["grace_s"], family=True)
    _say(wire, "gone" if clean else "stuck")


def _watch(pid: int, wire: socket.socket, bell: int, recent: oom.Recent, lives: Sequence[int]) -> int | None:
    """Wait for the rank to end; returns its status, or None when the task or the JVM went, or said stop."""
    counted = time.monotonic()
    while True:
        ready, _, _ = select.select([wire.fileno(), bell, *lives], [], [], _BEAT_S)
        if bell in ready and (status := _rung(bell, pid, wire)) is not None:
            return status
        if any(life in ready for life in lives):
            return None  # a task that stands still would not hang up
        if wire.fileno() in ready:
            if not _is_asked(wire):
                # A rank that ended before it was to be stopped says why the gang ended.
                if select.select([bell], [], [], 0)[0]:
                    continue
                return None
            os.kill(pid, signal.SIGUSR1)
        if (now := time.monotonic()) - counted >= _BEAT_S:
            counted = now
            recent.beat()
        # A task that stands still does not read: never wait for it here.
        with contextlib.suppress(OSError):
            wire.send(b"beat\n", socket.MSG_DONTWAIT)


def _rung(bell: int, pid: int, wire: socket.socket) -> int | None:
    """Take in what became of children; returns the rank's status if it has ended.

    Orphans of the rank, which this subreaper has adopted, are reaped on the way.
    """
    os.read(bell, 4096)
    for changed, status in _changes():
        if changed == pid and not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
            return status
        if changed == pid:
            stopped = os.WIFSTOPPED(status)
            _say(wire, f"stopped {signal_name(os.WSTOPSIG(status))}" if stopped else "continued")
    return None


def _is_asked(wire: socket.socket) -> bool:
    """Take the byte that asks for stacks; False at the end of the wire."""
    with contextlib.suppress(OSError):
        return bool(wire.recv(1))
    return False


def _changes() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED))[0]:
            yield child


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
