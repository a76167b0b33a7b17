"""What a run of a pipeline acts through: an engine, a disk, a clock and whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tritium.errors import TritiumError
from tritium.pipeline.results import Predicted, StageName, Told, Trained, Verified
from tritium.pipeline.spec import Infer, Pipeline, Train, Verify
from tritium.store.disk import Disk

__all__ = ["Advanced", "Edges", "Engine", "Heard", "Retried", "Watcher"]

Heard = Callable[[int, Mapping[str, float | str]], None]
"""Is called with a rank and what it reported."""

Retried = Callable[[TritiumError], None]
"""Is called with why an attempt failed that is followed by another."""

Advanced = Callable[[int, int], None]
"""Is called with how many tasks are done, and how many there are."""


class Engine(Protocol):
    """What runs the stages: Spark. Each call returns when its devices are free again."""

    def check(self, pipeline: Pipeline) -> None:
        """Refuse what only Spark can know to be wrong in the file, before a stage runs.

        Raises:
            BadSpec: with every such mistake and its path.
        """

    def train(
        self, stage: Train, *, code: Path, output: Path, checkpoints: Path, heard: Heard, retried: Retried
    ) -> Trained:
        """Run the gang, again where that is worth it; rank 0 leaves the model in ``output``."""

    def verify(self, stage: Verify, *, code: Path, model: Path) -> Verified:
        """Measure the model."""

    def infer(self, stage: Infer, *, code: Path, model: Path, into: Path, advanced: Advanced) -> Predicted:
        """Write predictions into a folder that does not exist yet."""


class Watcher(Protocol):
    """Who is told how a run goes."""

    def begins(self, stage: StageName, *, attempt: int) -> None:
        """Say that a stage starts, for the first time or again."""

    def hears(self, stage: StageName, told: Told) -> None:
        """Pass on what a rank reported."""

    def advances(self, stage: StageName, *, done: int, total: int) -> None:
        """Say how many of a stage's tasks are done."""

    def ends(self, stage: StageName, sentence: str) -> None:
        """Say that a stage is finished, now or before."""

    def fails(self, stage: StageName, sentence: str) -> None:
        """Say why an attempt at a stage failed, and what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """All that a run acts through."""

    engine: AbstractContextManager[Engine]
    """Entered when the first stage has to run, and not at all if none has to."""
    disk: Disk
    clock: Callable[[], float]
    """Seconds since the epoch."""
    watcher: Watcher
