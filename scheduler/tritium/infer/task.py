"""Edge in Spark: what one inference task does. Read rows, feed the model's owner, pass them on."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.assign.types import Request
from tritium.errors import BadSpec, ModelFailed
from tritium.infer.batches import rebatch
from tritium.infer.buckets import Padding, Windows
from tritium.infer.clock import Clock
from tritium.infer.extend import Extend
from tritium.infer.failure import Failure
from tritium.infer.feeder import Feeder
from tritium.infer.forms import Form
from tritium.infer.identity import digest, lying_at, shared_by
from tritium.infer.lodging import Lodging, Place
from tritium.infer.micro_batch import micro_batch
from tritium.infer.prepare import Prepare
from tritium.infer.report import Reporting, Run, write_report
from tritium.infer.words import Order

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["InferenceTask"]

_ACTION = "spark.sql.execution.id"
"""As Spark's ``SQLExecution`` calls it; tasks of a job on ``df.rdd`` have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceTask:
    """The function that Spark runs in each task of ``predict`` (``mapInArrow``)."""

    load: bytes
    """The pickled ``(function, arguments after the device)`` that makes the model."""
    model: str
    """What tells this model, and how it is used, from others."""
    preprocess: Callable[[Any], Any] | None
    input: tuple[str, ...] | None
    """Columns that the model gets; ``None``: all."""
    kept: tuple[str, ...]
    """Columns that stay."""
    output: tuple[tuple[str, pa.DataType], ...]
    error: tuple[str, pa.DataType] | None
    """The column for what was wrong with a row."""
    failed: str | None
    """The same column of the rows, where some failed before: they go on as they are."""
    quarantine: bool
    """Whether rows that fail here are put up with."""
    form: Form
    """What the model gets, and ``preprocess``."""
    padding: Padding | None
    """For lists of different lengths."""
    batch_size: int
    ahead: int
    request: Request | None
    """``None``: on the CPU."""
    policy: str
    wait_s: float
    keep_s: float
    limit_s: float
    """How long loading the model, or one call of it, may take."""
    call: str
    """What tells this call of ``predict``, with its ``preprocess``, from others."""
    report: Reporting | None
    nulls: bool = False
    """Whether nulls become NaN and ``None`` in arrays, and are not rows that fail."""
    path: Path | Callable[[str, int], Path] | None = None
    """Where the model's files are, maybe by a query's micro-batch: one more argument of the load."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Be one task; without rows it asks for no device."""
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None  # noqa: S101  Spark calls this in a task
        prepare = Prepare(
            columns=self.input,
            preprocess=self.preprocess,
            quarantine=self.quarantine,
            form=self.form,
            padding=self.padding,
            failed=self.failed,
            nulls=self.nulls,
        )
        clock = Clock(stage=context.stageId(), number=context.partitionId())
        windows = self._windows()
        rebatched = clock.reading(
            rebatch(batches, self.batch_size) if windows is None else windows.cut(batches)
        )
        first = next(rebatched, None)
        if first is None:
            return
        what = f"inference task {clock.number}"
        lodging = self._lodging(context)
        feeder = Feeder(
            lambda: lodging.owner(wait_s=self.wait_s, what=what), ahead=self.ahead, limit_s=self.limit_s
        )
        if feeder.owner.knows:
            prepare.trust()
        clock.start(feeder)
        extend = Extend(self.kept, self.output, self.error, quarantine=self.quarantine)
        answers = feeder.answers(prepare.feed(_all(first, rebatched)))
        extended = (clock.encoding(extend, answered) for answered in answers)
        try:
            for batch in extended if windows is None else windows.restored(extended):
                yield batch
                clock.written()
        except Failure as err:
            raise self._failed(err, clock.number, feeder) from None
        if (to := self.report) is not None:
            try:
                write_report(clock.report(prepare, reading=to.reading), to.folder, _run(context, self.call))
            except OSError as err:  # the rows are predicted, and of more use than what is said of them
                sys.stderr.write(f"tritium: {what} leaves no report: {err}\n")

    def _windows(self) -> Windows | None:
        if self.padding is None or not self.padding.buckets:
            return None
        return Windows(self.padding, size=self.batch_size)

    def _lodging(self, context: Any) -> Lodging:
        from pyspark import SparkFiles

        granted = context.resources().get("gpu")
        load, name = self._of_batch(context)
        model = shared_by(
            name,
            job_tags=context.getLocalProperty("spark.job.tags") or "",
            files=Path(SparkFiles.getRootDirectory()),
        )
        order = Order(
            what=f"owner of model {model[:6]}",
            host="",
            executor="",
            devices=(),
            load=load,
            files=SparkFiles.getRootDirectory(),
            output=tuple(name for name, _ in self.output),
            quarantine=self.quarantine,
            form=self.form,
            keep_s=self.keep_s,
            limit_s=self.limit_s,
            priority=self.request.priority if self.request is not None else 0,
        )
        return Lodging(
            order,
            Place.here(),
            model=model,
            call=self.call,
            request=self.request,
            policy=self.policy,
            granted=granted.addresses if granted is not None else None,
        )

    def _of_batch(self, context: Any) -> tuple[bytes, str]:
        """The load of this micro-batch and the model's name: one model per version, each with its owners.

        Other files at the same path are another version.
        """
        if self.path is None:
            return self.load, self.model
        path = self.path
        if not isinstance(path, Path):
            if (known := micro_batch(context)) is None:
                # E.g. a foreachBatch of the user's own, through Connect: all batches would be the same one.
                raise BadSpec(
                    "predict", ["model_path: a function is asked per micro-batch, and this is in none"]
                )
            path = path(*known)
        load = pickle.dumps((_Versioned(load=self.load, path=path), ()))
        return load, digest(self.model, path, lying_at(path))

    def _failed(self, err: Failure, number: int, feeder: Feeder) -> ModelFailed:
        """Say it to the driver; the note is all that survives the way there besides the sentence."""
        devices = feeder.owner.devices
        device = devices[0].uuid if devices else "CPU"
        failed = ModelFailed(task=number, device=device, cause=err.cause, trace=err.trace)
        failed.add_note(err.trace)
        return failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Versioned:
    """``load(device)`` with the files of one version; the user's own code stays pickled until the owner."""

    load: bytes
    path: Path

    def __call__(self, device: Any) -> Any:
        load, arguments = pickle.loads(self.load)  # noqa: S301  the user's own
        return load(device, *arguments, self.path)


def _run(context: Any, call: str) -> Run:
    """What this task is a part of: all tasks of one use of the DataFrame say the same."""
    action = context.getLocalProperty(_ACTION)
    query, batch = micro_batch(context) or (None, None)
    use = action if action is not None else f"stage{context.stageId()}"
    return Run(call=call, use=use, query=query, batch=batch)


def _all(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
