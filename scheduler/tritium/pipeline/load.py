"""The edge to a pipeline file: reads it, and looks whether what it names is there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tritium.errors import BadSpec, CodeMissing
from tritium.pipeline.code import TooMuchCode, python_files, wrong_calls
from tritium.pipeline.parse import parse
from tritium.pipeline.spec import Pipeline, Script, Source
from tritium.train.script import script

__all__ = ["identity", "load"]


class _Loader(yaml.SafeLoader):
    """YAML as everywhere, but a key that is there twice is a mistake, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(file: Path, *, storage: Path | None = None) -> Pipeline:
    """Read a pipeline file, and check that its sources and functions exist.

    ``storage`` overrides ``spec.storage``.

    Raises:
        BadSpec: with everything that is wrong, functions included.
        CodeMissing: only functions are wrong; again with all of them.
    """
    where = str(file)
    pipeline = parse(_document(file), folder=file.absolute().parent, where=where)
    if storage is not None:
        pipeline = replace(pipeline, storage=storage.absolute())
    problems = [*_absent(pipeline)]
    code = list(_code_problems(pipeline))
    if problems:
        raise BadSpec(where, [*problems, *code])
    if code:
        raise CodeMissing("\n".join(f"{where}: {problem}" for problem in code))
    return pipeline


def _document(file: Path) -> object:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise BadSpec(str(file), ["there is no such file"]) from err
    except IsADirectoryError as err:
        raise BadSpec(str(file), ["is a folder; name the pipeline file in it"]) from err
    except (OSError, UnicodeDecodeError) as err:
        raise BadSpec(str(file), [f"cannot be read: {err}"]) from err
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise BadSpec(str(file), [f"{place}{err.problem}"]) from err
    except yaml.YAMLError as err:
        raise BadSpec(str(file), [f"is no YAML: {err}"]) from err


def _absent(pipeline: Pipeline) -> Iterator[str]:
    for path, source in pipeline.sources().items():
        if not source.path.exists():
            yield f"{path}: there is no {source.path}"
        elif not any(_files(source.path)):
            yield f"{path}: {source.path} holds no files"


def _code_problems(pipeline: Pipeline) -> Sequence[str]:
    if not pipeline.code.is_dir():
        there = "is a file; name its folder" if pipeline.code.is_file() else "is not there"
        return [f"spec.code.path: {pipeline.code} {there}"]
    try:
        python_files(pipeline.code, storage=pipeline.storage)
    except TooMuchCode as err:
        return [f"spec.code.path: {err}"]
    return [*_script_problems(pipeline), *wrong_calls(pipeline.code, pipeline.calls())]


def _script_problems(pipeline: Pipeline) -> Iterator[str]:
    run = pipeline.train.run
    if isinstance(run, Script):
        try:
            script(pipeline.code / run.path, run.args)
        except CodeMissing as err:
            yield f"spec.train.run: {err}"


def identity(source: Source) -> str:
    """Hash what a source holds now, by names, sizes and times of change of its files; reads no data."""
    total = hashlib.sha256()
    for path in sorted(_files(source.path)):
        seen = path.stat()
        name = path.relative_to(source.path).as_posix()
        total.update(f"{name} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Yield the files that Spark would read: it skips names that begin with a dot or an underscore."""
    if path.is_file():
        yield path
        return
    for parent, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(parent, name) for name in names if not name.startswith((".", "_")))
