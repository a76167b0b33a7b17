"""Rig: an executor without Spark, whose tasks are threads of the test and whose owners are real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pyspark import cloudpickle

from rigs.processes import eventually
from tritium.assign.types import Request
from tritium.infer.feeder import Answered, Feeder
from tritium.infer.identity import digest
from tritium.infer.link import addresses
from tritium.infer.lodging import Lodging, Place
from tritium.infer.prepare import Prepare
from tritium.infer.words import Order
from tritium_discovery.process import process_id

__all__ = ["Executor", "executor", "numbers"]

_LIMIT_S = 60


class Executor:
    """Something that lives as an executor's JVM does, and the owners that belong to it."""

    def __init__(self, jvm: subprocess.Popen[bytes]) -> None:
        me = process_id(jvm.pid)
        assert me is not None
        self.jvm = jvm
        self.place = Place(
            name="executor 0", executor=f"{jvm.pid}.{me.start_ticks}", lives=frozenset({jvm.pid})
        )

    def lodging(
        self,
        load: Callable[..., Any],
        *,
        gpu: int = 1,
        share_mib: int = 0,
        priority: int = 0,
        quarantine: bool = False,
        keep_s: float = 60,
        limit_s: float = 60,
        call: str = "a0",
    ) -> Lodging:
        """Prepare one task's search for owners of a model with one output, ``y``."""
        pickled = cloudpickle.dumps((load, ()))
        order = Order(
            what="owner of a model",
            host="",
            executor="",
            devices=(),
            load=pickled,
            output=("y",),
            quarantine=quarantine,
            keep_s=keep_s,
            priority=priority,
            limit_s=limit_s,
        )
        return Lodging(
            order,
            self.place,
            model=digest(pickled, gpu, quarantine),
            call=call,
            request=Request(
                members=1, devices_each=gpu, kind="replicas", share_mib=share_mib, priority=priority
            )
            if gpu
            else None,
            policy="packed",
            granted=None,
        )

    def feeder(
        self, load: Callable[..., Any], *, wait_s: float = 30, ahead: int = 3, **options: Any
    ) -> Feeder:
        """Start one task's feeding."""
        lodging = self.lodging(load, **options)
        limit_s = options.get("limit_s", 60)
        return Feeder(lambda: lodging.owner(wait_s=wait_s, what="task 0"), ahead=ahead, limit_s=limit_s)

    def predicted(
        self,
        load: Callable[..., Any],
        batches: Iterable[pa.RecordBatch],
        *,
        preprocess: Callable[..., Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        """Be one task from beginning to end; returns ``y`` of all rows."""
        quarantine = options.get("quarantine", False)
        feed = Prepare(columns=("x",), preprocess=preprocess, quarantine=quarantine).feed(batches)
        return [y for answered in self.feeder(load, **options).answers(feed) for y in ys(answered)]

    def owners(self) -> list[psutil.Process]:
        """The owners that live now."""
        return [
            process
            for process in self.processes()
            # Unlike a copy of it, which its model has made, it leads its session.
            if "tritium.infer.owner" in process.info["cmdline"] and os.getsid(process.pid) == process.pid
        ]

    def processes(self) -> list[psutil.Process]:
        """The same, with those that keep them and all that their models have started."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if (process.info["environ"] or {}).get("TRITIUM_TEST_EXECUTOR") == self.place.executor
        ]

    def sockets(self) -> list[str]:
        """The names that owners can be found by."""
        return addresses(self.place.executor)


def ys(answered: Answered) -> list[Any]:
    """Copy what the model said to one batch."""
    return [] if answered.answer is None else np.array(answered.answer.values["y"]).tolist()


@contextmanager
def executor(monkeypatch: Any, *, machine: str) -> Iterator[Executor]:
    """Run an executor on an emulated machine; after it nothing of it may be left."""
    with subprocess.Popen(["sleep", "600"]) as jvm:
        made = Executor(jvm)
        monkeypatch.setenv("TRITIUM_MACHINE", machine)
        monkeypatch.setenv("TRITIUM_TEST_EXECUTOR", made.place.executor)
        try:
            yield made
        finally:
            jvm.kill()
        eventually(lambda: not made.sockets() and not made.processes(), limit_s=_LIMIT_S)


def numbers(*rows: int) -> list[pa.RecordBatch]:
    """Batches of so many rows each, with the numbers from 0 on in ``x``."""
    ends = np.cumsum(rows)
    return [
        pa.RecordBatch.from_pydict({"x": np.arange(end - count, end)})
        for count, end in zip(rows, ends, strict=True)
    ]


def by_value(module: ModuleType | str) -> None:
    """Let functions of a test module be sent whole, as those of a notebook are."""
    cloudpickle.register_pickle_by_value(sys.modules[module] if isinstance(module, str) else module)
