"""Decides whether a document is a pipeline: it becomes the types of `spec`, or a list of all its mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tritium.errors import BadSpec
from tritium.pipeline.fields import Fields
from tritium.pipeline.spec import Gpu, Infer, Pipeline, Script, Sink, Source, Target, Train, Verify
from tritium.train.frameworks import FRAMEWORKS

__all__ = ["API_VERSION", "parse"]

API_VERSION = "tritium.dev/v1alpha1"

_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_TARGET = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_PROGRAM = rf"{_TARGET}|([\w-][\w.-]*/)*[\w-][\w.-]*\.py"
_SOURCES = ("parquet", "csv")
_SINKS = ("parquet",)
_LATER = ("delta", "hive", "jdbc", "kafka", "table")


def parse(document: object, *, folder: Path, where: str) -> Pipeline:
    """Read a document; relative paths start at ``folder``, and errors call the document ``where``.

    Raises:
        BadSpec: with every mistake, each with its path.
    """
    problems: list[str] = []
    if not isinstance(document, Mapping):
        raise BadSpec(
            where, [f"expected a mapping with apiVersion, kind, metadata and spec, got {document!r}"]
        )
    top = Fields(document, path="", problems=problems)
    top.choice("apiVersion", (API_VERSION,))
    top.choice("kind", ("Pipeline",))
    metadata = top.inside("metadata")
    name = ""
    if metadata is not None:
        name = metadata.fullmatch("name", _NAME, what="a name of a-z, 0-9 and -, at most 63 long")
        metadata.done()
    spec = top.inside("spec")
    top.done()
    pipeline = _pipeline(spec, folder=folder, name=name) if spec is not None else None
    if problems or pipeline is None:
        raise BadSpec(where, problems)
    return pipeline


def _pipeline(spec: Fields, *, folder: Path, name: str) -> Pipeline | None:
    train = _train(spec.inside("train"), folder)
    verify = _verify(spec.inside("verify", optional=True), folder)
    infer = _infer(spec.inside("infer", optional=True), folder)
    code = _code(spec, folder)
    storage = _path(spec, "storage", folder, default=".tritium")
    spec.done()
    if train is None:
        return None
    return Pipeline(name=name, code=code, storage=storage, train=train, verify=verify, infer=infer)


def _train(stage: Fields | None, folder: Path) -> Train | None:
    if stage is None:
        return None
    train = Train(
        source=_source(stage, folder),
        run=_program(stage),
        framework=stage.choice("framework", tuple(FRAMEWORKS), default="torch"),
        ranks=stage.whole("ranks", least=1, default=1),
        gpu=_gpu(stage, gang=True),
        retries=stage.whole("retries", least=0, default=0),
        params=params.items() if (params := stage.inside("params", optional=True)) is not None else {},
    )
    stage.done()
    return train


def _verify(stage: Fields | None, folder: Path) -> Verify | None:
    if stage is None:
        return None
    verify = Verify(
        source=_source(stage, folder),
        run=_target(stage),
        at_least=stage.numbers("atLeast"),
        at_most=stage.numbers("atMost"),
    )
    if not stage.has("atLeast") and not stage.has("atMost"):
        stage.wrong("atLeast", "missing; expected a bar such as {accuracy: 0.95}, here or as atMost")
    stage.done()
    return verify


def _infer(stage: Fields | None, folder: Path) -> Infer | None:
    if stage is None:
        return None
    infer = Infer(
        source=_source(stage, folder),
        run=_target(stage),
        sink=_sink(stage, folder),
        gpu=_gpu(stage, gang=False),
        batch=stage.whole("batch", least=1, default=256),
        output=stage.text("output", what="columns such as 'prediction double'", default="prediction double"),
    )
    stage.done()
    return infer


def _source(stage: Fields, folder: Path) -> Source:
    nowhere = Source(format="parquet", path=folder)
    source = stage.inside("source")
    if source is None or (kind := _format(source, _SOURCES)) in _LATER:
        return nowhere
    path = _path(source, "path", folder)
    schema = source.text("schema") if source.has("schema") else None
    if schema is not None and kind == "parquet":
        source.wrong("schema", "a parquet source has its own; only csv takes one")
    source.done()
    return Source(format="csv", path=path, schema=schema) if kind == "csv" else replace(nowhere, path=path)


def _sink(stage: Fields, folder: Path) -> Sink:
    nowhere = Sink(format="parquet", path=folder)
    sink = stage.inside("sink")
    if sink is None or _format(sink, _SINKS) in _LATER:
        return nowhere
    path = _path(sink, "path", folder)
    sink.done()
    return replace(nowhere, path=path)


def _format(fields: Fields, known: tuple[str, ...]) -> str:
    """Return a format; of one that is not there yet the caller leaves the other keys alone."""
    value = fields.text("format", what=" or ".join(known))
    if value in (*_LATER, *_SOURCES) and value not in known:
        fields.wrong("format", f"{value} is not there yet; supported here: {', '.join(known)}")
    elif value and value not in known:
        fields.expected("format", " or ".join(known), value)
    return value


def _gpu(stage: Fields, *, gang: bool) -> Gpu:
    """Return what one rank of a gang needs, or else one replica of the model, which may share a device."""
    usual = Gpu(priority=1 if gang else 0)
    gpu = stage.inside("gpu", optional=True)
    if gpu is None:
        return usual
    share_mib = gpu.size_mib("share", least=1, default=0) or None
    if gang and share_mib is not None:
        gpu.wrong("share", "is for infer; a gang has whole devices")
    found = Gpu(
        per_rank=gpu.whole("perRank", least=0, default=1) if gang else 1,
        min_memory_mib=gpu.size_mib("minMemory", default=0),
        share_mib=share_mib,
        priority=gpu.whole("priority", default=usual.priority),
    )
    gpu.done()
    return found


def _target(stage: Fields) -> Target:
    value = stage.fullmatch("run", _TARGET, what="module:function")
    module, _, function = value.partition(":")
    return Target(module=module, function=function)


def _program(stage: Fields) -> Target | Script:
    """Return a function, or a script with arguments; each takes only its own kind."""
    value = stage.fullmatch("run", _PROGRAM, what="module:function, or a script such as train.py")
    if not value.endswith(".py"):
        if stage.has("args"):
            stage.wrong("args", "are for a script; a function takes params")
            stage.texts("args")
        module, _, function = value.partition(":")
        return Target(module=module, function=function)
    if stage.has("params"):
        stage.wrong("params", "are for a function; a script takes args")
    return Script(path=value, args=stage.texts("args"))


def _code(spec: Fields, folder: Path) -> Path:
    code = spec.inside("code", optional=True)
    if code is None:
        return folder
    for later in ("wheel", "image"):
        if code.has(later):
            code.text(later)
            code.wrong(later, "is not there yet; supported here: path")
            return folder
    path = _path(code, "path", folder)
    code.done()
    return path


def _path(fields: Fields, key: str, folder: Path, *, default: str | None = None) -> Path:
    """Return an absolute path; the user's home may be written as ``~``."""
    value = fields.text(key, what="a path", default=default)
    scheme, colon, rest = value.partition("://")
    if not colon:
        return folder / Path(value).expanduser()
    if scheme != "file":
        fields.wrong(key, f"{value} is not a local path; {scheme}:// is not there yet")
    return Path(rest)
