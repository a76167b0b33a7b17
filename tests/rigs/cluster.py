"""Rig: Spark applications in this process, which end with all of their processes even after a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
from pyspark.sql import SparkSession

import tritium
from rigs.processes import assert_gone
from tritium.spark.environment import changed
from tritium.spark.jvm import Jvm

__all__ = ["cluster", "local"]

_END_LIMIT_S = 30.0


@contextlib.contextmanager
def cluster(**options: Any) -> Iterator[SparkSession]:
    """Run a local cluster on the emulated machine dgx-a100; ``options`` are those of `tritium.session`."""
    session = tritium.session(**{"machine": "dgx-a100", "cores": 4, **options})
    try:
        yield session
    finally:
        _stop(session)


@contextlib.contextmanager
def local(threads: int, *, machine: str) -> Iterator[SparkSession]:
    """Run plain ``local[threads]``, as a user without our session would, on an emulated machine."""
    Jvm.end()
    with changed({"TRITIUM_MACHINE": machine, "SPARK_LOCAL_IP": "127.0.0.1"}):
        session = (
            SparkSession.builder.master(f"local[{threads}]")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
        try:
            yield session
        finally:
            _stop(session)
            Jvm.end()


def _stop(session: SparkSession) -> None:
    """Stop Spark; if its JVM crashed, see to it that nothing of it is left."""
    children = psutil.Process().children(recursive=True)
    executors = [process for process in children if process.pid != Jvm.pid() and _is_java(process)]
    try:
        session.stop()
        assert_gone(executors, within_s=_END_LIMIT_S)
    except BaseException:
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        raise


def _is_java(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.name() == "java")
    return False
