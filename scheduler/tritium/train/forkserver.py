"""A process per executor that has the frameworks loaded, from which ranks are forked in milliseconds.

The executor's Python daemon starts it (`tritium.train.daemon`). It forks a guardian for each task
that asks, and the guardian forks its rank from the same loaded image. A process may only be forked
safely while it has one thread and has nothing of the GPU's driver open, so both are checked before each
fork; when either fails the task starts its guardian by exec, as it does where this server is missing.
That libcuda is loaded says nothing: torch brings it along, and CUDA starts when it is first used.

Run as ``python -m tritium.train.forkserver FD DAEMON EXECUTOR MODULE...``: a socket whose other end every
Python worker of the executor inherits from the daemon (so nobody else can reach it), and the pids of the
daemon and of the executor's JVM. It ends when one of them does: a daemon that stands still outlives its JVM.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tritium.train import guardian

__all__ = ["DESCRIPTOR", "main", "reason_not_to_fork"]

DESCRIPTOR = "TRITIUM_FORKSERVER"
"""Environment variable of the executor's Python workers: their descriptor of the socket to the server,
a colon, and its pid."""


def main(argv: list[str]) -> int:
    """Serve until the daemon or the executor's JVM goes."""
    # While it imports it cannot look at pidfds, and one import may take long.
    guardian.die_with(int(argv[2]))
    wishes, *masters = socket.socket(fileno=int(argv[1])), *map(os.pidfd_open, map(int, argv[2:4]))
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Guardians are nobody's to wait for: their tasks watch them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for module in argv[4:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.freeze()
    while not set(masters) & set(select.select([wishes.fileno(), *masters], [], [])[0]):
        _serve(wishes, masters)
    return 0


def reason_not_to_fork() -> str | None:
    """Say why a child of this process could hang or crash; None when it could not."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return f"it has {threads} threads"
    if any(file.startswith("/dev/nvidia") for file in _open_files()):
        return "a module of TRITIUM_PREIMPORT uses the GPU when it is imported"
    return None


def _open_files() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            yield str(entry.readlink())


def _serve(wishes: socket.socket, masters: Sequence[int]) -> None:
    """Fork one guardian; a wish is its wire and its output, as descriptors."""
    _, descriptors, _, _ = socket.recv_fds(wishes, 16, 2)
    try:
        wire, output = descriptors
        if (reason := reason_not_to_fork()) is None and os.fork() == 0:
            wishes.close()
            for master in masters:
                os.close(master)
            _be_guardian(wire, output)
    except (OSError, ValueError) as err:  # no room for a process, or for the descriptors that were sent
        reason = f"it has no room: {err}"
    if reason is not None and descriptors:
        # The task may have given up and gone, and others are still to be served.
        with contextlib.suppress(OSError):
            os.write(descriptors[0], f"no {reason}\n".encode())
    for descriptor in descriptors:
        os.close(descriptor)


def _be_guardian(wire: int, output: int) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        guardian.guard(socket.socket(fileno=wire), start=guardian.fork_rank)
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
