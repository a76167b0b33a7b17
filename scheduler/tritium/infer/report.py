"""What each inference task did, as a small file per task in a folder that driver and executors share.

A DataFrame is evaluated whenever it is used, a stream's in each micro-batch: each time is a run, with a
folder of its own in that folder. Only a task that is repeated within its run replaces its report.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from tritium.errors import BadSpec
from tritium_discovery import Uuid

__all__ = ["Reporting", "Run", "TaskReport", "read_reports", "runs", "write_report"]

_KEPT = 100
"""Runs of a folder; a stream would fill any disk."""
_NAME = re.compile(r"(?:query=(?P<query>[^,]+),batch=(?P<batch>\d+),)?call=(?P<call>\w+),use=(?P<use>\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """What the tasks of one call of `predict` know about their reports."""

    folder: Path
    reading: str
    """See `TaskReport`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One evaluation of a DataFrame that `predict` returned."""

    call: str
    """Which call of `predict` returned it: no two have the same, e.g. ``5f0c91ab``."""
    use: str
    """Which use of it: Spark's number of the action, e.g. ``17``, or of the stage, e.g. ``stage4``."""
    query: str | None = None
    """The stream's id, which is its checkpoint's; ``None`` for a batch."""
    batch: int | None = None
    """The stream's micro-batch."""

    @property
    def name(self) -> str:
        """Of its folder.

        >>> Run(call="5f0c91ab", use="17").name
        'call=5f0c91ab,use=17'
        """
        stream = "" if self.query is None else f"query={self.query},batch={self.batch},"
        return f"{stream}call={self.call},use={self.use}"

    @classmethod
    def named(cls, name: str) -> Run | None:
        """Read a folder's name; ``None`` if it is no run's.

        >>> Run.named("query=8e2d,batch=3,call=5f0c91ab,use=17")
        Run(call='5f0c91ab', use='17', query='8e2d', batch=3)
        """
        if (found := _NAME.fullmatch(name)) is None:
            return None
        batch = None if found["batch"] is None else int(found["batch"])
        return cls(call=found["call"], use=found["use"], query=found["query"], batch=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """One inference task that went through all of its rows."""

    stage: int
    """Spark's number of it: one use of a DataFrame may take several stages."""
    task: int
    """Spark's partition."""
    host: str
    executor: str
    """E.g. ``executor 1``."""
    device: Uuid | None
    """``None`` on the CPU; the first of several."""
    product: str
    """E.g. ``NVIDIA A100-SXM4-40GB``; empty on the CPU."""
    pid: int
    """Of the Python worker."""
    owner: int
    """The pid of the process that has the model; the tasks of one device share it."""
    reading: str
    """Who read the rows, and why: a sentence of `tritium.reading`."""
    rows: int
    bad: int
    """Rows that failed, and have an error instead of a prediction."""
    batches: int
    largest: int
    """Rows of the largest batch."""
    began: float
    """Seconds since the epoch, when the task had a place at an owner."""
    load_s: float
    """Seconds until the model was there: none if an earlier task has waited for it."""
    seconds: float
    """From then to the last row."""
    wait_s: float
    """Waiting for rows from Spark, the first ones left out."""
    decode_s: float
    """Making arrays of columns."""
    preprocess_s: float
    """In the user's ``preprocess``."""
    copy_s: float
    """Into the memory that task and owner share, and out of it."""
    full_s: float
    """Batches were ready, and the owner was busy with others."""
    queue_s: float
    """Batches lay at the owner until it began with them, all together."""
    queued: float
    """Batches of all tasks that waited at the owner, on average."""
    predict_s: float
    """In the user's ``predict``, for this task."""
    encode_s: float
    """Making columns of answers."""
    write_s: float
    """Until Spark had taken the answers."""
    busy: tuple[float, float, float, float] | None
    """The owner's seconds in ``predict`` when it first answered this task and when it last did, and the times
    of both; ``None`` if there was nothing to answer."""

    @property
    def rows_per_s(self) -> float:
        """Rows per second once the model was there."""
        return self.rows / self.seconds if self.seconds else 0.0


def write_report(report: TaskReport, folder: Path, run: Run) -> None:
    """Put one task's report into its run's folder, whole or not at all; a repeated task replaces its own.

    Raises:
        OSError: there is no room, or no right.

    The first report of a run pushes the oldest runs out: the newest 100 of a folder are kept.
    """
    place = folder / run.name
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        pass
    else:
        for old in runs(folder)[:-_KEPT]:
            shutil.rmtree(folder / old.name, ignore_errors=True)
    path = place / f"task-{report.stage:05d}-{report.task:05d}.json"
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    # Where 100 newer runs have pushed this one out meanwhile, nobody will miss it.
    with contextlib.suppress(FileNotFoundError):
        draft.write_text(json.dumps(asdict(report)), encoding="utf-8")
        draft.replace(path)


def runs(folder: Path) -> tuple[Run, ...]:
    """Return the runs that left reports in a folder, in the order in which they last did.

    Raises:
        BadSpec: there is no such folder, or it cannot be read.
    """
    found = []
    try:
        for path in folder.iterdir():
            if (run := Run.named(path.name)) is not None:
                with contextlib.suppress(FileNotFoundError):  # pushed out by newer ones
                    found.append((path.stat().st_mtime_ns, run.name, run))
    except OSError as err:
        raise BadSpec("reports", [f"{folder}: {err.strerror}"]) from err
    return tuple(run for _, _, run in sorted(found, key=lambda one: one[:2]))


def read_reports(folder: Path, *, batch: int | None = None) -> tuple[TaskReport, ...]:
    """Return the reports of the newest run that was given ``report=folder``, by stage and task.

    Tasks without rows have none. With ``batch`` it is the newest run of that micro-batch of a stream, the
    last 100 of which are kept: give each stream a folder of its own. There may be no such run.

    Raises:
        BadSpec: there is no such folder, or a file in it is no report.
    """
    of_batch = [run for run in runs(folder) if batch is None or run.batch == batch]
    if not of_batch:
        return ()
    return tuple(_read(path) for path in sorted((folder / of_batch[-1].name).glob("task-*.json")))


def _read(path: Path) -> TaskReport:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        busy = fields["busy"]
        return TaskReport(**{**fields, "busy": None if busy is None else tuple(busy)})
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise BadSpec("reports", [f"{path}: it is damaged, or another version of Tritium wrote it"]) from err
