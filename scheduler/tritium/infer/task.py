"""Edge in Spark: what one inference task does. Hold a device, load the model once, predict batch by batch."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.assign.types import Request
from tritium.columns import to_arrow, to_numpy
from tritium.errors import ModelFailed
from tritium.infer.batches import rebatch
from tritium.infer.report import TaskReport, write_report
from tritium.spark.devices import hold
from tritium.spark.inventory import TaskView
from tritium_discovery import Device

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["InferenceTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceTask:
    """The function that Spark runs in each task of ``predict`` (``mapInArrow``)."""

    model: Callable[..., Any]
    model_path: Path | None
    input: tuple[str, ...]
    kept: tuple[str, ...]
    """Columns that stay."""
    output: tuple[tuple[str, pa.DataType], ...]
    batch_size: int
    request: Request
    policy: str
    wait_s: float
    report: Path | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Be one task; without rows it asks for no device."""
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None  # noqa: S101  Spark calls this in a task
        number = context.partitionId()
        rebatched = rebatch(batches, self.batch_size)
        first = next(rebatched, None)
        if first is None:
            return
        what = f"inference task {number}"
        with hold(self.request, policy=self.policy, wait_s=self.wait_s, what=what) as ((device,), view):
            run = _Run(task=self, number=number, device=device)
            yield run.extended(first)
            for batch in rebatched:
                yield run.extended(batch)
            if self.report is not None:
                write_report(run.report(view), self.report)


class _Run:
    """One task's way through its rows: the loaded model and the clock."""

    def __init__(self, *, task: InferenceTask, number: int, device: Device) -> None:
        self._task, self._number, self._device = task, number, device
        self._rows, self._predict_s = 0, 0.0
        self._began, began = time.time(), time.monotonic()
        arguments = (device,) if task.model_path is None else (device, task.model_path)
        self._predict = self._attempt("load failed", task.model, *arguments)
        self._loaded = time.monotonic()
        self._load_s = self._loaded - began

    def extended(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the model's columns behind its own."""
        import pyarrow as pa

        columns = self._attempt("rows do not fit predict", self._columns, batch)
        began = time.monotonic()
        answer = self._attempt("predict failed", self._predict, columns)
        self._predict_s += time.monotonic() - began
        added = self._attempt("predict returned what does not fit", self._added, answer, batch.num_rows)
        self._rows += batch.num_rows
        kept = self._task.kept
        names = [*kept, *(name for name, _ in self._task.output)]
        return pa.RecordBatch.from_arrays([*map(batch.column, kept), *added], names=names)

    def report(self, view: TaskView) -> TaskReport:
        """Say what was done up to now."""
        return TaskReport(
            task=self._number,
            host=view.inventory.hostname,
            executor=view.pool_name,
            device=self._device.uuid,
            product=self._device.product,
            pid=os.getpid(),
            rows=self._rows,
            began=self._began,
            load_s=self._load_s,
            predict_s=self._predict_s,
            seconds=time.monotonic() - self._loaded,
        )

    def _columns(self, batch: pa.RecordBatch) -> Mapping[str, Any]:
        return {name: to_numpy(batch.column(name), name=name) for name in self._task.input}

    def _added(self, answer: Any, rows: int) -> list[pa.Array]:
        output = self._task.output
        by_name = answer if isinstance(answer, Mapping) else {output[0][0]: answer}
        if by_name.keys() != {name for name, _ in output}:
            declared = ", ".join(name for name, _ in output)
            raise ValueError(f"it has the columns {', '.join(map(str, by_name))}; declared are {declared}")
        added = [to_arrow(by_name[name], kind, name=name) for name, kind in output]
        for (name, _), column in zip(output, added, strict=True):
            if len(column) != rows:
                raise ValueError(f"{name}: {len(column)} rows for a batch of {rows}")
        return added

    def _attempt(self, blame: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call the user's code; what goes wrong in it has one name and the user's own traceback."""
        try:
            return call(*arguments)
        except Exception as err:  # noqa: BLE001  the user's code may raise anything
            trace = "".join(traceback.format_exception(err.with_traceback(_users_own(err))))
            first = str(err).partition("\n")[0]
            failed = ModelFailed(
                task=self._number,
                device=self._device.uuid,
                cause=f"{blame}: {type(err).__name__}: {first}",
                trace=trace,
            )
            failed.add_note(trace)  # the only part besides its sentence that survives the way to the driver
            raise failed from None


def _users_own(err: BaseException) -> Any:
    """The traceback without this module's own frame on top."""
    trace = err.__traceback__
    return trace.tb_next if trace is not None and trace.tb_next is not None else trace
