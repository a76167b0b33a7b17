"""Edge to py4j: the one JVM that a Python process has for Spark, and the contexts that come and go in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from tritium.errors import SparkFailed
from tritium_discovery.boot import boot_id

__all__ = ["Context", "Jvm", "application_pattern", "require_work_folder", "stop", "work_folder"]

_launch: Any = launch_gateway  # it has no types
_END_LIMIT_S = 20.0
_MOST_LOG_BYTES = 1 << 20


class Jvm:
    """Spark's JVM, started with settings that it keeps for life.

    Its command line, its environment and its classpath are fixed when it starts, so it serves another
    context only if that wants the same.
    """

    _current: Jvm | None = None

    def __init__(self, settings: Mapping[str, str], environment: Mapping[str, str], log: Path | None) -> None:
        self._made_for = dict(settings), dict(environment), log
        # Open as long as the JVM is ours.
        self._log: IO[bytes] = tempfile.TemporaryFile() if log is None else log.open("w+b")  # noqa: SIM115
        conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
        with _interrupts_wait() as interrupted:
            try:
                self.gateway: Any = _launch(conf, popen_kwargs={"stderr": self._log})
            except PySparkRuntimeError as err:
                complaint = self.complaint()
                self.close()
                raise SparkFailed(f"Spark's Java did not start: {complaint}") from err
        self.process: subprocess.Popen[bytes] = self.gateway.proc
        if interrupted:
            _end(self.gateway, self.process)
            raise KeyboardInterrupt

    @classmethod
    def serving(cls, settings: Mapping[str, str], environment: Mapping[str, str], log: Path | None) -> Jvm:
        """Return the JVM of this process if it suits, else end it and start another.

        Raises:
            SparkFailed: it cannot be replaced, or the new one did not start.
        """
        jvm = cls._current
        if jvm is not None and jvm.serves(settings, environment, log):
            return jvm
        cls.end()
        cls._current = jvm = cls(settings, environment, log)
        return jvm

    @classmethod
    def pid(cls) -> int | None:
        """Which process is the JVM of this one, if it has one."""
        return None if cls._current is None else cls._current.process.pid

    @classmethod
    def end(cls) -> None:
        """End the JVM of this process, whoever started it; without one nothing happens.

        Raises:
            SparkFailed: it is spark-submit's, so this process is its child.
        """
        if cls._current is not None:
            cls._current.close()
            cls._current = None
        gateway = SparkContext._gateway  # noqa: SLF001  where pyspark keeps it
        if gateway is None:
            return
        process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
        if process is None:
            raise SparkFailed("spark-submit started this process: use its own session, not tritium.session()")
        _end(gateway, process)
        SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001

    def serves(self, settings: Mapping[str, str], environment: Mapping[str, str], log: Path | None) -> bool:
        """Whether a context with these wishes can live in it."""
        return self.process.poll() is None and self._made_for == (dict(settings), dict(environment), log)

    def close(self) -> None:
        """Forget what it said."""
        self._log.close()

    def complaint(self) -> str:
        """The last thing that the JVM called an error, or else the last that it said."""
        self._log.seek(0)
        return _complaint(self._log.read(_MOST_LOG_BYTES).decode(errors="replace").splitlines())


def _end(gateway: Any, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(Py4JError):
        gateway.shutdown()
    if process.stdin is not None:
        process.stdin.close()  # the JVM ends when nobody is at the other end
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[list[int]]:
    """Only note a Ctrl-C during the block: a JVM that loses us while it says hello would stay for ever."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # Python interrupts the main thread alone
        return
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _complaint(lines: Sequence[str]) -> str:
    r"""The last error in a JVM's log, in one line.

    >>> _complaint(["26/11/23 ERROR Worker: No resources: ", "java.io.Exception: code 1", "\tat o.a.s.X"])
    'Worker: No resources: java.io.Exception: code 1'
    """
    said = [line.strip() for line in lines if line.strip() and not line.startswith("\tat ")] or [
        "it said nothing"
    ]
    errors = [at for at, line in enumerate(said) if " ERROR " in line]
    if not errors:
        return said[-1]
    # log4j puts the exception on the lines after its message.
    return " ".join((said[errors[-1]].partition(" ERROR ")[2], *said[errors[-1] + 1 : errors[-1] + 2]))


_OUR_APP = re.compile(r"app-\d+-\d{4}-(\d+)-([0-9a-f]+)")
"""As ``tritium.session`` lets Spark name applications: the pid that started it, and where that is one."""


class Context(SparkContext):
    """A SparkContext that clears up behind itself, whichever session object is told to stop."""

    _work: Path | None = None

    def __init__(self, jvm: Jvm, settings: Mapping[str, str], *, on_stop: Callable[[], object]) -> None:
        self._on_stop = on_stop
        _sweep_work_folder()
        super().__init__(conf=SparkConf().setAll(list(settings.items())), gateway=jvm.gateway)
        self._work = work_folder() / self.applicationId

    def stop(self) -> None:
        """Stop Spark, then remove what its executors left and give back what the application had."""
        try:
            # A JVM that is gone has stopped already, and what it left must be cleared up all the more.
            with contextlib.suppress(Py4JError, OSError):
                super().stop()
        finally:
            if self._work is not None:
                shutil.rmtree(self._work, ignore_errors=True)
            self._on_stop()


def _sweep_work_folder() -> None:
    """Remove what applications of ours left that were killed before they could."""
    for folder in work_folder().glob("app-*"):
        ours = _OUR_APP.fullmatch(folder.name)
        if ours is not None and ours[2] == _pid_space() and not Path("/proc", ours[1]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def application_pattern() -> str:
    """How Spark shall name our applications (``spark.deploy.appIdPattern``).

    Spark names them by the second: two at once would share their executors' folders.
    """
    return f"app-%s-%04d-{os.getpid()}-{_pid_space()}"


def _pid_space() -> str:
    """Where a pid means one process: this boot, and this container if it counts for itself."""
    place = f"{boot_id()} {Path('/proc/self/ns/pid').stat().st_ino}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def require_work_folder() -> None:
    """Refuse before Spark says something that nobody understands.

    Raises:
        SparkFailed: the executors of a local cluster could not write where Spark has their files.
    """
    folder = work_folder()
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK):
        raise SparkFailed(
            f"Spark did not start: its executors write to {folder}, which you may not;"
            " install pyspark in an environment of your own"
        )


def stop(spark: SparkSession) -> None:
    """Stop a session for good, also one whose JVM is gone: pyspark's own ``stop()`` raises then."""
    try:
        spark.stop()
    except (Py4JError, OSError):
        spark.sparkContext.stop()


def work_folder() -> Path:
    """Where the executors of a local cluster keep their files (``deploy.worker.Worker``)."""
    return Path(_find_spark_home()) / "work"
