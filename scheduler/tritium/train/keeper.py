"""The process above an owner: whatever the model there starts, nothing of it outlives the owner.

A model may start processes: a pool, workers of a DataLoader, an engine. A copy of the owner shares its
descriptors: if the owner alone were killed, they would keep its device locked, its name listening and its
tasks waiting. So this process is a subreaper: they all stay its descendants, also orphans and daemons, and it
ends them when the owner has ended, or the executor, also under an owner that stands still. If this process
ends first, the owner ends with it. It imports nothing but the standard library and `sweep`, and lies beside
that: to import `tritium.infer` would take longer than all else that it does.

Run with the words of `tritium.infer.owner`, which gets them with one more process to end with: this one.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from tritium.train import sweep

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Start an owner, and wait until it has ended, or has to."""
    os.setsid()
    sweep.adopt_orphans()
    count, me = int(argv[3]), os.pidfd_open(os.getpid())
    passed = [int(word) for word in (*argv[1:3], *argv[4:])]
    owner = subprocess.Popen(
        [sys.executable, "-m", "tritium.infer.owner", *argv[1:3], str(count + 1), str(me), *argv[4:]],
        stdin=subprocess.DEVNULL,
        pass_fds=[me, *passed],
    )
    ends = select.poll()  # select() knows no descriptors from 1024 on
    ends.register(os.pidfd_open(owner.pid), select.POLLIN)
    # The kernel reaps the owner and the orphans; only now, as the owner would inherit that.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    lives = passed[2 : 2 + count]
    for fileno in passed:
        if fileno in lives:
            ends.register(fileno, select.POLLIN)
        else:
            os.close(fileno)  # a hold ends with the last descriptor of it
    ends.poll()
    sweep.end(None, grace_s=0, family=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
