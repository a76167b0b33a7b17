"""Rig: a real Spark Connect server from the pyspark wheel, in a JVM of its own, and its clients."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rigs.standalone import Daemon

__all__ = ["ConnectServer"]


class ConnectServer:
    """A server whose application runs on any master; it ends with the block, and what it started with it."""

    def __init__(self, directory: Path, *, conf: Mapping[str, str], environ: Mapping[str, str]) -> None:
        settings = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": "0",
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            **conf,
        }
        words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
        self._daemon = Daemon(
            "connect",
            directory,
            *("org.apache.spark.deploy.SparkSubmit", *words),
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
            environ={
                "PYSPARK_PYTHON": sys.executable,
                "SPARK_DAEMON_MEMORY": "700m",
                "TRITIUM_DIR": os.environ["TRITIUM_DIR"],
                **environ,
            },
        )

    @property
    def pid(self) -> int:
        """Of the server's JVM."""
        return self._daemon.process.pid

    @property
    def url(self) -> str:
        """Where clients find it, once it is there."""
        port = self._daemon.said(r"Spark Connect server started at: .*:(\d+)")[1]
        return f"sc://127.0.0.1:{port}"

    def environment(self) -> Mapping[str, str]:
        """What a client's process needs."""
        return {"SPARK_REMOTE": self.url, "TRITIUM_DIR": os.environ["TRITIUM_DIR"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._daemon.stop()
