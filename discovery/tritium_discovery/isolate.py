"""The edge to a driver that may hang: a call in a process of its own, with a time limit.

A call into NVML can block for ever in the kernel (D state), where not even SIGKILL reaches it. So the
asking is done by a child that holds nothing: no lock, no output that somebody waits for. The parent
answers in time and leaves the child behind.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, NoReturn, TypeVar, cast

from tritium_discovery.errors import DiscoveryError, DriverError, TimedOut

__all__ = ["Asked", "answer", "ask", "call", "leave", "serve"]

_T = TypeVar("_T")


class Asked(NamedTuple):
    """A question that a child is busy with."""

    pid: int
    reader: int
    """The descriptor that its answer comes through."""
    mask: set[int]
    """Signals that were blocked before."""


def call(function: Callable[[], _T], *, timeout_s: float) -> _T:
    """Call ``function`` in a child process and return what it returns.

    Raises:
        DiscoveryError: as `answer`.
    """
    asked = ask(function)
    try:
        return cast("_T", answer(asked, timeout_s=timeout_s))
    except KeyboardInterrupt:
        leave(asked)
        raise


def ask(function: Callable[[], object]) -> Asked:
    """Have a child call ``function``; its `answer` is collected, or it is left, later.

    Until then Ctrl-C waits: whoever hears it must know of the child, to end it.
    """
    reader, writer = os.pipe()
    mask = {*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}))}
    try:
        pid = _fork(function, writer) if _may_fork() else _spawn(function, writer)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    finally:
        os.close(writer)
    return Asked(pid=pid, reader=reader, mask=mask)


def answer(asked: Asked, *, timeout_s: float) -> object:
    """What the child's function returned.

    Raises:
        TimedOut: it did not answer within ``timeout_s`` from now.
        DriverError: the child died, as when a driver crashes its caller.
        DiscoveryError: whatever the function raised.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, asked.mask)
    said = _read(asked.reader, deadline=time.monotonic() + timeout_s)
    if said is None:
        leave(asked)
        raise TimedOut(
            f"the driver did not answer within {timeout_s:g} s (TRITIUM_TIMEOUT_S): see dmesg, "
            "and turn persistence mode on if the cards are only slow to wake"
        )
    os.close(asked.reader)
    status = _collect(asked.pid, 0)
    if not said:
        raise DriverError(f"the process that asked the driver died ({_death(status)}): see dmesg")
    well, result = pickle.loads(said)  # noqa: S301 - from our own child, through a pipe that only it has
    if not well:
        raise result
    return result


def leave(asked: Asked) -> None:
    """Give a question up. The child is killed and not waited for, since in the driver it may never die."""
    signal.pthread_sigmask(signal.SIG_SETMASK, asked.mask)
    with suppress(OSError):  # an interrupt may come after it was closed
        os.close(asked.reader)
    with suppress(ProcessLookupError):
        os.kill(asked.pid, signal.SIGKILL)
    _collect(asked.pid, os.WNOHANG)


def _may_fork() -> bool:
    """Forking is quick, and safe only with one thread and without a driver's state in this process."""
    if len([*filter(_counts, os.listdir("/proc/self/task"))]) > 1:  # noqa: PTH208 - names only
        return False
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib loads slowly
        maps = file.read()
    return "libnvidia-ml" not in maps and "libcuda" not in maps


def _counts(thread: str) -> bool:
    """Whether a thread stands against a fork: not jemalloc's (pyarrow has it), which expects one."""
    with suppress(OSError), open(f"/proc/self/task/{thread}/comm", encoding="utf-8") as file:  # noqa: PTH123
        return file.read().strip() != "jemalloc_bg_thd"
    return False


def _fork(function: Callable[[], object], writer: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _hold_nothing(writer)
        _answer(function, writer)
    finally:
        os._exit(1)


def _hold_nothing(writer: int) -> None:
    """Let go of all descriptors: Spark waits for the end of our output, and locks live in descriptors."""
    null = os.open(os.devnull, os.O_RDWR)
    for fileno in (0, 1, 2):
        os.dup2(null, fileno)
    os.closerange(3, writer)
    os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))


def _spawn(function: Callable[[], object], writer: int) -> int:
    """A fresh interpreter, which finds its modules where this one does and closes all other descriptors."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from tritium_discovery.isolate import serve; serve()"
    source, sink = os.pipe()
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", code],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.write(sink, pickle.dumps(function))  # far smaller than a pipe's buffer: it cannot block
    finally:
        os.close(source)
        os.close(sink)
    return pid


def serve() -> NoReturn:
    """The child's side of a fresh interpreter: the function from stdin, its answer to stdout."""
    writer = os.dup(1)
    function = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    _hold_nothing(writer)
    _answer(function, writer)
    os._exit(0)


def _answer(function: Callable[[], object], writer: int) -> None:
    try:
        said = pickle.dumps((True, function()))
    except DiscoveryError as err:
        said = pickle.dumps((False, err))
    except Exception as err:  # noqa: BLE001 - a defect of ours must reach the parent too, with its name
        said = pickle.dumps((False, DriverError(f"reading the driver failed: {type(err).__name__}: {err}")))
    while said:
        said = said[os.write(writer, said) :]
    os._exit(0)


def _read(reader: int, *, deadline: float) -> bytes | None:
    """All that the child says until it closes its end; ``None`` when that takes too long."""
    said = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(reader, 1 << 16)
        if not part:
            return said
        said += part


def _collect(pid: int, options: int) -> int:
    with suppress(ChildProcessError):  # somebody ignores SIGCHLD, so the kernel collects
        return os.waitpid(pid, options)[1]
    return 0


def _death(status: int) -> str:
    return (
        f"signal {os.WTERMSIG(status)}"
        if os.WIFSIGNALED(status)
        else f"exit code {os.waitstatus_to_exitcode(status)}"
    )
