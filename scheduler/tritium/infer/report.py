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
    device: Uuid
    product: str
    """E.g. ``NVIDIA A100-SXM4-40GB``."""
    pid: int
    """Of the Python worker."""
    rows: int
    began: float
    """Seconds since the epoch, when the device was held."""
    load_s: float
    """Seconds in the user's ``load``."""
    predict_s: float
    """Seconds in the user's ``predict``."""
    seconds: float
    """From ``load``'s return to the last row: predicting, and waiting for rows to come and go."""

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
    return tuple(
        TaskReport(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("task-*.json"))
    )
