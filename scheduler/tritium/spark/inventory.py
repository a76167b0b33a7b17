"""Edge on an executor: which devices a task could get, and what many tasks' views make together.

Spark hands a task a count in disguise: the addresses it grants are the lowest free ones of the executor,
chosen without knowing them. So a task looks at all devices of its executor, and the assigner chooses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TypedDict

from tritium.assign.types import Host, Pool, Share, Snapshot
from tritium_discovery import (
    BadState,
    Device,
    HostId,
    Inventory,
    ProcessId,
    Settings,
    StaleAddress,
    Uuid,
    claims,
    discover,
    drain,
    holds,
    state_directory,
)
from tritium_discovery.process import line, nearest_jvm
from tritium_discovery.spark import command_line

__all__ = ["EXACT", "TaskView", "ask_to_drain", "executor_name", "refreshed", "snapshot_of", "task_view"]

EXACT = "spark.tritium.addresses"
"""With ``exact``, tasks keep to the very addresses that Spark granted: for executors shared with others that
trust them, such as RAPIDS. The tasks of RDD jobs see no property of the application's, and read
TRITIUM_ADDRESSES instead (``spark.executorEnv.TRITIUM_ADDRESSES``)."""

_DRIVER = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """What one task knows of the devices around it."""

    inventory: Inventory
    pool: tuple[Uuid, ...]
    """The devices of its executor: any of them may become its own."""
    pool_name: str
    """Whose they are: ``executor 1``, or ``driver`` where tasks run in the driver (``local[N]``)."""
    count: int | None
    """How many Spark granted; ``None`` if it granted none, or schedules none."""
    held: Mapping[Uuid, tuple[holds.Holder, ...]]
    """Devices of the pool in use now, and by whom: its only holder, or all that share it."""
    promised: Mapping[Uuid, drain.Ask] = field(default_factory=dict)
    """Devices of the pool that were given up, or soon will be, for somebody who asked."""
    directory: Path
    """Where claims and holds live."""


def task_view(addresses: Sequence[str] | None, *, environ: Mapping[str, str]) -> TaskView:
    """Look around from within a task that Spark granted ``addresses``, or none.

    Raises:
        DiscoveryError: the host's devices cannot be read, or what Spark was told is not true any more.
    """
    jvm = nearest_jvm()
    settings = Settings.from_env(_as_the_executor(environ, jvm))
    inventory, directory = discover(settings), state_directory(settings)
    words = command_line(jvm.pid) if jvm is not None else ()
    pool_name = executor_name(words)
    if addresses is not None and _exact(environ):
        pool = _resolve(addresses, directory, inventory)
        pool_name += f", addresses {','.join(addresses)}"
    else:
        pool = _pool(words, jvm, directory, inventory)
    return TaskView(
        inventory=inventory,
        pool=pool,
        pool_name=pool_name,
        count=len(addresses) if addresses is not None else None,
        **_in_use(pool, directory),
        directory=directory,
    )


def executor_name(words: Sequence[str]) -> str:
    """Name an executor after its JVM's command line.

    >>> executor_name(["java", "--executor-id", "1"]), executor_name(["java"])
    ('executor 1', 'driver')
    """
    return f"executor {_argument(words, '--executor-id')}" if "--executor-id" in words else _DRIVER


def refreshed(view: TaskView) -> TaskView:
    """Look again who holds what; the devices themselves are taken to be as they were.

    Raises:
        DiscoveryError: the holds cannot be read.
    """
    return replace(view, **_in_use(view.pool, view.directory))


def snapshot_of(views: Iterable[TaskView], *, priority: int = 0) -> Snapshot:
    """Merge what many tasks see: one host per locality, in it one pool per executor.

    Spark started the tasks, so a pool seats exactly as many as have it. Where views of one pool were
    taken at different moments, a device must be in all of them, and held in none. To a request of this
    ``priority`` a device is held as well that is promised to somebody more important.
    """
    ordered = sorted(views, key=lambda view: (view.inventory.host, view.pool_name))
    hosts = groupby(ordered, key=lambda view: view.inventory.host)
    return Snapshot(hosts=tuple(_host(host, tuple(inside), priority) for host, inside in hosts))


def _host(host: HostId, views: Sequence[TaskView], priority: int) -> Host:
    pools = groupby(views, key=lambda view: view.pool_name)
    return Host(
        id=host,
        pools=tuple(_merged(name, tuple(inside), priority) for name, inside in pools),
        links=views[0].inventory.links,
        rack=views[0].inventory.rack,
    )


def _merged(name: str, views: Sequence[TaskView], priority: int) -> Pool:
    shared = set.intersection(*(set(view.pool) for view in views))
    devices = tuple(device for device in views[0].inventory.devices if device.uuid in shared)
    holders: dict[Uuid, dict[str, holds.Holder]] = {}
    for uuid, having in (item for view in views for item in view.held.items()):
        holders.setdefault(uuid, {}).update((holder.name, holder) for holder in having)
    promised = {
        uuid: f"nobody, but promised to {ask.by}"
        for view in views
        for uuid, ask in view.promised.items()
        if ask.priority > priority
    }
    held = {uuid: name for uuid, having in holders.items() for name in having if _for_good(having[name])}
    shares = tuple(
        share
        for device in devices
        for share in _shares(
            device, [one for one in holders.get(device.uuid, {}).values() if not _for_good(one)]
        )
    )
    return Pool(name=name, devices=devices, held={**promised, **held}, shares=shares, seats=len(views))


def _for_good(holder: holds.Holder) -> bool:
    """Whether somebody has the whole device and never gives way."""
    return holder.mib is None and holder.drain_s is None


def _shares(device: Device, holders: Iterable[holds.Holder]) -> Iterator[Share]:
    """Return what owners have of a device; one that is alone on it and gives way has a share of all.

    What is used is taken for theirs, as far as it was promised to them: whose it is is known outside of
    containers only.
    """
    used_mib = device.memory_mib - device.free_mib
    for holder in holders:
        mib = device.memory_mib if holder.mib is None else holder.mib
        yield Share(
            device=device.uuid,
            owner=holder.name,
            mib=mib,
            used_mib=min(mib, used_mib),
            priority=holder.priority,
            drain_s=holder.drain_s,
        )
        used_mib -= min(mib, used_mib)


def ask_to_drain(shares: Iterable[Share], view: TaskView, *, by: str, priority: int, within_s: float) -> None:
    """Ask the owners of shares that were decided on, as far as this executor has their devices.

    Raises:
        DiscoveryError: the holds cannot be read.
    """
    for share in shares:
        if share.device in view.pool:
            drain.ask(
                share.device,
                of=share.owner,
                by=by,
                priority=priority,
                within_s=within_s,
                directory=view.directory,
            )


def _exact(environ: Mapping[str, str]) -> bool:
    """Spark SQL lends a job's tasks its session's properties (``SQLExecution.withSQLConfPropagated``)."""
    from pyspark import TaskContext

    context = TaskContext.get()
    told = context.getLocalProperty(EXACT) if context is not None else None
    return "exact" in (told, environ.get("TRITIUM_ADDRESSES"))


def _as_the_executor(environ: Mapping[str, str], jvm: ProcessId | None) -> dict[str, str]:
    """The environment without what an earlier task may have left in a reused Python worker.

    CUDA_VISIBLE_DEVICES there would make the executor's other cards invisible; what counts is what the
    executor itself was started with (``spark.python.worker.reuse`` keeps workers, and their ``os.environ``).
    """
    mixed = {key: value for key, value in environ.items() if not key.startswith("CUDA_")}
    if jvm is None:
        return {**environ}
    try:
        words = Path(f"/proc/{jvm.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {**environ}
    pairs = (os.fsdecode(word).partition("=") for word in words if word.startswith(b"CUDA_"))
    return {**mixed, **{key: value for key, _, value in pairs}}


def _pool(
    words: Sequence[str], jvm: ProcessId | None, directory: Path, inventory: Inventory
) -> tuple[Uuid, ...]:
    """The executor's devices: as its Worker told it, as it claimed itself, or whatever is free."""
    if "--resourcesFile" in words:
        granted = _granted(Path(_argument(words, "--resourcesFile")))
        if granted is not None:
            return _resolve(granted, directory, inventory)
    live = claims.live(directory)
    own = {device.uuid for claim in live if claim.owner == jvm for device in claim.devices}
    if own:
        return tuple(device.uuid for device in inventory.devices if device.uuid in own)
    above = line()
    taken = {device.uuid for claim in live if claim.owner not in above for device in claim.devices}
    return tuple(device.uuid for device in inventory.devices if device.uuid not in taken)


