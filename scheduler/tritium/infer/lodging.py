"""Edge on an executor: find the owner of a model for one more task, or start one on a free device."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from tritium.assign import Request, drain_for
from tritium.errors import CannotHold, Unplaceable
from tritium.infer.identity import digest
from tritium.infer.link import Link, addresses, bind, connect
from tritium.infer.memory import Memory
from tritium.infer.words import Order
from tritium.spark.devices import take
from tritium.spark.inventory import (
    TaskView,
    ask_to_drain,
    executor_name,
    refreshed,
    snapshot_of,
    task_view,
)
from tritium.train import cpus, sweep
from tritium.train.contract import base_environment
from tritium.train.peer import pid_of
from tritium_discovery import Device, Hold
from tritium_discovery.process import nearest_jvm
from tritium_discovery.spark import command_line

__all__ = ["SHARE", "Lodging", "Owner", "Place"]

SHARE = "TRITIUM_SHARE_MIB"
"""Tells a model the MiB of its device's memory that it may use, where it shares the device."""

_POLL_S = 0.1
_LOOK_S = 0.5
"""Of shares it matters what memory is free, and the driver is asked for that."""
_START_S = 60.0
"""How long an owner may take until it hears its first task."""
_SILENT_S = 30.0
"""How long one may take to answer later, and is left alone if it did not."""
_GONE, _SILENT = "gone", "silent"
_KEEPER, _MODULE = "tritium.train.keeper", "tritium.infer.owner"
_STDERR = 2  # of the Python worker, which is the executor's


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One owner, as a task that feeds it sees it."""

    link: Link
    pid: int
    devices: tuple[Device, ...]
    host: str
    executor: str
    """E.g. ``executor 1``."""
    knows: bool
    """Whether it got batches of this call of ``predict`` before: they can be made ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The executor around a task, which owners belong to."""

    name: str
    """For people, e.g. ``executor 1``."""
    executor: str
    """Its JVM, e.g. ``4711.93843``: pid and start time."""
    lives: frozenset[int]
    """The processes that owners end with: the JVM and the daemon of its Python workers."""

    @classmethod
    def here(cls) -> Place:
        """Look around from within a task.

        Raises:
            CannotHold: this is no task of Spark's.
        """
        jvm = nearest_jvm()
        if jvm is None:
            raise CannotHold("models belong to the executors of Spark, and this process is in none")
        return cls(
            name=executor_name(command_line(jvm.pid)),
            executor=f"{jvm.pid}.{jvm.start_ticks}",
            lives=frozenset({jvm.pid, os.getppid()}),
        )


class Lodging:
    """One task's search for owners of one model, first and again whenever its owner has gone."""

    def __init__(
        self,
        order: Order,
        place: Place,
        *,
        model: str,
        call: str,
        request: Request | None,
        policy: str,
        granted: Sequence[str] | None,
    ) -> None:
        self._order = replace(order, executor=place.name)
        self._place, self._model, self._request, self._policy = place, model, request, policy
        self._call = call
        self._share_mib = request.share_mib if request is not None else 0
        self._granted = tuple(granted) if granted is not None else None
        self._view: TaskView | None = None
        self._silent: dict[str, float] = {}
        """Owners that did not answer, and until when they are not asked again."""
        self._deaf: dict[str, float] = {}
        """The same, and since when."""

    def owner(self, *, wait_s: float, what: str) -> Owner:
        """Find an owner, the least fed one of those that live.

        1. One that nobody feeds. 2. A new one, while there are free devices. 3. One that others feed.

        Raises:
            CannotHold: no device became free in time; the holder is named.
            Unplaceable: no device of the executor will ever do.
            DiscoveryError: the host's devices cannot be read.
        """
        give_up_at = time.monotonic() + wait_s
        while True:
            if isinstance(found := self._unfed(), Owner):
                return found
            if isinstance(started := self._started(what), Owner):
                return started
            if (shared := self._shared()) is not None:
                return shared
            self._ask_for_room(what)
            if time.monotonic() > give_up_at and not self._waits_for_its_own():
                raise CannotHold(f"{what} waited {wait_s:.0f} s for a device: {started}")
            time.sleep(_LOOK_S if self._share_mib else _POLL_S)

    def _waits_for_its_own(self) -> bool:
        """Whether an owner of this very model is only busy, so that it hears nobody, and not for too long."""
        too_long = time.monotonic() - self._order.limit_s
        there = addresses(self._place.executor, self._model)
        return any(self._deaf.get(address, -math.inf) > too_long for address in there)

    def _unfed(self) -> Owner | Mapping[str, int]:
        """Join an owner that nobody feeds, or say how many tasks feed each."""
        fed = {}
        for address in addresses(self._place.executor, self._model):
            if time.monotonic() < self._silent.get(address, 0.0):
                continue
            answer = self._attached(address, most=1, within_s=_SILENT_S)
            if isinstance(answer, Owner):
                return answer
            if isinstance(answer, int):
                fed[address] = answer
            elif answer == _SILENT:
                self._silent[address] = time.monotonic() + _SILENT_S
                self._deaf.setdefault(address, time.monotonic())
            if answer != _SILENT:
                self._deaf.pop(address, None)
        return fed

    def _shared(self) -> Owner | None:
        """Join the one that fewest others feed; a model on the CPU is shared by none."""
        if self._request is None:
            return None
        if isinstance(fed := self._unfed(), Owner):  # which another task has started meanwhile
            return fed
        for address, guests in sorted(fed.items(), key=lambda item: item[::-1]):
            if isinstance(owner := self._attached(address, most=guests + 1, within_s=_SILENT_S), Owner):
                return owner
        return None

    def _ask_for_room(self, what: str) -> None:
        """Ask owners of other models to give way, as few as will do: less important ones, or unfed."""
        if self._view is None or self._request is None or addresses(self._place.executor, self._model):
            return  # this very model's owner, unfed yet, might be the one
        priority = self._request.priority
        drain = drain_for(snapshot_of([self._view], priority=priority), self._request, self._policy)
        if drain is not None:
            ask_to_drain(drain.shares, self._view, by=what, priority=priority, within_s=drain.within_s)

    def _started(self, what: str) -> Owner | str:
        """Start an owner on devices that are free now, or say why there are none."""
        if self._request is None:
            return self._start((), None)
        if self._view is None or self._share_mib:
            self._view = task_view(self._granted, environ=os.environ)
        else:
            self._view = refreshed(self._view)
        others = addresses(self._place.executor, self._model)
        try:
            taken = take(
                self._without_ours(self._view), self._request, self._policy, what=what, note=self._order.what
            )
        except Unplaceable:
            if others:
                return "others hold them"
            raise
        if isinstance(taken, str):
            return taken
        by_uuid = {device.uuid: device for device in self._view.inventory.devices}
        with taken:
            return self._start(tuple(by_uuid[uuid] for uuid in taken.uuids), taken)

    def _without_ours(self, view: TaskView) -> TaskView:
        """Leave out the devices of which this model has a share already: there it would be loaded twice."""
        if not self._share_mib:
            return view
        there = {address.rpartition("-")[2] for address in addresses(self._place.executor, self._model)}
        return replace(view, pool=tuple(uuid for uuid in view.pool if digest(uuid) not in there))

    def _start(self, devices: tuple[Device, ...], hold: Hold | None) -> Owner | str:
        """Start the process; it is nobody's child, and may be called from now on."""
        only = digest(devices[0].uuid) if self._share_mib else ""
        try:
            listener = bind(self._place.executor, self._model, only=only)
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                raise
            return "another task has just started its owner"
        host = self._view.inventory.hostname if self._view is not None else os.uname().nodename
        order = replace(self._order, devices=devices, host=host)
        memory = Memory()
        memory.write(order)
        lives = [os.pidfd_open(pid) for pid in self._place.lives]
        with listener, hold or nullcontext():  # what `preprocess` forks while this waits has neither
            address = listener.getsockname()[1:].decode()
            passed = [listener.fileno(), memory.fileno, *lives, *(hold.filenos if hold is not None else ())]
            words = [*map(str, passed[:2]), str(len(lives)), *map(str, passed[2:])]
            try:
                subprocess.run(
                    # The shell goes at once and leaves the owner to init: a task's end is not the owner's.
                    ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-m", _KEEPER, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=_STDERR,
                    pass_fds=passed,
                    env=self._environment(devices),
                    check=True,
                )
            finally:
                for life in lives:
                    os.close(life)
                memory.close()
        attached = self._attached(address, most=1, within_s=_START_S)
        if attached in (_GONE, _SILENT):
            raise CannotHold(f"{self._order.what} did not start; the executor's stderr may say why")
        return attached if isinstance(attached, Owner) else "another task was faster"

    def _environment(self, devices: Sequence[Device]) -> dict[str, str]:
        """The task's own, with the owner's devices or share, and nothing that Spark meant for the task alone.

        With devices it has its part of the executor's cores; on the CPU it has the threads of one task.
        """
        given = {
            "CUDA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        if self._share_mib:
            given[SHARE] = str(self._share_mib)
        if devices and self._view is not None:
            part = cpus.usable() * len(devices) // max(1, len(self._view.pool))
            given["OMP_NUM_THREADS"] = str(max(1, part))
        return {**base_environment(os.environ), **given}

    def _attached(self, address: str, most: int, *, within_s: float) -> Owner | int | str:
        """Ask an owner for a place; without one, how many it has given away, or `_GONE`, or `_SILENT`.

        One that was stopped by a signal is ended: nobody else would.
        """
        link = connect(address, within_s=within_s)
        if link is None:
            return _GONE
        try:
            link.send(("attach", most, self._call))
            (word, facts), _ = link.receive()
        except TimeoutError:
            _end_if_stopped(pid_of(link.socket))
            word, facts = "silent", _SILENT
        except (OSError, EOFError):
            word, facts = "gone", _GONE
        if word != "welcome":
            link.close()
            answer: int | str = facts
            return answer
        link.socket.settimeout(None)
        return Owner(link=link, **facts)


def _end_if_stopped(pid: int) -> None:
    """End an owner that stands still; until it listens itself the pid is that of the task that started it."""
    if _MODULE in command_line(pid) and sweep.stands_still(pid):
        sweep.end_family(pid)
