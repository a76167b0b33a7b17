"""Rig: real YARN on this host, and applications submitted to it with spark-submit."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rigs.jvm import clean_environment
from rigs.standalone import spark_home

__all__ = ["Yarn"]

_PROGRAM = Path(__file__).with_name("yarn_cluster.py")
_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "yarn"
_START_LIMIT_S = 900.0  # 60 MB of jars the first time
_APPLICATION_LIMIT_S = 280.0
_STOP_LIMIT_S = 60.0
_SMALL = {
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.yarn.am.memory": "512m",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}


class Yarn:
    """A ResourceManager and a NodeManager, ended with the block; ``directory`` holds all that they write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._conf = directory / "conf"
        self._conf.mkdir()
        self._log = directory / "yarn.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, _PROGRAM, _CACHE, self._conf],
                cwd=directory,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        timer = threading.Timer(_START_LIMIT_S, self._process.kill)
        timer.start()
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        timer.cancel()
        if said != "ready\n":
            self.__exit__(None, None, None)
        assert said == "ready\n", self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def submit(self, application: Sequence[str | Path], conf: Mapping[str, str]) -> str:
        """Run an application in client mode; what it printed.

        Raises:
            AssertionError: it failed, or took too long; the end of its log is in the text.
        """
        home = spark_home()
        own = {
            "spark.yarn.jars": f"local:{home}/jars/*",
            "spark.yarn.stagingDir": f"{self.directory.as_uri()}/staging",
        }
        options = [
            word for key, value in {**_SMALL, **own, **conf}.items() for word in ("--conf", f"{key}={value}")
        ]
        done = subprocess.run(
            [home / "bin/spark-submit", "--master", "yarn", *options, *application],
            env=self._environment(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=_APPLICATION_LIMIT_S,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def logs(self) -> str:
        """All that the containers' JVMs said."""
        files = sorted(self.directory.rglob("container_*/stderr"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def _environment(self) -> Mapping[str, str]:
        return clean_environment(
            SPARK_LOCAL_IP="127.0.0.1", HADOOP_CONF_DIR=str(self._conf), PYSPARK_PYTHON=sys.executable
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