class _InUse(TypedDict):
    held: Mapping[Uuid, tuple[holds.Holder, ...]]
    promised: Mapping[Uuid, drain.Ask]


def _in_use(pool: Sequence[Uuid], directory: Path) -> _InUse:
    # First who holds: what is given up after that look is found held or promised, and never free.
    everybody, asks = holds.held(directory), drain.promised(directory)
    return {
        "held": {uuid: everybody[uuid] for uuid in pool if uuid in everybody},
        "promised": {uuid: asks[uuid] for uuid in pool if uuid in asks},
    }


def _granted(path: Path) -> tuple[str, ...] | None:
    """The addresses in the file that a Worker writes for an executor; ``None`` without GPUs in it.

    It is ``[{"id": {"componentName": "spark.executor", "resourceName": "gpu"}, "addresses": ["0"]}]``
    (``org.apache.spark.resource.ResourceAllocation``).
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for entry in found:
            if entry["id"]["resourceName"] == "gpu":
                return tuple(map(str, entry["addresses"]))
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise BadState(f"{path}, which lists this executor's resources, cannot be read: {err}") from err
    return None


def _resolve(addresses: Sequence[str], directory: Path, inventory: Inventory) -> tuple[Uuid, ...]:
    """Say which cards addresses mean; a discovery script of somebody else's may give UUIDs for addresses."""
    present = {device.uuid for device in inventory.devices}
    if all(address.isascii() and address.isdigit() for address in addresses):
        numbers = [int(address) for address in addresses]
        return tuple(
            device.uuid for device in claims.resolve(numbers, directory=directory, inventory=inventory)
        )
    unknown = [address for address in addresses if address not in present]
    if unknown:
        raise StaleAddress(
            f"Spark calls a device {unknown[0]!r}, and this host has none of that name: it was reported by "
            "another discovery script than gpu-discover, or is gone"
        )
    return tuple(Uuid(address) for address in addresses)


def _argument(words: Sequence[str], name: str) -> str:
    return words[words.index(name) + 1]
