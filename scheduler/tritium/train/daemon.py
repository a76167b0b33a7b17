"""Spark's Python daemon with a fork server beside it: ``spark.python.daemon.module=tritium.train.daemon``.

Everything works without it, only slower: each rank then imports its framework anew. Which modules the
server loads is ``TRITIUM_PREIMPORT`` in the executors' environment, comma-separated
(``spark.executorEnv.TRITIUM_PREIMPORT``); by default torch with its compiler, if it is installed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from tritium.train.forkserver import DESCRIPTOR

__all__ = ["start_fork_server"]

_PREIMPORT = "numpy,pyspark.cloudpickle,tritium.train.rank_process,torch,torch._dynamo"
"""Not pyarrow: its allocator starts a thread when it is imported."""


def start_fork_server() -> subprocess.Popen[bytes]:
    """Start the server; this process and the workers it forks inherit the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    masters = [str(os.getpid()), str(os.getppid())]
    modules = os.environ.get("TRITIUM_PREIMPORT", _PREIMPORT).split(",")
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tritium.train.forkserver", str(theirs.fileno()), *masters, *modules],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=[theirs.fileno()],
            # One thread before each fork: no pool of OpenMP or BLAS may start with the import.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
    os.environ[DESCRIPTOR] = f"{ours.detach()}:{server.pid}"
    return server


if __name__ == "__main__":
    from pyspark.daemon import manager

    _server = start_fork_server()
    manager()
