"""Small real fakes of a run's edges: an engine without Spark, a disk that can be killed, a clock, ears."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rigs.reports import task_report
from tritium.errors import TritiumError
from tritium.infer.profile import merged
from tritium.pipeline.edges import Advanced, Edges, Heard, Retried
from tritium.pipeline.results import (
    DeviceUse,
    Predicted,
    RankRow,
    StageName,
    TaskRow,
    Told,
    Trained,
    Verified,
)
from tritium.pipeline.spec import Infer, Pipeline, Train, Verify
from tritium.store.disk import LocalDisk
from tritium.train.attempts import tried

__all__ = ["Clock", "Ears", "FakeEngine", "Killed", "KillingDisk", "edges"]

_DEVICE = DeviceUse(uuid="GPU-0", product="NVIDIA A100")
_PROFILE = merged([task_report()])


class Killed(BaseException):
    """The process is gone: nobody catches this, as nobody catches SIGKILL."""


@dataclass
class Clock:
    """Every look at it takes a second."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@dataclass
class Ears:
    """Keeps what a run says."""

    said: list[str] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def begins(self, stage: StageName, *, attempt: int) -> None:
        self.said.append(f"{stage} begins ({attempt})")

    def hears(self, stage: StageName, told: Told) -> None:
        assert stage == "train"
        self.told.append(told)

    def advances(self, stage: StageName, *, done: int, total: int) -> None:
        self.said.append(f"{stage} {done}/{total}")

    def ends(self, stage: StageName, sentence: str) -> None:
        self.said.append(f"{stage} {sentence}")

    def fails(self, stage: StageName, sentence: str) -> None:
        self.said.append(f"{stage} {sentence}")


@dataclass
class FakeEngine:
    """Trains by writing a file; may be told to fail, and counts what it did."""

    ran: list[StageName] = field(default_factory=list)
    accuracy: float = 0.97
    fails: dict[StageName, list[TritiumError]] = field(default_factory=dict)
    leaves_model: bool = True
    killed_in: StageName | None = None
    model: str = "weights"
    seen_code: dict[str, str] = field(default_factory=dict)
    seen_checkpoints: bool = False
    checked: list[str] = field(default_factory=list)

    def check(self, pipeline: Pipeline) -> None:
        self.checked.append(pipeline.name)

    def _begin(self, stage: StageName, half: Callable[[], object]) -> None:
        self.ran.append(stage)
        if self.killed_in == stage:
            half()
            raise Killed
        if self.fails.get(stage):
            half()
            raise self.fails[stage].pop(0)

    def train(
        self, stage: Train, *, code: Path, output: Path, checkpoints: Path, heard: Heard, retried: Retried
    ) -> Trained:
        self.seen_code = {path.name: path.read_text() for path in code.iterdir()}

        def attempt(_: int) -> None:
            heard(0, {"epoch": 0})
            self._begin("train", lambda: (output / "model.txt").write_text("hal"))

        self.seen_checkpoints = checkpoints.exists()
        checkpoints.mkdir(parents=True, exist_ok=True)
        tried(attempt, retries=stage.retries, on_retry=retried)
        heard(0, {"epoch": 1, "loss": 0.5})
        heard(1, {"epoch": 1, "loss": 0.7})
        if self.leaves_model:
            (output / "model.txt").write_text(self.model)
        ranks = tuple(
            RankRow(
                rank=rank,
                local_rank=rank,
                group_rank=0,
                host="node-7",
                executor=f"executor {rank}",
                devices=(_DEVICE,),
                pid=100 + rank,
                seconds=1.5,
                peak_mib=100 + rank,
            )
            for rank in range(stage.ranks)
        )
        return Trained(metrics={"loss": 0.5}, ranks=ranks, phases={"launch": 0.5, "run": 1.5}, told=())

    def verify(self, stage: Verify, *, code: Path, model: Path) -> Verified:
        assert (code / f"{stage.run.module}.py").exists()
        self._begin("verify", lambda: None)
        assert (model / "model.txt").read_text() == self.model
        return Verified(metrics={"accuracy": self.accuracy, "loss": 0.1})

    def infer(self, stage: Infer, *, code: Path, model: Path, into: Path, advanced: Advanced) -> Predicted:
        assert (code / f"{stage.run.module}.py").exists()

        def half() -> None:
            into.mkdir()
            (into / "part-0.parquet").write_text("hal")

        self._begin("infer", half)
        advanced(1, 2)
        into.mkdir()
        for part in (0, 1):
            (into / f"part-{part}.parquet").write_text(f"{(model / 'model.txt').read_text()} {part}")
        task = TaskRow(
            task=0,
            host="node-7",
            executor="executor 0",
            devices=(_DEVICE,),
            rows=200,
            began=5.0,
            load_s=1.0,
            seconds=2.0,
        )
        return Predicted(rows=200, tasks=(task,), profile=_PROFILE)


class KillingDisk(LocalDisk):
    """A disk under a process that is killed just before, or just after, its n-th durable write."""

    def __init__(self, *, at: int | None = None, after: bool = False) -> None:
        self.writes = 0
        self._at = at
        self._after = after

    @contextmanager
    def _count(self) -> Iterator[None]:
        self.writes += 1
        if self.writes == self._at and not self._after:
            raise Killed
        yield
        if self.writes == self._at:
            raise Killed

    def write(self, path: Path, content: bytes) -> None:
        with self._count():
            super().write(path, content)

    def create(self, path: Path, content: bytes) -> bool:
        with self._count():
            return super().create(path, content)

    def move(self, tree: Path, target: Path) -> None:
        with self._count():
            super().move(tree, target)

    def link(self, path: Path, target: Path) -> None:
        with self._count():
            super().link(path, target)


def edges(engine: FakeEngine, *, disk: LocalDisk | None = None, ears: Ears | None = None) -> Edges:
    """Edges of one run; like every real engine, this one is made for one run."""

    @contextmanager
    def opened() -> Iterator[FakeEngine]:
        yield engine

    return Edges(engine=opened(), disk=disk or LocalDisk(), clock=Clock(), watcher=ears or Ears())


def read(folder: Path) -> Mapping[str, str]:
    """What a reader of a sink sees."""
    return {path.name: path.read_text() for path in folder.iterdir()}
