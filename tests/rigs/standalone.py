"""Rig: real Spark in standalone mode from the pyspark wheel: a master, Workers and bare executors."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from rigs.jvm import clean_environment

__all__ = ["Daemon", "Standalone", "spark_home"]

_START_LIMIT_S = 300.0


def spark_home() -> Path:
    """Where the wheel keeps Spark."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class Daemon:
    """One JVM of Spark with its log."""

    def __init__(self, name: str, directory: Path, *words: str, environ: Mapping[str, str]) -> None:
        self.log = directory / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [spark_home() / "bin" / "spark-class", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=clean_environment(
                    **{
                        "SPARK_DAEMON_MEMORY": "300m",
                        **environ,
                        "SPARK_HOME": str(spark_home()),
                        "SPARK_LOCAL_IP": "127.0.0.1",
                    }
                ),
                start_new_session=True,
            )

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until its log holds the pattern.

        Raises:
            AssertionError: it ended, or took too long, without saying so; the log's end is in the text.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            ended = self.process.poll() is not None
            text = self.log.read_text(encoding="utf-8", errors="replace")
            if match := re.search(pattern, text):
                return match
            assert not ended, f"it ended: {text[-3000:]}"
            assert time.monotonic() < deadline, f"no {pattern!r} in: {text[-3000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and what it started (executors watch their Worker and end with it)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Standalone:
    """A master, and daemons that are all ended with it, the youngest first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._daemons: list[Daemon] = []
        words = (
            "org.apache.spark.deploy.master.Master",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--webui-port",
            "0",
        )
        self.url = self._started("master", *words).said(r"Starting Spark master at (spark://\S+)")[1]

    def worker(
        self,
        name: str,
        *,
        conf: Mapping[str, str],
        environ: Mapping[str, str],
        cores: int = 8,
        host: str = "127.0.0.1",
    ) -> Daemon:
        """Start a Worker; `Daemon.said` ``Successfully registered`` when it is there.

        Any ``127.0.0.N`` is a host of its own for Spark.
        """
        options = " ".join(f"-D{key}={value}" for key, value in conf.items())
        words = ("--host", host, "--webui-port", "0", "--work-dir", str(self.directory / name))
        return self._started(
            name,
            *("org.apache.spark.deploy.worker.Worker", *words, "-c", str(cores), "-m", "2g", self.url),
            environ={**environ, "SPARK_WORKER_OPTS": options},
        )

    def executor(
        self, name: str, *, driver: str, app: str, environ: Mapping[str, str], pod: str | None = None
    ) -> Daemon:
        """Start an executor that discovers for itself; with ``pod``, Kubernetes' own as in that pod."""
        words = ["--driver-url", driver, "--executor-id", name, "--hostname", "127.0.0.1", "--cores", "8"]
        backend = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
        if pod is not None:
            backend = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
            words += ["--bind-address", "127.0.0.1", "--podName", pod]
        return self._started(
            name, backend, *words, "--app-id", app, "--resourceProfileId", "0", environ=environ
        )

    def _started(self, name: str, *words: str, environ: Mapping[str, str] | None = None) -> Daemon:
        daemon = Daemon(name, self.directory, *words, environ=environ or {})
        self._daemons.append(daemon)
        return daemon

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._daemons:
            self._daemons.pop().stop()
