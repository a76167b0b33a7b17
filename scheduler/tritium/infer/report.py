"""What each inference task did, as a small file per task in a folder that driver and executors share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tritium_discovery import Uuid

__all__ = ["TaskReport", "read_reports", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """One inference task that went through all of its rows."""

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
    busy: tuple[float, float, float, float]
    """The owner's seconds in ``predict`` when this task's first batch was answered and its last, and when."""

    @property
    def rows_per_s(self) -> float:
        """Rows per second once the model was there."""
        return self.rows / self.seconds if self.seconds else 0.0


def write_report(report: TaskReport, folder: Path) -> None:
    """Put one task's report into the folder, whole or not at all; a repeated task replaces its own."""
    path = folder / f"task-{report.task:05d}.json"
    draft = path.with_suffix(f".{report.pid}")
    draft.write_text(json.dumps(asdict(report)), encoding="utf-8")
    draft.rename(path)


def read_reports(folder: Path) -> tuple[TaskReport, ...]:
    """Return the reports of a run that was given ``report=folder``, by task; tasks without rows have none."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("task-*.json"))]
    return tuple(TaskReport(**{**fields, "busy": tuple(fields["busy"])}) for fields in found)
