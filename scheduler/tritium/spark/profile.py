"""Edge to Spark's stage-level scheduling: how a stage asks for GPUs when the default profile does not."""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tritium.spark.capability import on_connect

if TYPE_CHECKING:
    from pyspark.resource import ExecutorResourceRequests, ResourceProfile
    from pyspark.sql import SparkSession

__all__ = ["feeder_profile", "resource_profile"]

_GPU = "spark.executor.resource.gpu"
_EXECUTOR_CORES = "spark.executor.cores"
_EXECUTOR_MEMORY = "spark.executor.memory"
_LOCAL_CLUSTER = re.compile(r"local-cluster\[\d+,(\d+),\d+\]")
_FEEDERS = 16
"""Tasks per device where nobody knows the executors' cores, which then are the only limit."""
_made: WeakKeyDictionary[Any, dict[float, ResourceProfile]] = WeakKeyDictionary()
"""Of each application: an executor that Spark started for one profile takes no tasks of an equal one."""
_making = threading.Lock()


def feeder_profile(spark: SparkSession) -> ResourceProfile | None:
    """Return the profile of tasks that feed devices together: each asks for a part of one.

    So Spark lets no task feed a device that it has given to a gang, and no gang have one that is fed.
    """
    gpus = _gpus(spark)
    cores = spark.conf.get(_EXECUTOR_CORES, "") or _local_cores(spark.conf.get("spark.master", "") or "")
    feeders = math.ceil(int(cores) / gpus) if cores and gpus else _FEEDERS
    return _profile(spark, 1 / feeders) if gpus else None


def resource_profile(spark: SparkSession, *, gpus: int) -> ResourceProfile | None:
    """Return the profile whose tasks get ``gpus`` GPUs each, for ``mapInArrow(..., profile=...)``.

    ``None`` where there is nothing to ask for: no GPUs are wanted, or Spark schedules none
    (``spark.executor.resource.gpu.amount`` is not set, as in ``local[N]``). It is a task profile: the
    executors stay as they are (SPARK-39853). Under dynamic allocation Spark starts executors for it,
    which are like the others.
    """
    return _profile(spark, gpus) if gpus and _gpus(spark) else None


def _gpus(spark: SparkSession) -> int:
    return int(spark.conf.get(f"{_GPU}.amount", "0") or 0)


def _local_cores(master: str) -> str:
    match = _LOCAL_CLUSTER.fullmatch(master)
    return match[1] if match is not None else ""


def _profile(spark: SparkSession, amount: float) -> ResourceProfile:
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    remote = on_connect(spark)
    with _making:
        made = _made.setdefault(spark if remote else spark.sparkContext, {})
        if amount not in made:
            builder = ResourceProfileBuilder().require(TaskResourceRequests().cpus(1).resource("gpu", amount))
            if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
                builder.require(_executors(spark))
            made[amount] = builder.build
            if remote:
                _make_known(made[amount], spark)
        return made[amount]


def _executors(spark: SparkSession) -> ExecutorResourceRequests:
    """Ask for executors such as the application's properties ask for: a profile inherits no devices."""
    from pyspark.resource import ExecutorResourceRequests

    asked = ExecutorResourceRequests()
    if cores := spark.conf.get(_EXECUTOR_CORES, "") or _local_cores(spark.conf.get("spark.master", "") or ""):
        asked.cores(int(cores))
    if memory := spark.conf.get(_EXECUTOR_MEMORY, ""):
        asked.memory(memory)
    script, vendor = (spark.conf.get(f"{_GPU}.{name}", "") or "" for name in ("discoveryScript", "vendor"))
    return asked.resource("gpu", _gpus(spark), script, vendor)


def _make_known(profile: ResourceProfile, spark: SparkSession) -> None:
    """Let a Connect server number the profile: pyspark would ask this thread's session, if it has one."""
    from pyspark.sql.connect.session import SparkSession as Client

    here: Any = Client._active_session  # noqa: SLF001  a profile takes no session
    before, here.session = getattr(here, "session", None), spark
    try:
        assert profile.id  # noqa: S101  it is kept
    finally:
        here.session = before
