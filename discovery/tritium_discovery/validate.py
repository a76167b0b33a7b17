"""The edge that runs a discovery script as Spark does, with a limit that Spark has not."""

from __future__ import annotations

import subprocess
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
        done = subprocess.run(
            [script], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        sentence = f"no answer within {timeout_s:g} s: Spark would wait for ever"
        return (Finding(fatal=True, sentence=sentence),)
    except OSError as err:
        return (Finding(fatal=True, sentence=f"{script} cannot be started: {err.strerror}"),)
    return accept(done.stdout.decode(errors="replace"), exit_code=done.returncode, amount=amount)
