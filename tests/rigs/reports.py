"""Rig: the report of an inference task that went well, for tests that change some of it."""

from __future__ import annotations

from typing import Any

from tritium.infer.report import TaskReport
from tritium_discovery import Uuid

__all__ = ["task_report"]


def task_report(**changes: Any) -> TaskReport:
    """A task of 200 rows in two seconds, whose device was idle for half of them."""
    fields: dict[str, Any] = {
        "reading": "1 task reads 1 row group of 1 Parquet file itself",
        "stage": 3, "task": 0, "host": "node-7", "executor": "executor 0", "device": Uuid("GPU-0"),
        "product": "NVIDIA A100", "pid": 11, "owner": 12, "rows": 200, "bad": 0, "batches": 4, "largest": 50,
        "began": 5.0, "load_s": 1.0, "seconds": 2.0, "wait_s": 0.2, "decode_s": 0.1, "preprocess_s": 1.2,
        "copy_s": 0.1, "full_s": 0.0, "queue_s": 0.0, "queued": 0.5, "predict_s": 1.0, "encode_s": 0.1,
        "write_s": 0.1, "busy": (0.25, 1.0, 100.0, 101.5),
    }  # fmt: skip
    return TaskReport(**{**fields, **changes})
