"""Rig: a Spark application as a process of its own, which a test may kill in parts and which always ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from rigs.processes import survivors

__all__ = ["Application", "Family", "guardians", "meeting"]

_START_LIMIT_S = 120.0
_END_LIMIT_S = 10.0


class Application:
    """A driver program of a test, which says one JSON object per line on its stdout."""

    def __init__(self, program: Path, *args: str, environment: Mapping[str, str]) -> None:
        self._log = (Path(environment["TRITIUM_DIR"]) / f"application-{time.monotonic_ns()}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(program), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._known: set[psutil.Process] = set()

    def says(self, key: str, *, limit_s: float = _START_LIMIT_S) -> Any:
        """Wait for the next line that has a key, and return its value."""
        assert self.process.stdout is not None
        heard = []
        with _kill_after(self.process, limit_s):
            for line in self.process.stdout:
                heard.append(line)
                self._remember()
                with contextlib.suppress(json.JSONDecodeError):
                    said = json.loads(line)
                    if key in said:
                        return said[key]
        self._log.seek(0)
        words = "".join([*heard, self._log.read()])
        raise AssertionError(f"the application ended or hung before it said {key!r}:\n{words}")

    def tell(self, word: str) -> None:
        """Send a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remember()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        # Without its driver an application ends by itself, and clears up; what does not is killed.
        stubborn = survivors(self._known, within_s=_END_LIMIT_S)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        survivors(stubborn, within_s=_END_LIMIT_S)
        self.process.wait(timeout=10)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()

    def _remember(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._known |= set(psutil.Process(self.process.pid).children(recursive=True))


class Family:
    """The processes around one guardian: its executor's daemon, Python workers and JVMs."""

    def __init__(self, guardian: psutil.Process) -> None:
        self.guardian = guardian
        above = guardian.parents()
        self.daemon = next(p for p in above if _runs(p, "daemon") and not _runs(p.parent(), "daemon"))
        self.workers = [child for child in self.daemon.children() if _runs(child, "daemon")]
        self.fork_servers = [child for child in self.daemon.children() if _runs(child, "forkserver")]
        self.executor, self.jvm = [process for process in above if process.name() == "java"][:2]


def guardians(application: Application) -> list[psutil.Process]:
    """Find those of an application, which are there before their ranks: forked by a server, or by exec."""
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(application.process.pid).children(recursive=True)
        return [
            process
            for process in below
            if (_runs(process, "forkserver") and _runs(_parent(process), "forkserver"))
            or (_runs(process, "guardian") and not _runs(_parent(process), "guardian"))
        ]
    return []


def meeting(workers: Iterable[psutil.Process], driver: int) -> list[psutil.Process]:
    """Leave out the workers that are idle: others have a connection to where the driver listens."""
    listens = {one.laddr.port for one in psutil.Process(driver).net_connections() if one.status == "LISTEN"}
    return [
        worker
        for worker in workers
        if any(one.status == "ESTABLISHED" and one.raddr.port in listens for one in worker.net_connections())
    ]


def _parent(process: psutil.Process) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


def _runs(process: psutil.Process | None, what: str) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # an idle Python worker may end while it is looked at
        return process is not None and any(word.endswith(f".{what}") for word in process.cmdline())
    return False


@contextlib.contextmanager
def _kill_after(process: subprocess.Popen[str], limit_s: float) -> Iterator[None]:
    import threading

    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
