"""``tritium.devices``: inside any PySpark task, exactly the devices that it holds, for as long as a block.

>>> import tritium
>>> def work(rows):
...     with tritium.devices() as (device,):
...         yield from predict_on(device.uuid, rows)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tritium.assign import Assigned, Reason, Snapshot, Unassignable, Waiting, assign
from tritium.assign.shares import left_of
from tritium.assign.types import Member, Request
from tritium.errors import CannotHold, Unplaceable
from tritium.spark.cuda import cuda_is_initialised
from tritium.spark.environment import changed
from tritium.spark.inventory import TaskView, refreshed, snapshot_of, task_view
from tritium_discovery import Device, DeviceHeld, Hold, Uuid, holds

if TYPE_CHECKING:
    from pyspark import TaskContext

__all__ = ["devices", "hold", "take"]

_POLL_S = 0.1


@contextmanager
def devices(
    count: int | None = None, *, policy: str = "packed", wait_s: float = 60.0
) -> Iterator[tuple[Device, ...]]:
    """Hold the devices of this task; for the block CUDA sees them and no others.

    How many: as Spark granted (a stage with a resource profile, or ``spark.task.resource.gpu.amount``).
    Where it granted none, ``count``, or one. Which: the assigner's choice among those of the executor,
    the best linked ones; in link order. CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are as before after it.

    A device may still be held by a process that Spark thinks gone: it is waited for, up to ``wait_s``.

    Raises:
        CannotHold: this is no Spark task, CUDA has already chosen its devices in this process, Spark
            granted another number than ``count``, or a device is still held by somebody, who is named.
        Unplaceable: the executor's devices will not do, with all reasons.
        DiscoveryError: the host's devices cannot be read, or are not those that Spark was told of.
    """
    context = _task_context()
    granted = context.resources().get("gpu")
    addresses = tuple(granted.addresses) if granted is not None else None
    if addresses is not None and count not in (None, len(addresses)):
        raise CannotHold(f"{count} devices asked for, and Spark granted this task {len(addresses)}")
    request = Request(members=1, devices_each=len(addresses) if addresses is not None else count or 1)
    what = f"task {context.partitionId()} of stage {context.stageId()}"
    with hold(request, policy=policy, wait_s=wait_s, what=what) as (held, _):
        yield held


@contextmanager
def hold(
    request: Request, *, policy: str, wait_s: float, what: str
) -> Iterator[tuple[tuple[Device, ...], TaskView]]:
    """Hold the devices of a request of one member, made by this task; also tells what the task sees.

    Raises:
        CannotHold: this is no Spark task, CUDA is initialised here, or a device is held by somebody.
        Unplaceable: the assigner refused.
        DiscoveryError: the host's devices cannot be read, or are not those that Spark was told of.
    """
    bound = _cuda.bound(request.devices_each)
    granted = _task_context().resources().get("gpu")
    addresses = tuple(granted.addresses) if granted is not None else None
    give_up_at = time.monotonic() + wait_s
    view = task_view(addresses, environ=os.environ)
    if bound:
        view = replace(view, pool=tuple(uuid for uuid in view.pool if uuid in bound))
    while isinstance(taken := take(view, request, policy, what=what), str):
        if time.monotonic() > give_up_at:
            raise CannotHold(f"{what} waited {wait_s:.0f} s for a device: {taken}")
        time.sleep(_POLL_S)
        view = refreshed(view)
    by_uuid = {device.uuid: device for device in view.inventory.devices}
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(taken.uuids), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    with taken, changed(visible):
        try:
            yield tuple(by_uuid[uuid] for uuid in taken.uuids), view
        finally:
            _cuda.remember(taken.uuids)


def take(view: TaskView, request: Request, policy: str, *, what: str, note: str | None = None) -> Hold | str:
    """Take the devices that the assigner chooses, or the share of one, or say who has them.

    Choosing needs no lock: taking is one step for the host, and whoever comes second chooses again.
    ``note`` is what the holder is called, if it is not the one who asks.
    """
    snapshot = snapshot_of([view], priority=request.priority)
    decision = assign(snapshot, request, policy)
    match decision:
        case Assigned():
            member: Member = decision.placement.members[0]
            try:
                if request.share_mib:
                    return _take_share(snapshot, member, request.share_mib, note or what, view.directory)
                return holds.take(member.devices, what=note or what, directory=view.directory)
            except DeviceHeld as err:
                return str(err)
        case Unassignable() if not request.share_mib or not _full(decision.reasons):
            sentences = [str(reason) for reason in decision.reasons]
            raise Unplaceable(f"{what}: no device of {view.pool_name} will do:", sentences)
        case Waiting() if not request.share_mib:
            return ", ".join(f"{wait.device} is held by {wait.holder}" for wait in decision.waits_for)
        case _:  # where nobody is known who has the memory, one may be just going: the driver frees it last
            return _full(decision.reasons) or "; ".join(map(str, decision.reasons))


def _take_share(snapshot: Snapshot, member: Member, mib: int, note: str, directory: Path) -> Hold:
    """Take a share of as much as the assigner knew to be there: others may have taken theirs since."""
    (uuid,), (pool,) = member.devices, snapshot.hosts[0].pools
    (device,) = (device for device in pool.devices if device.uuid == uuid)
    shares = [share for share in pool.shares if share.device == uuid]
    of_mib = left_of(device, shares) + sum(share.mib for share in shares)
    return holds.take_share(uuid, mib, of_mib=of_mib, what=note, directory=directory)


def _full(reasons: Iterable[Reason]) -> str:
    """Say which devices would do but for those who have them, or parts of them, and who that is."""
    return "; ".join(reason.sentence for reason in reasons if reason.rule in ("held", "share"))


def _task_context() -> TaskContext:
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        raise CannotHold(
            "devices belong to Spark tasks, and this is none: a Gang's rank has tritium.rank().devices"
        )
    return context


class _Cuda:
    """What CUDA in this process was shown when it was initialised: it reads its variables only once."""

    sees: tuple[Uuid, ...] = ()

    def bound(self, devices_each: int) -> tuple[Uuid, ...]:
        """The only devices that may be shown now, because CUDA saw them before; empty if it never looked."""
        if not cuda_is_initialised():
            return ()
        if len(self.sees) != devices_each:
            raise CannotHold(
                f"CUDA is already initialised in this Python worker (pid {os.getpid()}) and would not heed "
                "the choice of devices: use it only inside the block, or set spark.python.worker.reuse=false"
            )
        return self.sees

    def remember(self, shown: tuple[Uuid, ...]) -> None:
        """Note what was shown in a block, in case CUDA looked."""
        if cuda_is_initialised():
            self.sees = shown


_cuda = _Cuda()
"""Python workers are used again for other tasks (``spark.python.worker.reuse``), CUDA and all."""
