"""The edge to another Python: does it have what an executor needs, in versions that go with ours?"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from tritium.spark.conf.finding import Finding

__all__ = ["examine", "judge"]

_LIMIT_S = 60.0
_NEEDED = ("tritium", "pyspark", "pyarrow")
_ASK = f"""
import json, platform
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({{"python": platform.python_version(), **{{name: version(name) for name in {_NEEDED!r}}}}}))
"""
_KEY = "spark.pyspark.python"


def examine(python: Path) -> tuple[Finding, ...]:
    """Ask a Python on this machine what it has, and say what executors would miss."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        return (_finding(python, f"It cannot be started: {err}.", "name a Python that is there"),)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return (_finding(python, f"It does not run: {last}.", "name a Python 3"),)
    return tuple(judge(python, theirs=json.loads(done.stdout), ours=_ours()))


def judge(
    python: Path, *, theirs: Mapping[str, str | None], ours: Mapping[str, str | None]
) -> Iterator[Finding]:
    """Compare what an executor's Python has with what the driver's has; each maps a name to a version."""
    for name in _NEEDED:
        if theirs[name] is None:
            fails = f"It has no {name}: every gang and every prediction fails with ModuleNotFoundError."
            yield _finding(python, fails, f"{python} -m pip install 'tritium[spark]'")
    if _minor(theirs["python"]) != _minor(ours["python"]):
        fails = (
            f"It is Python {theirs['python']} and the driver has {ours['python']}: Spark refuses every task."
        )
        yield _finding(python, fails, "use the same minor version on both sides")
    for name in ("tritium", "pyspark"):
        if None not in (theirs[name], ours[name]) and theirs[name] != ours[name]:
            fails = f"It has {name} {theirs[name]} and the driver {ours[name]}: "
            unread = "what one of them pickles the other may not read."
            yield _finding(python, fails + unread, "install the same version")


def _ours() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _NEEDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _minor(version: str | None) -> str:
    return ".".join((version or "").split(".")[:2])


def _finding(python: Path, consequence: str, remedy: str) -> Finding:
    return Finding(weight="wrong", key=_KEY, value=str(python), consequence=consequence, remedy=remedy)
