"""What works where: classic Spark, whose driver is this process, and Spark Connect, where it is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritium.errors import SparkFailed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["CAPABILITIES", "Capability", "on_connect", "refuse_on_connect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing that somebody may want, and what becomes of it."""

    what: str
    classic: str
    connect: str


CAPABILITIES = (
    Capability(what="`tritium.Gang(...).run`", classic="yes", connect="yes"),
    Capability(what="`tritium.predict`", classic="yes", connect="yes"),
    Capability(what="`tritium.stream`", classic="yes", connect="yes"),
    Capability(
        what="who reads the rows of Parquet files",
        classic="the tasks and ranks themselves on `file:`, Spark on s3a://, hdfs:// and others",
        connect="Spark: Connect shows its clients no plan",
    ),
    Capability(
        what="who shares a loaded model, per device",
        classic="all queries of the application",
        connect="all sessions of one user with the same code; another user has their own",
    ),
    Capability(
        what="`tritium.devices` in a task",
        classic="yes",
        connect="yes, in mapInArrow, mapInPandas and UDFs (Connect has no RDDs)",
    ),
    Capability(
        what="where a gang's tasks meet",
        classic="at the driver, in milliseconds",
        connect="at the gang's first task; over several hosts one allGather spreads its address, a second",
    ),
    Capability(
        what="`on_report`, `on_line`",
        classic="as it happens",
        connect="when the gang has ended, the latest 10,000",
    ),
    Capability(
        what="slots",
        classic="counted before anything is submitted, and waited for",
        connect="the most that the server's properties allow; then Spark has launch_timeout_s to start them",
    ),
    Capability(
        what="until all ranks are gone after a cancel",
        classic="1 s, 3 s if they ignore SIGTERM",
        connect="what Spark takes to kill Python workers, 2 to 4 s, and that much more",
    ),
    Capability(
        what="cancelling from elsewhere",
        classic="cancelJobGroup, the UI, Ctrl-C",
        connect="interruptTag, interruptAll, the UI, Ctrl-C",
    ),
    Capability(
        what="a lost executor or Python worker",
        classic="named, with its rank",
        connect="named by the first task, unless Spark ends that one first; then in Spark's words",
    ),
    Capability(
        what="a stream's Parquet folder that is another stream's",
        classic="refused",
        connect="not looked at: a client sees no folders of the server's",
    ),
    Capability(
        what="`tritium.snapshot`, `tritium.explain` of a running application",
        classic="yes",
        connect="no: a client is not told of executors",
    ),
    Capability(
        what="`tritium.session`, `tritium run`",
        classic="yes",
        connect="no: a pipeline needs the driver in its own process",
    ),
)


def on_connect(spark: SparkSession) -> bool:
    """Tell a session of Spark Connect's client, without the packages that only such a client has."""
    return type(spark).__module__.startswith("pyspark.sql.connect.")


def refuse_on_connect(master: str | None) -> None:
    """Refuse a Connect server where a master is needed.

    Raises:
        SparkFailed: it is one.
    """
    if master is not None and master.startswith("sc://"):
        raise SparkFailed(
            f"{master} is a Spark Connect server, and a pipeline needs the driver in its own process: give "
            "spark://, yarn or k8s://, or use tritium.Gang and tritium.predict on the Connect session"
        )
