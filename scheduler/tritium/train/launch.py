"""Edge: start a guardian, forked from the executor's fork server where there is one, else by exec."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tritium.train import sweep
from tritium.train.forkserver import DESCRIPTOR

__all__ = ["Guardian"]

_FORK_LIMIT_S = 60.0
"""The server answers once its frameworks are loaded; the first gang of an executor may wait for that, which
on a busy host takes long, but not as long as loading them once more."""
_EXEC_LIMIT_S = 60.0
_LOOK_S = 0.25
_MAX_GREETING = 8192
"""More than a pid and the longest path."""


class Guardian:
    """The guardian's process and the wire to it.

    Raises:
        OSError: it has no room for the rank's folder, or it did not start in time.
    """

    def __init__(self, output: int) -> None:
        self.wire: socket.socket
        self.pid: int
        self.folder: Path
        """For everything that the rank reads and leaves; the guardian removes it, whoever dies."""
        self._pidfd: int
        self._process: subprocess.Popen[bytes] | None = None
        if not (self._fork(output) or self._exec(output)):
            raise TimeoutError(f"no guardian started within {_EXEC_LIMIT_S:g} s; is the host overloaded?")

    def wait(self, *, timeout_s: float) -> bool:
        """Wait for its end; returns whether it came."""
        return bool(select.select([self._pidfd], [], [], timeout_s)[0])

    def end(self, *, timeout_s: float) -> bool:
        """Wait for its end, else kill it; returns whether it ended by itself."""
        ended = self.wait(timeout_s=timeout_s)
        if not ended:
            self.kill()
        if self._process is not None:
            self._process.wait()
        os.close(self._pidfd)
        return ended

    def kill(self) -> None:
        """Kill it; its rank goes with it."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _fork(self, output: int) -> bool:
        descriptor = os.environ.get(DESCRIPTOR)
        if descriptor is None:
            return False
        self.wire, theirs = socket.socketpair()
        fileno, pid = map(int, descriptor.split(":"))
        with theirs, contextlib.suppress(OSError):
            server = socket.socket(fileno=os.dup(fileno))
            with server:
                socket.send_fds(server, [b"fork"], [theirs.fileno(), output])
            theirs.close()
            if self._greeted(_FORK_LIMIT_S, output, server=pid):
                return True
        self.wire.close()  # the wish may still be heard one day, by a guardian that then goes
        return False

    def _exec(self, output: int) -> bool:
        self.wire, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tritium.train.guardian", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[theirs.fileno()],
            )
        try:
            return self._greeted(_EXEC_LIMIT_S, output)
        except OSError:
            self.wire.close()
            self._process.wait(_EXEC_LIMIT_S)
            raise

    def _greeted(self, limit_s: float, output: int, *, server: int | None = None) -> bool:
        """Hear the guardian's first words, its pid and its folder; a server's refusal goes into the log."""
        deadline = time.monotonic() + limit_s
        while not select.select([self.wire], [], [], _LOOK_S)[0]:
            if time.monotonic() > deadline or (server is not None and sweep.stands_still(server)):
                return False
        word = rest = b""
        with contextlib.suppress(OSError):
            word, _, rest = self.wire.recv(_MAX_GREETING).rstrip().partition(b" ")
        match word:
            case b"guardian":
                pid, _, folder = rest.partition(b" ")
                self.pid, self.folder = int(pid), Path(os.fsdecode(folder))
                self._pidfd = os.pidfd_open(self.pid)
                return True
            case b"full":
                raise OSError(rest.decode(errors="replace"))
            case b"no":
                os.write(output, b"tritium: this rank is not forked, so it starts slower: " + rest + b"\n")
            case _:  # it has ended
                pass
        return False
