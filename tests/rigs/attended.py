"""Rig: one rank under its guardian, with the test at the driver's end of its wire, and without Spark."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from pyspark import cloudpickle

from rigs.processes import eventually
from tritium.train.contract import Attempt, Contract, Peer, base_environment, common_environment
from tritium.train.messages import FromTask, Line, Outcome, Started
from tritium.train.supervise import Supervisor
from tritium_discovery import HostId, holds

__all__ = ["Attended"]


class Attended:
    """A rank that runs, the test's end of the driver's wire, and what was said."""

    def __init__(
        self,
        function: Callable[..., Any],
        gang: str,
        hold: holds.Hold | None,
        *,
        silence_s: float,
        logs: Path | None,
        guarded: bool = True,
        **kwargs: Any,
    ) -> None:
        self.said: list[FromTask] = []
        self.driver, far_end = Pipe()
        self.supervisor = Supervisor(silence_s=silence_s, logs=logs)
        self.folder = self.supervisor.folder
        self.ending: tuple[Outcome, bytes | None] | None = None
        told = _contract(gang)
        (self.folder / "function.pkl").write_bytes(cloudpickle.dumps((function, kwargs)))
        environment = {**base_environment(os.environ), **common_environment(told)}
        if not guarded:
            self.supervisor.guardian.kill()
            assert self.supervisor.guardian.wait(timeout_s=15)
        with open(os.devnull, "rb") as listener:  # noqa: PTH123
            descriptors = [listener.fileno(), *(hold.filenos if hold else ())]
            self.supervisor.start(told, environment, descriptors)
        self._thread = threading.Thread(target=self._attend, args=[far_end])
        self._thread.start()

    def _attend(self, far_end: Connection[Any, Any]) -> None:
        self.ending = self.supervisor.attend(far_end, self.said.append, task=0)

    def wait(self, *, limit_s: float = 15) -> tuple[Outcome, bytes | None]:
        self._thread.join(limit_s)
        assert self.ending is not None, "the rank did not end in time"
        return self.ending

    def rank(self) -> psutil.Process:
        return psutil.Process(
            eventually(lambda: next((s.pid for s in self.said if isinstance(s, Started)), 0))
        )

    def lines(self) -> list[str]:
        return [message.text for message in self.said if isinstance(message, Line)]

    def close(self) -> None:
        if self._thread.is_alive():
            self.driver.close()
            self._thread.join(20)
        self.driver.close()


def _contract(gang: str) -> Contract:
    peer = Peer(
        rank=0,
        local_rank=0,
        group_rank=0,
        host=HostId("here"),
        address="127.0.0.1",
        devices=(),
        shard=0,
        rows=0,
    )
    return Contract(
        attempt=Attempt(gang=gang),
        rank=0,
        size=1,
        local_rank=0,
        local_size=1,
        group_rank=0,
        groups=1,
        devices=(),
        visible=(),
        master=("127.0.0.1", 1),
        threads=1,
        has_data=False,
        peers=(peer,),
    )
