"""Decides how many ranks a Spark application could ever run at once, from its properties alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["NEEDED", "capacity"]

_LOCAL = re.compile(r"local(?:\[(?P<threads>\d+|\*)(?:,\d+)?\])?")
_CLUSTER = re.compile(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]")
_GPUS = "spark.executor.resource.gpu.amount"

NEEDED = (
    "spark.master",
    "spark.cores.max",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.task.cpus",
    _GPUS,
)
"""The properties that it is told from."""


def capacity(values: Mapping[str, str], *, gpus_per_rank: int) -> int | None:
    """Count the slots for ranks of ``gpus_per_rank`` devices; ``None`` where the properties do not tell.

    >>> conf = {"spark.master": "local-cluster[2,4,1024]", "spark.executor.resource.gpu.amount": "2"}
    >>> capacity(conf, gpus_per_rank=1), capacity(conf, gpus_per_rank=0), capacity({}, gpus_per_rank=1)
    (4, 8, None)
    """
    shape = _executors(values)
    if shape is None:
        return None
    executors, cores = shape
    # A gang's own profile asks for one core; only without devices it is the default one.
    cpus = 1 if gpus_per_rank and _number(values, _GPUS) else _number(values, "spark.task.cpus") or 1
    seats = cores // cpus
    gpus = _number(values, _GPUS)
    if gpus_per_rank and gpus:
        seats = min(seats, gpus // gpus_per_rank)
    return executors * seats


def _executors(values: Mapping[str, str]) -> tuple[int, int] | None:
    """Executors, and cores of each."""
    master = values.get("spark.master", "")
    if (local := _LOCAL.fullmatch(master)) is not None:
        threads = local["threads"] or "1"
        return (1, int(threads)) if threads != "*" else None
    cores, most = _number(values, "spark.executor.cores"), _number(values, "spark.cores.max")
    if (shape := _CLUSTER.fullmatch(master)) is not None:
        workers, each = int(shape[1]), int(shape[2])
        cores = min(cores or each, each)
        total = min(workers * (each // cores), most // cores if most else workers * each)
        return total, cores
    instances = _number(values, "spark.executor.instances")
    if cores and master.startswith("spark://") and most:
        return most // cores, cores
    if instances and master.startswith(("yarn", "k8s://")):
        return instances, cores or 1
    return None


def _number(values: Mapping[str, str], key: str) -> int | None:
    text = values.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else None
