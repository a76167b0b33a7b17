"""Tritium: accelerator-aware scheduling for Apache Spark.

Importing it is cheap; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tritium import checkpoint, metrics
    from tritium.assign.types import Constraints, Request
    from tritium.infer.predict import predict
    from tritium.infer.udf import predict_udf
    from tritium.spark.conf import conf
    from tritium.spark.devices import devices
    from tritium.spark.probe import explain, snapshot
    from tritium.spark.scan import reading
    from tritium.spark.session import session
    from tritium.streams.run import Stream, stream
    from tritium.train.gang import Gang
    from tritium.train.rank import Rank, rank
    from tritium.train.result import RankInfo, Result
    from tritium.train.shard import Shard

__all__ = [
    "Constraints",
    "Gang",
    "Rank",
    "RankInfo",
    "Request",
    "Result",
    "Shard",
    "Stream",
    "checkpoint",
    "conf",
    "devices",
    "explain",
    "metrics",
    "predict",
    "predict_udf",
    "rank",
    "reading",
    "session",
    "snapshot",
    "stream",
]

_HOMES = {
    "Constraints": "tritium.assign.types",
    "Gang": "tritium.train.gang",
    "Rank": "tritium.train.rank",
    "RankInfo": "tritium.train.result",
    "Request": "tritium.assign.types",
    "Result": "tritium.train.result",
    "Shard": "tritium.train.shard",
    "conf": "tritium.spark.conf",
    "devices": "tritium.spark.devices",
    "explain": "tritium.spark.probe",
    "predict": "tritium.infer.predict",
    "predict_udf": "tritium.infer.udf",
    "rank": "tritium.train.rank",
    "reading": "tritium.spark.scan",
    "session": "tritium.spark.session",
    "Stream": "tritium.streams.run",
    "stream": "tritium.streams.run",
    "snapshot": "tritium.spark.probe",
}


def __getattr__(name: str) -> Any:
    """Load a public name from where it lives (PEP 562)."""
    if name in ("checkpoint", "metrics"):
        return import_module(f"tritium.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tritium' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
