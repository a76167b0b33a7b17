"""Edge to the machine: the Java that Spark will run on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tritium.errors import NoJava

__all__ = ["find_java"]

_OLDEST = 17
_INSTALLED = Path("/usr/lib/jvm")
_INSTALL = "install one, for example: apt-get install openjdk-17-jre-headless"
_TIMEOUT_S = 30.0


def find_java(environ: Mapping[str, str], *, installed: Path = _INSTALLED) -> Path:
    """Return the JAVA_HOME of the first Java that is new enough for Spark 4.

    Looks where Spark does, in JAVA_HOME and in PATH, and then where the system installs them.

    Raises:
        NoJava: there is none, or only older ones; they are named.
    """
    older = []
    for java in _candidates(environ, installed):
        version = _version(java)
        if version is None:
            continue
        if version >= _OLDEST:
            return java.resolve().parent.parent
        older.append(f"{java} is Java {version}")
    if older:
        raise NoJava(f"Spark needs Java {_OLDEST} or newer, and {', '.join(older)}: {_INSTALL}")
    raise NoJava(f"Spark needs Java {_OLDEST} or newer, and there is no Java here: {_INSTALL}")


def _candidates(environ: Mapping[str, str], installed: Path) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path is not None:
        yield Path(on_path)
    yield from sorted(installed.glob("*/bin/java"))


def _version(java: Path) -> int | None:
    """The major version that ``java -version`` prints: 17 for ``"17.0.15"``, 8 for ``"1.8.0_402"``."""
    try:
        said = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else None
