"""Edge to the clock: where the time of one inference task goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tritium.infer.extend import Extend
from tritium.infer.feeder import Answered, Feeder
from tritium.infer.prepare import Prepare
from tritium.infer.report import TaskReport
from tritium.infer.words import Said

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Clock"]


class Clock:
    """Adds up the seconds of one task, by what it did in them."""

    def __init__(self, *, stage: int, number: int) -> None:
        self.stage, self.number = stage, number
        self._wait_s = self._queue_s = self._predict_s = self._encode_s = self._copy_s = self._write_s = 0.0
        self._rows = self._bad = self._batches = self._largest = self._queued = 0
        self._first: Said | None = None
        """The first that the owner said which answered last."""
        self._last: Said | None = None
        self._load_s: float | None = None

    def start(self, feeder: Feeder) -> None:
        """Begin: there are rows, and the task looks for an owner; what was before is not counted."""
        self._feeder, self._wait_s = feeder, 0.0
        self._began, self._started = time.time(), time.monotonic()

    def reading(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Measure how long batches are waited for."""
        waiting = iter(batches)
        while True:
            began = time.monotonic()
            batch = next(waiting, None)
            self._wait_s += time.monotonic() - began
            if batch is None:
                return
            yield batch

    def encoding(self, extend: Extend, answered: Answered) -> pa.RecordBatch:
        """Measure how long columns are made of an answer, and take in what the owner says of it."""
        began = time.monotonic()
        batch = extend.extended(answered)
        self._handed = time.monotonic()
        self._encode_s += self._handed - began
        self._rows += batch.num_rows
        self._batches += 1
        self._largest = max(self._largest, batch.num_rows)
        self._bad += len(answered.fed.bad) + (len(answered.answer.bad) if answered.answer is not None else 0)
        if (said := answered.said) is not None:
            self._queue_s += said.queued_s
            self._predict_s += said.predict_s
            self._copy_s += said.copy_s
            self._queued += said.waiting
            self._said(said)
        return batch

    def _said(self, said: Said) -> None:
        """Remember the owner's own count, which says nothing beside that of one before it."""
        if self._load_s is None:  # a model that is loaded again in place of another is no wait for the first
            self._load_s = self._feeder.load_s
        if self._last is None or said.owner != self._last.owner:
            self._first = said
        self._last = said

    def written(self) -> None:
        """Note that Spark has taken the batch."""
        self._write_s += time.monotonic() - self._handed

    def report(self, prepare: Prepare, *, reading: str) -> TaskReport:
        """Say what was done up to now."""
        feeder = self._feeder
        devices = feeder.owner.devices
        first, last = self._first, self._last
        load_s = feeder.load_s if self._load_s is None else self._load_s
        return TaskReport(
            stage=self.stage,
            task=self.number,
            host=feeder.owner.host,
            executor=feeder.owner.executor,
            device=devices[0].uuid if devices else None,
            product=devices[0].product if devices else "",
            pid=os.getpid(),
            owner=feeder.owner.pid if last is None else last.owner,
            reading=reading,
            rows=self._rows,
            bad=self._bad,
            batches=self._batches,
            largest=self._largest,
            began=self._began,
            load_s=load_s,
            seconds=time.monotonic() - self._started - load_s,
            wait_s=self._wait_s,
            decode_s=prepare.decode_s,
            preprocess_s=prepare.preprocess_s,
            copy_s=self._copy_s + feeder.copy_s,
            full_s=feeder.full_s,
            queue_s=self._queue_s,
            queued=self._queued / max(self._batches, 1),
            predict_s=self._predict_s,
            encode_s=self._encode_s,
            write_s=self._write_s,
            busy=None if first is None or last is None else (first.busy_s, last.busy_s, first.at, last.at),
        )
