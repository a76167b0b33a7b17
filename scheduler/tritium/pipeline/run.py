"""Runs a pipeline: train, verify, infer, each once, going on where an earlier run was stopped.

A stage is finished by one durable write, its record, after its output is safe. Everything that acts
(Spark, disk, clock, screen) comes in as an argument.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tritium.errors import AlreadyRunning, CannotPublish, TritiumError
from tritium.pipeline.bar import judge
from tritium.pipeline.code import python_files
from tritium.pipeline.edges import Edges, Engine, Retried
from tritium.pipeline.load import identity
from tritium.pipeline.results import Failed, Predicted, Record, StageName, Told, Trained, Verified
from tritium.pipeline.sink import ParquetSink
from tritium.pipeline.spec import Infer, Pipeline, Train, Verify
from tritium.pipeline.state import State, alone, key_of
from tritium.store.objects import ObjectId, Store
from tritium_discovery import DiscoveryError

__all__ = ["Run", "root_of", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run led to."""

    records: Mapping[StageName, Record]
    """The finished stages."""
    done_now: tuple[StageName, ...]
    """Those that this run did; the others were finished before."""
    failed: Mapping[StageName, tuple[Failed, ...]] = field(default_factory=dict)
    """The attempts at the stage that this run gave up."""
    error: TritiumError | DiscoveryError | None = None
    """Why it gave up."""


def root_of(pipeline: Pipeline) -> Path:
    """Return the folder of everything that a pipeline keeps."""
    return pipeline.storage / pipeline.name


