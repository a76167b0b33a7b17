"""Wires a run together: survey, plan, edges, report."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TextIO

from tritium.errors import TritiumError
from tritium.pipeline.edges import Edges
from tritium.pipeline.look import look
from tritium.pipeline.plan import Plan, plan, require
from tritium.pipeline.report import Story, render
from tritium.pipeline.run import root_of, run
from tritium.pipeline.screen import screen
from tritium.pipeline.sessions import cluster, local
from tritium.pipeline.spec import Pipeline
from tritium.store.disk import LocalDisk
from tritium_discovery import DiscoveryError

__all__ = ["MACHINE", "environment", "planned", "report_of", "start"]

MACHINE = "TRITIUM_MACHINE"
"""The variable that chooses an emulated machine."""


def planned(pipeline: Pipeline, *, machine: str | None) -> Plan:
    """Return what would run where on this machine; Spark is not needed for that.

    Raises:
        DiscoveryError: the devices cannot be read.
    """
    return plan(pipeline, look(pipeline, environ=environment(os.environ, machine)))


def start(
    pipeline: Pipeline, *, machine: str | None, master: str | None, fresh: bool, stream: TextIO
) -> Story:
    """Run a pipeline on this machine, or on the cluster of ``master``, and write its report.

    A run that stopped is a story too, with its error; see `report_of` for where the report is.

    Raises:
        AlreadyRunning: see `tritium.pipeline.run.run`.
    """
    before, log = None, root_of(pipeline) / "spark.log"
    with screen(stream) as shown:
        if master is None:
            before = _foreseen(pipeline, machine)
            engine = local(before, machine=machine, log=log, note=shown.notes)
        else:
            engine = cluster(master, log=log, note=shown.notes)
        edges = Edges(engine=engine, disk=LocalDisk(), clock=time.time, watcher=shown)
        done = run(pipeline, edges=edges, fresh=fresh)
    story = Story(
        pipeline=pipeline,
        run=done,
        plan=before if isinstance(before, Plan) else None,
        machine=environment(os.environ, machine).get(MACHINE) or None,
        facts=_facts(master),
    )
    LocalDisk().write(report_of(pipeline), render(story).encode())
    return story


def report_of(pipeline: Pipeline) -> Path:
    """Return where a pipeline's newest report is."""
    return root_of(pipeline) / "report.html"


def environment(environ: Mapping[str, str], machine: str | None) -> Mapping[str, str]:
    """Return the environment in which a machine is emulated, or as it is."""
    return {**environ, **({MACHINE: machine} if machine is not None else {})}


def _foreseen(pipeline: Pipeline, machine: str | None) -> Plan | TritiumError | DiscoveryError:
    """Plan, or keep what is wrong for later: where every stage is finished, devices are not needed."""
    try:
        foreseen = planned(pipeline, machine=machine)
        require(foreseen)
    except (TritiumError, DiscoveryError) as err:
        return err
    return foreseen


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
