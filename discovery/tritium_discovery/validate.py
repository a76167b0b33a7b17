"""The edge that runs a discovery script as Spark does, with a limit that Spark has not."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tritium_discovery.acceptance import Finding, accept

__all__ = ["run"]


def run(script: Path, *, amount: int, timeout_s: float) -> tuple[Finding, ...]:
    """Run ``script`` with no arguments and judge its answer.

    Spark looks for the path with ``exists()`` and starts it with ``ProcessBuilder``, so options behind
    it or a bare name in the working directory fail, and it waits for ever.
    """
    if not script.exists():
        return (Finding(fatal=True, sentence=f"{script} does not exist; Spark takes a path without options"),)
    try:
        process = subprocess.Popen(
            [script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )  # what it says on stderr is the user's to see, as in Spark's log
    except OSError as err:
        return (Finding(fatal=True, sentence=f"{script} cannot be started: {err.strerror}"),)
    with process:
        try:
            stdout, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            sentence = f"no answer within {timeout_s:g} s: Spark would wait for ever"
            return (Finding(fatal=True, sentence=sentence),)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left running too
    return accept(stdout.decode(errors="replace"), exit_code=process.returncode, amount=amount)
