"""``tritium.snapshot`` and ``tritium.explain``: what a running application has, and does a request fit it?"""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.assign.explain import Explanation, Question, answer
from tritium.assign.types import Request, Snapshot
from tritium.assign.wire import to_json
from tritium.errors import SparkFailed, TooSlow
from tritium.spark.capability import on_connect
from tritium.spark.inventory import TaskView, snapshot_of, task_view
from tritium.spark.words import in_words

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

__all__ = ["explain", "snapshot"]

_AGAIN_S = 0.2
"""Until the executors that had no free core are looked at again."""


def explain(
    spark: SparkSession,
    request: Request,
    *,
    policy: str = "packed",
    save: str | Path | None = None,
    limit_s: float = 30.0,
) -> Explanation:
    """Say whether a request fits a running application now, and if not, why; ``print`` what it returns.

    Nothing is taken. It costs one short Spark job that asks for no device.

    Args:
        spark: the application.
        request: what a gang (`Gang.request`) or the replicas of a model would ask for.
        policy: how the assigner chooses.
        save: a file to write; ``tritium explain FILE`` answers the same from it, or another ``--request``.
        limit_s: for the look at the executors.

    Raises:
        KeyError: there is no such policy.
        OSError: the file cannot be written.
        TooSlow, SparkFailed: as `snapshot`.
    """
    question = Question(snapshot=snapshot(spark, limit_s=limit_s), request=request, policy=policy)
    if save is not None:
        Path(save).write_text(json.dumps(to_json(question), indent=1), encoding="utf-8")
    return answer(question)


def snapshot(spark: SparkSession, *, limit_s: float = 30.0) -> Snapshot:
    """Look at the devices of all executors of a running application, and at who holds which.

    Raises:
        TooSlow: an executor has no core for the look within the limit.
        SparkFailed: Spark failed, or an executor's devices cannot be read; or it is a Spark Connect session,
            which is not told of executors.
    """
    if on_connect(spark):
        raise SparkFailed("through Spark Connect nobody is told which executors there are: ask on the server")
    tag = f"tritium-look-{secrets.token_hex(3)}"
    over = threading.Event()
    context = spark.sparkContext
    limit = threading.Timer(limit_s, _stop, (context, tag, over))
    context.addJobTag(tag)
    limit.start()
    views: dict[tuple[str, str], TaskView] = {}
    try:
        while not over.is_set():
            # Spark offers free cores executor by executor: of as many tasks each gets one.
            executors = _executors(spark)
            rows = context.parallelize(range(executors), executors)
            views |= {(view.inventory.host, view.pool_name): view for view in rows.map(_look).collect()}
            if len(views) >= executors:
                return _unseated(snapshot_of(views.values()))
            over.wait(_AGAIN_S)
    except Exception as err:
        if not over.is_set():
            raise in_words(err, what="the look at the executors' devices") from err
    finally:
        limit.cancel()
        context.removeJobTag(tag)
    raise TooSlow(
        f"{len(views)} of {_executors(spark)} executors could be looked at in {limit_s:.0f} s: "
        "all cores of the others are busy; ask again when one of their tasks has ended"
    )


def _look(_: int) -> TaskView:
    return task_view(None, environ=os.environ)


def _stop(context: SparkContext, tag: str, over: threading.Event) -> None:
    over.set()
    context.cancelJobsWithTag(tag)


def _executors(spark: SparkSession) -> int:
    """Count the executors; in ``local[N]`` the driver is the only one."""
    scala: Any = spark.sparkContext._jsc.sc()  # noqa: SLF001  pyspark has no other way to ask
    return max(1, int(scala.getExecutorIds().size()))


def _unseated(seen: Snapshot) -> Snapshot:
    """Forget where the tasks that looked sat: those of the request may sit anywhere."""
    return Snapshot(
        hosts=tuple(
            replace(host, pools=tuple(replace(pool, seats=None) for pool in host.pools))
            for host in seen.hosts
        )
    )
