"""Edge to Spark's stage-level scheduling: how a stage asks for GPUs when the default profile does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

__all__ = ["resource_profile"]

_EXECUTOR_AMOUNT = "spark.executor.resource.gpu.amount"


def resource_profile(spark: SparkSession, *, gpus: int) -> ResourceProfile | None:
    """Return the profile whose tasks get ``gpus`` GPUs each, for ``mapInArrow(..., profile=...)``.

    ``None`` where there is nothing to ask for: no GPUs are wanted, or Spark schedules none
    (``spark.executor.resource.gpu.amount`` is not set, as in ``local[N]``). It is a task profile: the
    executors stay as they are (SPARK-39853), so it works without dynamic allocation.
    """
    if not gpus or int(spark.conf.get(_EXECUTOR_AMOUNT, "0") or 0) < 1:
        return None
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(1).resource("gpu", gpus)).build
