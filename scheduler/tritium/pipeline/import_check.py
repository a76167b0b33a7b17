"""The program that imports a user's modules and says what is wrong: ``import_check FOLDER CALLS``.

CALLS is a JSON object of functions and of what they are called with,
``{"spec.train.run": ["digits", "fit", ["data"], ["epochs"]]}``; stdout gets a JSON list of sentences.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tritium.infer.kinds import nearest

__all__ = ["main", "wrong"]


def main(argv: list[str]) -> int:
    """Print what is wrong; whatever the modules themselves print goes to stderr."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(argv[1])
    sys.path.insert(0, str(folder))
    problems = []
    for path, (module, function, positional, keywords) in json.loads(argv[2]).items():
        problem = wrong(folder, module, function, positional=positional, keywords=keywords)
        if problem is not None:
            problems.append(f"{path}: {problem}")
    with answer:
        json.dump(problems, answer)
    return 0


def wrong(
    folder: Path, module: str, function: str, *, positional: Sequence[str], keywords: Sequence[str]
) -> str | None:
    """Say why a function of a module cannot be called so, ``None`` if it can."""
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name is not None and (err.name == module or module.startswith(f"{err.name}.")):
            return _no_module(folder, module)
        return _does_not_import(folder, module, err)
    except BaseException as err:  # noqa: BLE001  a module may raise anything, SystemExit too
        return _does_not_import(folder, module, err)
    found = vars(loaded).get(function)
    where = f"module {module} ({getattr(loaded, '__file__', 'built in')})"
    if function not in vars(loaded):
        return f"{where} has no function {function!r}; {nearest(function, _functions(vars(loaded)))}"
    if not callable(found):
        return f"{where} has {function!r}, which is no function but {found!r}"
    try:
        inspect.signature(found).bind(*positional, **dict.fromkeys(keywords))
    except TypeError as err:
        call = ", ".join([*positional, *(f"{name}=..." for name in keywords)])
        return f"{where} cannot be called as {function}({call}): {err}"
    except ValueError:
        return None  # written in C: it does not say what it takes
    return None


def _no_module(folder: Path, module: str) -> str:
    there = sorted(path.stem for path in folder.glob("*.py")) or ["no Python file at all"]
    return f"there is no module {module!r} in {folder}; {nearest(module, there)}"


def _does_not_import(folder: Path, module: str, err: BaseException) -> str:
    cause = f"{type(err).__name__}: {err}" if str(err) else type(err).__name__
    if isinstance(err, SyntaxError):
        return f"module {module!r} does not import: {err.filename}, line {err.lineno}: SyntaxError: {err.msg}"
    own = [
        frame
        for frame in traceback.extract_tb(err.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
    return f"module {module!r} does not import: {place}{cause}"


def _functions(names: Mapping[str, object]) -> list[str]:
    return [name for name, value in names.items() if callable(value) and not name.startswith("_")] or ["none"]


if __name__ == "__main__":
    sys.exit(main(sys.argv))
