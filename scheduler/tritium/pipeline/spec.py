"""What a pipeline file says: frozen types, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Call", "Gpu", "Infer", "Pipeline", "Script", "Sink", "Source", "Target", "Train", "Verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A function of the user's, by name: it is imported where it runs, never in the driver.

    >>> str(Target(module="digits", function="fit"))
    'digits:fit'
    """

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"


@dataclass(frozen=True, slots=True)
class Call:
    """How a function of the user's is called."""

    target: Target
    positional: tuple[str, ...]
    """What the arguments are."""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A program of the user's, in the folder of the code.

    >>> str(Script(path="train.py", args=("--epochs", "3")))
    'train.py'
    """

    path: str
    args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows to read."""

    format: Literal["parquet", "csv"]
    path: Path
    """A file or a folder; absolute."""
    schema: str | None = None
    """Columns of a CSV source in Spark's DDL, e.g. ``id long, x double``; ``None``: inferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where rows are written."""

    format: Literal["parquet"]
    path: Path
    """A folder that readers may open at any time; absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What one rank, or one replica of the model, needs."""

    per_rank: int = 1
    """Whole devices; 0 computes on the CPU."""
    min_memory_mib: int = 0
    share_mib: int | None = None
    """MiB of a device that a replica shares with other models; ``None``: the device is its own."""
    priority: int = 0
    """Whoever has a higher one gets the devices when it needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """How the model comes to be."""

    source: Source
    run: Target | Script
    framework: str = "torch"
    ranks: int = 1
    gpu: Gpu = field(default_factory=lambda: Gpu(priority=1))
    retries: int = 0
    """How often a gang that failed is tried again."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """What the model must show before it may be used."""

    source: Source
    run: Target
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Infer:
    """What the model is used for."""

    source: Source
    run: Target
    sink: Sink
    gpu: Gpu = field(default_factory=Gpu)
    batch: int = 256
    """Rows per call of the user's predict function."""
    output: str = "prediction double"
    """The columns that it adds, in Spark's DDL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline file, read."""

    name: str
    code: Path
    """The Python file, or the folder of Python files, that has the user's modules; absolute."""
    storage: Path
    """Where models, run state and reports are kept; absolute."""
    train: Train
    verify: Verify | None = None
    infer: Infer | None = None

    def calls(self) -> Mapping[str, Call]:
        """Return how the functions that the user must have written are called, by their paths."""
        calls = {}
        if isinstance(self.train.run, Target):
            calls["spec.train.run"] = Call(self.train.run, ("data",), tuple(self.train.params))
        if self.verify is not None:
            calls["spec.verify.run"] = Call(self.verify.run, ("model", "data"))
        if self.infer is not None:
            calls["spec.infer.run"] = Call(self.infer.run, ("device", "model"))
        return calls

    def sources(self) -> Mapping[str, Source]:
        """Return what is read, by the path that names it."""
        stages = (("train", self.train), ("verify", self.verify), ("infer", self.infer))
        return {f"spec.{name}.source.path": stage.source for name, stage in stages if stage is not None}
