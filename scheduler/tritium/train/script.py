"""A script as a rank's function: what ``python train.py --epochs 3`` would do, on every rank."""

from __future__ import annotations

import builtins
import linecache
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritium.errors import BadSpec, CodeMissing

__all__ = ["Script", "payload", "script"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script and its arguments; called in the rank's process."""

    path: str
    """Where it is at the driver; on an executor it need not be there."""
    source: bytes
    """What it said when the gang was started: an edit during a long run must not mix two versions."""
    args: tuple[str, ...]

    def __call__(self, _data: object = None) -> None:
        """Be that program; the rank's rows are ``tritium.rank().data``."""
        main = types.ModuleType("__main__")
        main.__dict__.update(__file__=self.path, __builtins__=builtins)
        sys.modules["__main__"] = main
        sys.argv[:] = [self.path, *self.args]
        sys.path.insert(0, str(Path(self.path).parent))
        text = self.source.decode(errors="replace")
        # So that tracebacks show its lines also where the file is not there.
        linecache.cache[self.path] = (len(text), None, text.splitlines(keepends=True), self.path)
        exec(compile(self.source, self.path, "exec", dont_inherit=True), main.__dict__)  # noqa: S102  the user's own


def script(path: Path, args: Sequence[str]) -> Script:
    """Read a script.

    Raises:
        CodeMissing: it is not there, or no Python.
    """
    absolute = path.absolute()
    try:
        source = absolute.read_bytes()
        compile(source, absolute, "exec", dont_inherit=True)
    except OSError as err:
        raise CodeMissing(f"the script {path} cannot be read: {err.strerror}") from err
    except (SyntaxError, ValueError) as err:
        line = f", line {err.lineno}" if isinstance(err, SyntaxError) else ""
        raise CodeMissing(f"the script {path}{line} is no Python: {getattr(err, 'msg', err)}") from err
    return Script(path=str(absolute), source=source, args=tuple(map(str, args)))


def payload(
    function: Callable[..., Any] | str | Path, args: Sequence[str], kwargs: Mapping[str, Any]
) -> bytes:
    """Pickle what ranks call, a function or a script, with its arguments.

    Raises:
        BadSpec: it cannot be pickled, or the arguments are of the other kind.
        CodeMissing: see `script`.
    """
    from pyspark import cloudpickle

    if isinstance(function, (str, Path)):
        if kwargs:
            raise BadSpec("Gang.run", [f"a script takes args, no keyword arguments: {', '.join(kwargs)}"])
        function = script(Path(function), args)
    elif args:
        raise BadSpec("Gang.run", ["args are for a script; a function takes keyword arguments"])
    try:
        return bytes(cloudpickle.dumps((function, dict(kwargs))))
    except Exception as err:
        problem = f"the function and its arguments cannot be sent to the ranks: {err}"
        raise BadSpec("Gang.run", [problem]) from err
