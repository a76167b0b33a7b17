"""Edge to faulthandler: where a rank is, also when it hangs in a call into C.

The handler is written in C and needs no lock of the interpreter's, so it answers whatever the rank
does, as long as the process itself runs.
"""

from __future__ import annotations

import faulthandler
import signal
import time
from pathlib import Path

__all__ = ["SIGNAL", "answer_with_stacks", "stacks"]

SIGNAL = signal.SIGUSR1
_FILE = "stacks.txt"
_POLL_S = 0.02
_STABLE_S = 0.1


def answer_with_stacks(folder: Path) -> None:
    """Let this process write the stacks of all its threads into its folder whenever it is sent `SIGNAL`."""
    file = (folder / _FILE).open("ab")
    faulthandler.register(SIGNAL, file=file, all_threads=True, chain=False)
    _kept.append(file)


_kept: list[object] = []
"""faulthandler has only the descriptor's number: the file must stay open."""


def stacks(folder: Path, *, within_s: float) -> str:
    """Read what a rank that was sent the signal has written; empty if it did not answer in time."""
    file, give_up_at = folder / _FILE, time.monotonic() + within_s
    size, since = 0, time.monotonic()
    while (now := time.monotonic()) < give_up_at:
        grown = file.stat().st_size if file.exists() else 0
        if grown != size:
            size, since = grown, now
        elif size and now - since > _STABLE_S:
            break
        time.sleep(_POLL_S)
    return file.read_text(errors="replace") if size else ""
