"""Whom a process works for, also once those above it have died."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os, time
from tritium_discovery.process import ancestors, line
ready, go = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        first = line()
        os.write(go, b"x")
        while os.getppid() == first[0].pid:
            time.sleep(0.01)
        print(line() == first, ancestors(os.getpid()) == first, flush=True)
        os._exit(0)
    os.read(ready, 1)
    os._exit(0)
os.wait()
"""


def test_a_process_whose_parent_was_killed_still_knows_who_was_above_it() -> None:
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)

    assert run.stdout == "True False\n"
