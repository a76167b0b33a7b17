"""Rig: Spark applications in this process, which end with all of their processes even after a crash."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
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
    with _stopping(tritium.session(**{"machine": "dgx-a100", "cores": 4, **options})) as session:
        yield session


@contextlib.contextmanager
def local(threads: int, *, machine: str, conf: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """Run plain ``local[threads]``, as a user without our session would, on an emulated machine."""
    Jvm.end()
    environment = {
        "TRITIUM_MACHINE": machine,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    with changed(environment):
        session = (
            SparkSession.builder.master(f"local[{threads}]")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config(map=dict(conf or {}))
            .getOrCreate()
        )
        with _stopping(session):
            yield session
        Jvm.end()


@contextlib.contextmanager
def _stopping(session: SparkSession) -> Iterator[SparkSession]:
    """Stop Spark after the block, and see to it that nothing of it is left even if its JVM crashed."""
    driver = psutil.Process(session.sparkContext._gateway.proc.pid)  # type: ignore[union-attr]  # it runs
    family = {driver, *driver.children(recursive=True)}
    try:
        yield session
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family |= set(driver.children(recursive=True))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # pyspark's, when the JVM crashed
                session.stop()
            assert_gone(family - {driver}, within_s=_END_LIMIT_S)
        finally:
            for process in family - {driver}:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
