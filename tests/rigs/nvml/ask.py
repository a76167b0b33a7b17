"""Rig: what the reading code and the commands say over the C library, in processes of their own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from rigs.jvm import COMMAND
from rigs.nvml.rig import environment
from tritium_discovery.machine import Machine
from tritium_discovery.observation import Observation

__all__ = ["ask", "observed", "run"]

_PROBE = Path(__file__).with_name("probe.py")


def ask(model: Machine, directory: Path) -> Any:
    """What the reading code says of a machine: an observation or the error it raised."""
    environ = environment(model, directory)
    done = subprocess.run(
        [sys.executable, str(_PROBE), environ["TRITIUM_SYSFS"]],
        env=environ,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return pickle.loads(done.stdout)  # noqa: S301 - from our own probe


def run(model: Machine, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on a machine, as a user runs it."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(model, directory),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def observed(model: Machine, directory: Path) -> Observation:
    """What the reading code observed of a machine that can be read."""
    found = ask(model, directory)
    assert isinstance(found, Observation), found
    return found
