"""Wires a pipeline to this machine, or to a Spark cluster: survey, plan, run, report."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TextIO

from py4j.protocol import Py4JError

from tritium.errors import SparkFailed, TritiumError
from tritium.pipeline.disk import LocalDisk
from tritium.pipeline.engine import SparkEngine
from tritium.pipeline.look import look
from tritium.pipeline.plan import Plan, plan, require
from tritium.pipeline.plan_view import headline
from tritium.pipeline.report import Story, render
from tritium.pipeline.run import Edges, Engine, root_of, run
from tritium.pipeline.screen import screen
from tritium.pipeline.spec import Pipeline
from tritium.spark.java import find_java
from tritium_discovery import DiscoveryError

__all__ = ["MACHINE", "planned", "report_of", "start"]

MACHINE = "TRITIUM_MACHINE"
"""The variable that chooses an emulated machine."""


def planned(pipeline: Pipeline, *, machine: str | None) -> Plan:
    """Return what would run where on this machine; Spark is not needed for that.

    Raises:
        DiscoveryError: the devices cannot be read.
    """
    return plan(pipeline, look(pipeline, environ=_environment(machine)))


def start(
    pipeline: Pipeline, *, machine: str | None, master: str | None, fresh: bool, stream: TextIO
) -> Story:
    """Run a pipeline on this machine, or on the cluster of ``master``, and write its report.

    A run that stopped is a story too, with its error; see `report_of` for where the report is.

    Raises:
        AlreadyRunning: see `tritium.pipeline.run.run`.
    """
    before = None
    with screen(stream) as shown:
        if master is None:
            before = _foreseen(pipeline, machine)
            log = root_of(pipeline) / "spark.log"
            engine = _local(before, machine=machine, log=log, note=shown.notes)
        else:
            engine = _cluster(master, note=shown.notes)
        edges = Edges(engine=engine, disk=LocalDisk(), clock=time.time, watcher=shown)
        done = run(pipeline, edges=edges, fresh=fresh)
    story = Story(
        pipeline=pipeline,
        run=done,
        plan=before if isinstance(before, Plan) else None,
        machine=_environment(machine).get(MACHINE) or None,
        facts=_facts(master),
    )
    LocalDisk().write(report_of(pipeline), render(story).encode())
    return story


def report_of(pipeline: Pipeline) -> Path:
    """Return where a pipeline's newest report is."""
    return root_of(pipeline) / "report.html"


def _environment(machine: str | None) -> Mapping[str, str]:
    return {**os.environ, **({MACHINE: machine} if machine is not None else {})}


def _foreseen(pipeline: Pipeline, machine: str | None) -> Plan | TritiumError | DiscoveryError:
    """Plan, or keep what is wrong for later: where every stage is finished, devices are not needed."""
    try:
        foreseen = planned(pipeline, machine=machine)
        require(foreseen)
    except (TritiumError, DiscoveryError) as err:
        return err
    return foreseen


@contextmanager
def _local(
    foreseen: Plan | TritiumError | DiscoveryError,
    *,
    machine: str | None,
    log: Path,
    note: Callable[[str], None],
) -> Iterator[Engine]:
    """Start the session that the plan wants, on this machine."""
    if not isinstance(foreseen, Plan):
        raise foreseen
    note(f"spark: starts on this machine, {headline(foreseen)}")
    from tritium.spark.session import session

    gpus = None if foreseen.survey.inventory.devices else 0
    spark = session(machine, workers=foreseen.workers, cores=foreseen.cores, gpus=gpus, log=log)
    try:
        yield SparkEngine(spark)
    finally:
        spark.stop()


@contextmanager
def _cluster(master: str, *, note: Callable[[str], None]) -> Iterator[Engine]:
    """Connect to a Spark master; its settings come from spark-defaults.conf, as everywhere."""
    note(f"spark: connects to {master}")
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    os.environ["JAVA_HOME"] = str(find_java(os.environ))
    try:
        spark = SparkSession.builder.master(master).appName("tritium").getOrCreate()
    except (PySparkException, Py4JError) as err:
        raise SparkFailed(f"Spark did not start on {master}: {str(err).strip().splitlines()[0]}") from err
    try:
        yield SparkEngine(spark)
    finally:
        spark.stop()


def _facts(master: str | None) -> Mapping[str, str]:
    packages = {"Tritium": "tritium", "Spark": "pyspark", "torch": "torch"}
    versions = {name: _version(package) for name, package in packages.items()}
    return {
        "host": platform.node(),
        "Spark runs on": master or "this machine, as a cluster of its own",
        **{name: version for name, version in versions.items() if version is not None},
        "Python": platform.python_version(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
