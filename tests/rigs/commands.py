"""Rig: the commands of ``gpu-discover``, run as a user runs them, and what they said before.

Accept new outputs with ``TRITIUM_ACCEPT=1 pytest tests/discovery/test_command*.py`` and read the diff.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
from pathlib import Path

from rigs.jvm import COMMAND, Answer, clean_environment

__all__ = ["GOLDEN", "compare", "plain", "run", "unnamed"]

GOLDEN = Path(__file__).parents[1] / "discovery" / "golden"


def run(directory: Path, *arguments: str, machine: str = "two-t4", **variables: str) -> Answer:
    """A command on an emulated machine; its claims and holds are in ``directory``."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=clean_environment(
            **{"TRITIUM_DIR": str(directory / "state"), **variables}, TRITIUM_MACHINE=machine
        ),
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    return Answer(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def plain(answer: Answer, directory: Path) -> str:
    """The whole answer without what differs between hosts."""
    text = f"{answer.stdout}--- stderr\n{answer.stderr}--- exit code {answer.exit_code}\n"
    text = text.replace(str(directory), "DIR").replace(f"user {os.getuid()} ", "user UID ")
    text = re.sub(r"Tritium [0-9.]+, Python [0-9.]+", "Tritium VERSION, Python VERSION", text)
    text = re.sub(re.escape(socket.gethostname()) + "/[0-9a-f]{8}", "HOST", text)
    return text.replace(str(COMMAND), "SCRIPT")


def compare(said: str, file: Path) -> None:
    """Demand what was said before, or keep the new words if they are to be accepted."""
    if os.environ.get("TRITIUM_ACCEPT"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8")


def unnamed(text: str, owner: str) -> str:
    """A text without the pids, the user, the times and the claim's id; they set the columns' widths too."""
    text = re.sub(rf"JVM {owner} \([0-9a-f]{{16}}\)", "JVM PID (CLAIM)", text)
    text = text.replace(f"(pid {os.getpid()})", "(pid PID)").replace(f"{getpass.getuser()}: ", "USER: ")
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "WHEN", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)
