"""What every test gets: folders of its own for state and temporary files, and a check for leftovers."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from rigs.processes import assert_gone
from rigs.require import absent, require

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest_plugins = ["rigs.limit"]

_GONE_LIMIT_S = 10.0
_BRIEF_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Every JVM lives for seconds here: without the optimising compiler it takes half of the CPU time."""


# A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Claims, holds and temporary files of this run, apart from those of anything else on the host."""
    temporary = tmp_path_factory.mktemp("tmp")
    state = str(tmp_path_factory.mktemp("state"))
    with _environment(TRITIUM_DIR=state, TMPDIR=str(temporary), JDK_JAVA_OPTIONS=_BRIEF_JVM):
        tempfile.tempdir = None  # it remembers the first answer
        yield temporary
    tempfile.tempdir = None


@pytest.fixture(autouse=True, scope="module")
def nothing_left(own_folders: Path) -> Iterator[None]:
    """After each module no process that it started is alive, and no folder of ours lies about."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert_gone((child for child in _children() if child.pid not in before), within_s=_GONE_LIMIT_S)
    assert not list(own_folders.glob("tritium-*"))


@pytest.fixture(autouse=True, scope="session")
def no_jvm_left(own_folders: Path) -> Iterator[None]:
    """The JVM that modules share ends with the session, while its folders still stand."""
    assert own_folders.is_dir()
    yield
    with contextlib.suppress(ImportError):
        from tritium.spark.jvm import Jvm

        Jvm.end()


@pytest.fixture(autouse=True, scope="module")
def preimports(request: pytest.FixtureRequest) -> Iterator[None]:
    """Executors' fork servers load torch, which takes long, only for modules that have a test of it."""
    tests = (item for item in request.session.items if item.getparent(pytest.Module) is request.node)
    if any(test.get_closest_marker("torch") is not None for test in tests):
        yield
    else:
        with _environment(TRITIUM_PREIMPORT="numpy,pyspark.cloudpickle,tritium.train.rank_process"):
            yield


@pytest.fixture(scope="module")
def spark(preimports: None) -> Iterator[SparkSession]:
    """Two executors with four devices and four cores each; one application for the module."""
    assert preimports is None
    from rigs.cluster import cluster

    with cluster() as session:
        yield session


@pytest.fixture
def state() -> Path:
    """Where claims and holds of this run live."""
    return Path(os.environ["TRITIUM_DIR"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever needs a rig with ``rig`` too, so that every command can leave out all of them at once.

    Files that may take longest come first: two processes that share the files then end together.
    """
    longest: dict[Path, float] = {}
    for item in items:
        if any(item.get_closest_marker(mark) is not None for mark in _RIGS):
            item.add_marker("rig")
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), limit.args[0] if limit is not None else 0.0)
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture starts: does the test have the rigs that its marks name?"""
    for mark, check in _RIGS.items():
        if item.get_closest_marker(mark) is not None:
            check()


def _children() -> list[psutil.Process]:
    """The processes below this one, without the JVM that the next module may use."""
    children = psutil.Process().children(recursive=True)
    with contextlib.suppress(ImportError):
        from tritium.spark.jvm import Jvm

        return [process for process in children if process.pid != Jvm.pid()]
    return children


@functools.cache
def _no_java() -> str:
    from tritium.errors import NoJava
    from tritium.spark.java import find_java

    try:
        find_java(os.environ)
    except NoJava as err:
        return str(err)
    return ""


def _spark() -> None:
    require(importlib.util.find_spec("pyspark"), what="pyspark", install="pip install 'tritium[spark]'")
    if reason := _no_java():
        absent(reason)


def _torch() -> None:
    require(importlib.util.find_spec("torch"), what="torch", install="pip install 'tritium[demo]'")


def _connect() -> None:
    require(importlib.util.find_spec("grpc"), what="grpcio", install="pip install 'tritium[connect]'")


def _gpu() -> None:
    """Skip even in CI, whose machines have none."""
    from tritium_discovery import DiscoveryError, Settings, discover

    try:
        discover(Settings.from_env(os.environ))
    except DiscoveryError as err:
        pytest.skip(f"a real GPU is needed: {err}")


def _compiler() -> None:
    from rigs.nvml.rig import header

    require(shutil.which("cc"), what="a C compiler", install="apt-get install gcc libc6-dev")
    require(header(), what="NVIDIA's nvml.h", install="pip install nvidia-nvml-dev")


@functools.cache
def _unreachable(coordinate: str) -> str:
    from rigs.jars import fetch

    try:
        fetch(coordinate)
    except (AssertionError, OSError, subprocess.SubprocessError) as err:
        return f"{coordinate} cannot be had from Maven Central; connect once to fill the cache ({err!r:.300})"
    return ""


def _delta() -> None:
    from rigs.jars import DELTA

    _spark()
    if reason := _unreachable(DELTA):
        absent(reason)


def _kafka() -> None:
    from rigs.jars import KAFKA, KAFKA_BROKER

    _spark()
    if reason := _unreachable(KAFKA) or _unreachable(KAFKA_BROKER):
        absent(reason)


def _nothing() -> None:
    """Ask for nothing: the test brings what it needs, and is a rig's only by its weight."""


_RIGS: Mapping[str, Callable[[], None]] = {
    "spark": _spark,
    "torch": _torch,
    "yarn": _spark,
    "connect": _connect,
    "gpu": _gpu,
    "nvml": _compiler,
    "delta": _delta,
    "kafka": _kafka,
    "install": _nothing,
}


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
