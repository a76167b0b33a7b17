"""The edge to the user's code in the driver: which files it is, and whether it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tritium.pipeline.spec import Call

__all__ = ["TooMuchCode", "python_files", "wrong_calls"]

_MOST_FILES = 2_000
_IMPORT_LIMIT_S = 120.0


class TooMuchCode(ValueError):
    """A folder holds far more Python files than anybody writes: it is the wrong folder."""


def python_files(folder: Path, *, storage: Path) -> Mapping[str, Path]:
    """Return the Python files of a folder and its packages, by relative path.

    Hidden folders, virtual environments and what pipelines keep in ``storage`` (older code among it)
    are left out. This is what identifies the user's code.

    Raises:
        TooMuchCode: there are more than 2,000.
    """
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        own = (name for name in folders if Path(parent, name) != storage and not _foreign(Path(parent, name)))
        folders[:] = sorted(own)
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(parent, name)
                found[path.relative_to(folder).as_posix()] = path
        if len(found) > _MOST_FILES:
            raise TooMuchCode(
                f"more than {_MOST_FILES} Python files are in {folder}: name the folder of your code"
            )
    return found


def _foreign(folder: Path) -> bool:
    return folder.name.startswith((".", "__pycache__")) or (folder / "pyvenv.cfg").exists()


def wrong_calls(folder: Path, calls: Mapping[str, Call]) -> Sequence[str]:
    """Import the user's modules in a process of their own, and return what is wrong, a sentence each.

    A process of its own, because an import may do anything, and because the driver stays free of the
    frameworks that the modules import.
    """
    asked = {
        path: [call.target.module, call.target.function, call.positional, call.keywords]
        for path, call in calls.items()
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tritium.pipeline.import_check", str(folder), json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_IMPORT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"spec.code.path: importing the modules in {folder} took more than {_IMPORT_LIMIT_S:.0f} s"]
    try:
        problems = json.loads(done.stdout)
    except json.JSONDecodeError:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return [f"spec.code.path: importing the modules in {folder} ended the process ({how})"]
    return [str(problem) for problem in problems]