def run(pipeline: Pipeline, *, edges: Edges, fresh: bool = False) -> Run:
    """Run every stage that is not finished, or all of them if ``fresh``.

    Raises:
        AlreadyRunning: another run of this pipeline, or another writer of its sink, is at work.
    """
    with alone(root_of(pipeline), what=f"pipeline {pipeline.name}"), ExitStack() as opened:
        at_work = _AtWork(pipeline, edges=edges, opened=opened)
        error: TritiumError | DiscoveryError | None = None
        try:
            at_work.run(fresh=fresh)
        except AlreadyRunning:
            raise
        except (TritiumError, DiscoveryError) as err:
            error = err
        except OSError as err:
            error = CannotPublish(f"pipeline {pipeline.name}: {err}")
        return Run(
            records=at_work.state.records(),
            done_now=tuple(at_work.done_now),
            failed=at_work.failed,
            error=error,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What a stage leaves when it succeeds."""

    output: str = ""
    trained: Trained | None = None
    verified: Verified | None = None
    predicted: Predicted | None = None


def _key(stage: Train | Verify | Infer, **made_of: ObjectId) -> str:
    """Name what comes out of a stage; how often it is tried and who gives way to it change nothing there."""
    said = asdict(stage)
    said.pop("retries", None)
    said.get("gpu", {}).pop("priority", None)
    return key_of(stage=said, source=identity(stage.source), **made_of)


class _AtWork:
    """One run while it lasts; its methods are the steps."""

    def __init__(self, pipeline: Pipeline, *, edges: Edges, opened: ExitStack) -> None:
        self.state = State(root_of(pipeline), disk=edges.disk)
        self.done_now: list[StageName] = []
        self.failed: dict[StageName, tuple[Failed, ...]] = {}
        self._pipeline = pipeline
        self._edges = edges
        self._opened = opened
        self._engine: Engine | None = None
        self._store = Store(root_of(pipeline), disk=edges.disk)

    def run(self, *, fresh: bool) -> None:
        # 1. What a killed run left is no part of anything.
        self.state.sweep()
        self._store.sweep()
        if fresh:
            self.state.forget()
        # 2. Refusals that can be known now must not come after hours of training.
        infer = self._pipeline.infer
        sink = ParquetSink(infer.sink.path, disk=self._edges.disk) if infer is not None else None
        if sink is not None:
            self._opened.enter_context(alone(sink.versions, what=f"the sink {sink.path}"))
            sink.check()
        # 3. The stages; each stands on the one before.
        before = self._store.target("model")
        code = self._keep_code()
        model = self._train(code)
        if self._pipeline.verify is not None:
            self._verify(self._pipeline.verify, code, model)
        self._store.point("model", model, expected=before)
        if infer is not None and sink is not None:
            self._infer(infer, sink, code, model)
        self.state.sweep()

    def _keep_code(self) -> ObjectId:
        """Keep the user's code as it is now: an edit during a long run must not mix two versions."""
        folder = self.state.attempt("code")
        files = python_files(self._pipeline.code, storage=self._pipeline.storage)
        for name, path in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
        return self._store.put(folder)

    def _train(self, code: ObjectId) -> ObjectId:
        stage = self._pipeline.train
        key = _key(stage, code=code)

        def work(retried: Retried) -> _Left:
            output = self.state.attempt("train")
            told: list[Told] = []

            def heard(rank: int, values: Mapping[str, float | str]) -> None:
                told.append(Told(rank=rank, at=self._edges.clock(), values=dict(values)))
                self._edges.watcher.hears("train", told[-1])

            def again(error: TritiumError) -> None:
                told.clear()
                retried(error)

            trained = self._started().train(
                stage,
                code=self._store.path(code),
                output=output,
                checkpoints=self.state.checkpoints(key),
                heard=heard,
                retried=again,
            )
            if not any(output.iterdir()):
                raise CannotPublish(
                    f"train: {stage.run} left no file in tritium.rank().output: there is no model"
                )
            return _Left(output=self._store.put(output), trained=replace(trained, told=tuple(told)))

        record = self._done("train", key, work, there=self._store_has, retries=stage.retries)
        self.state.forget_checkpoints()
        return ObjectId(record.output)

    def _verify(self, stage: Verify, code: ObjectId, model: ObjectId) -> None:
        def work(_: Retried) -> _Left:
            paths = {"code": self._store.path(code), "model": self._store.path(model)}
            verified = self._started().verify(stage, **paths)
            judge(stage, verified.metrics)
            return _Left(verified=verified)

        key = _key(stage, code=code, model=model)
        self._done("verify", key, work)

    def _infer(self, stage: Infer, sink: ParquetSink, code: ObjectId, model: ObjectId) -> None:
        def advanced(done: int, total: int) -> None:
            self._edges.watcher.advances("infer", done=done, total=total)

        def work(_: Retried) -> _Left:
            into = sink.begin()
            paths = {"code": self._store.path(code), "model": self._store.path(model)}
            predicted = self._started().infer(stage, into=into, advanced=advanced, **paths)
            return _Left(output=sink.keep(into), predicted=predicted)

        key = _key(stage, code=code, model=model)
        # Published after its record: if killed in between, the next run has only this link to make.
        sink.publish(self._done("infer", key, work, there=sink.has).output)

    def _store_has(self, output: str) -> bool:
        return self._store.whole(ObjectId(output))

    def _done(
        self,
        stage: StageName,
        key: str,
        work: Callable[[Retried], _Left],
        *,
        there: Callable[[str], bool] = lambda _output: True,
        retries: int = 0,
    ) -> Record:
        """Return a stage's record: the one it has, if it stands for the same and its output is there."""
        record = self.state.record(stage)
        if record is not None and record.key == key and there(record.output):
            self._edges.watcher.ends(stage, "finished before, not run again")
            return record
        self._started()
        record = self._tried(stage, key, work, retries=retries)
        self.state.finish(record)
        self.done_now.append(stage)
        self._edges.watcher.ends(stage, f"finished in {record.seconds:.1f} s")
        return record

    def _tried(self, stage: StageName, key: str, work: Callable[[Retried], _Left], *, retries: int) -> Record:
        """Run a stage, which may take more than one attempt."""
        failed: list[Failed] = []
        self._edges.watcher.begins(stage, attempt=0)
        began = self._edges.clock()

        def fails(error: TritiumError) -> None:
            failed.append(Failed(began=began, ended=self._edges.clock(), sentence=str(error)))
            self.failed[stage] = tuple(failed)

        def retried(error: TritiumError) -> None:
            nonlocal began
            fails(error)
            self._edges.watcher.fails(stage, f"{error.headline}; retry {len(failed)} of {retries}")
            self._edges.watcher.begins(stage, attempt=len(failed))
            began = self._edges.clock()

        try:
            left = work(retried)
        except TritiumError as err:
            fails(err)
            self._edges.watcher.fails(stage, f"failed: {err.headline}")
            raise
        self.failed.pop(stage, None)
        return Record(
            stage=stage,
            key=key,
            began=began,
            ended=self._edges.clock(),
            failed=tuple(failed),
            output=left.output,
            trained=left.trained,
            verified=left.verified,
            predicted=left.predicted,
        )

    def _started(self) -> Engine:
        if self._engine is None:
            self._engine = self._opened.enter_context(self._edges.engine)
            self._engine.check(self._pipeline)
        return self._engine
