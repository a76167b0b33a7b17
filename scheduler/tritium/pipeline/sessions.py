"""The edge that starts Spark for a run: a cluster of our own on this machine, or somebody's master."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.errors import SparkFailed, TritiumError
from tritium.pipeline.edges import Engine
from tritium.pipeline.engine import SparkEngine
from tritium.pipeline.plan import Plan
from tritium.pipeline.plan_view import headline
from tritium.spark.capability import refuse_on_connect
from tritium.spark.environment import changed
from tritium.spark.java import find_java
from tritium_discovery import DiscoveryError

if TYPE_CHECKING:
    from tritium.spark.jvm import Jvm

__all__ = ["cluster", "local"]

_GONE_S = 1.0
"""How long a JVM that is about to end is given to be gone."""


@contextmanager
def local(
    foreseen: Plan | TritiumError | DiscoveryError,
    *,
    machine: str | None,
    log: Path,
    note: Callable[[str], None],
) -> Iterator[Engine]:
    """Start the session that a plan wants, on this machine; what stood against the plan is raised now.

    Raises:
        TritiumError, DiscoveryError: there is no plan, no Java, or Spark did not start.
    """
    if not isinstance(foreseen, Plan):
        raise foreseen
    from tritium.spark.session import session

    note(f"spark: starts on this machine, {headline(foreseen)}")
    began = time.monotonic()
    gpus = None if foreseen.survey.inventory.devices else 0
    spark = session(machine, workers=foreseen.workers, cores=foreseen.cores, gpus=gpus, log=log)
    _leave_ctrl_c_alone()
    note(f"spark: ready after {time.monotonic() - began:.1f} s")
    from tritium.spark.jvm import stop

    try:
        yield SparkEngine(spark)
    finally:
        stop(spark)


@contextmanager
def cluster(master: str, *, log: Path, note: Callable[[str], None]) -> Iterator[Engine]:
    """Start an application on a Spark master; its settings are those of ``spark-defaults.conf``.

    Raises:
        NoJava: there is no Java 17 or newer.
        SparkFailed: the master does not answer, is a Spark Connect server, or a setting is wrong.
    """
    from pyspark.sql import SparkSession

    from tritium.spark.jvm import Context, Jvm

    refuse_on_connect(master)
    note(f"spark: starts an application on {master}")
    settings = {
        "spark.master": master,
        "spark.app.name": "tritium",
        "spark.ui.showConsoleProgress": "false",
        # A fork server beside Spark's daemon: ranks start in milliseconds.
        "spark.python.daemon.module": "tritium.train.daemon",
    }
    # Without PYSPARK_PYTHON Spark takes the first python3 of the PATH, which need not have Tritium.
    python = os.environ.get("PYSPARK_PYTHON", sys.executable)
    environment = {"JAVA_HOME": str(find_java(os.environ)), "PYSPARK_PYTHON": python}
    began = time.monotonic()
    with changed(environment):
        jvm = Jvm.serving(settings, environment, log)
        try:
            context = Context(jvm, settings, on_stop=lambda: None)
        except Exception as err:
            raise SparkFailed(f"Spark did not start on {master}: {_why(err, jvm, log)}") from err
        _leave_ctrl_c_alone()
        note(f"spark: ready after {time.monotonic() - began:.1f} s")
        try:
            yield SparkEngine(SparkSession.builder.config(conf=context.getConf()).getOrCreate())
        finally:
            context.stop()


def _leave_ctrl_c_alone() -> None:
    """Take SIGINT back from pyspark, which talks to its JVM in the handler, in the middle of another talk.

    A gang cancels its own job when it is interrupted, and leaving the session ends every other.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _why(err: Exception, jvm: Jvm, log: Path) -> str:
    """Say why there is no context: a Worker whose discovery fails, for one, ends the whole JVM."""
    with suppress(subprocess.TimeoutExpired):
        jvm.process.wait(_GONE_S)
    if jvm.process.poll() is None:
        return _cause(str(err))
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.partition(" ERROR ")[2].strip().rstrip(":") for line in lines if " ERROR " in line]
    return f"{errors[0] if errors else 'its JVM ended'}; more is in {log}"


def _cause(text: str) -> str:
    r"""Return the line of a Java error that says what happened.

    >>> _cause("An error occurred while calling None.x.\n: java.net.BindException: Address in use\n\tat y")
    'java.net.BindException: Address in use'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it did not say why"]
    return next((line.removeprefix(": ") for line in lines if line.startswith(": ")), lines[0])
