"""Rig: a process that looks like a JVM from below and runs discovery scripts, without Java."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["COMMAND", "Answer", "FakeJvm", "clean_environment"]

COMMAND = Path(sys.executable).with_name("gpu-discover")
"""The console script, as Spark's configuration names it."""

_PROGRAM = """
import json, subprocess, sys
for line in sys.stdin:
    command, environ = json.loads(line)
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would steer discovery, and with ``variables``."""
    steering = ("TRITIUM_", "CUDA_", "SPARK_")
    return {name: text for name, text in os.environ.items() if not name.startswith(steering)} | variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a script said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def addresses(self) -> list[str]:
        """The addresses that Spark would read."""
        found: dict[str, Any] = json.loads(self.stdout)
        return list(found["addresses"])


class FakeJvm:
    """A process called ``java`` that starts commands, as Spark's Worker or executor does."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        java = directory / "java"
        if not java.exists():
            java.symlink_to(sys.executable)
        self.process = subprocess.Popen(
            [java, "-I", "-S", "-c", _PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=directory,
        )

    @property
    def pid(self) -> int:
        """Of the process that looks like a JVM."""
        return self.process.pid

    def run(self, environ: Mapping[str, str], command: Sequence[str | Path] = (COMMAND,)) -> Answer:
        """Let it run a command and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([[str(word) for word in command], dict(environ)]) + "\n")
        self.process.stdin.flush()
        exit_code, stdout, stderr = json.loads(self.process.stdout.readline())
        return Answer(exit_code=exit_code, stdout=stdout, stderr=stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
