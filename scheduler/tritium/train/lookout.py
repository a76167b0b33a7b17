"""Edge in a gang's task: what it sees of its executor's devices, looked at no more often than needed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from tritium.spark.inventory import TaskView, refreshed, task_view
from tritium_discovery import BadState, DiscoveryError, TimedOut, Uuid

__all__ = ["Lookout"]

_FRESH_S = 10.0
"""How long devices are taken to be as they were; who holds them is looked at each time."""


class Lookout:
    """One task's view of the devices around it.

    Args:
        addresses: devices that Spark granted; ``None`` where it schedules none.
    """

    def __init__(self, addresses: Sequence[str] | None) -> None:
        self._addresses = addresses
        self._seen: tuple[TaskView, float] | None = None

    def ahead(self) -> None:
        """Look before the task has threads, which is faster; what is wrong shows when a view is needed."""
        with contextlib.suppress(DiscoveryError):
            self.anew()

    def view(self) -> TaskView:
        """Return what there is now.

        Raises:
            DiscoveryError: the host's devices cannot be read, or are not those that Spark was told of.
        """
        if self._seen is None or time.monotonic() - self._seen[1] > _FRESH_S:
            return self.anew()
        return refreshed(self._seen[0])

    def anew(self) -> TaskView:
        """Look at everything again.

        Raises:
            DiscoveryError: as `view`.
        """
        view = task_view(self._addresses, environ=os.environ)
        self._seen = view, time.monotonic()
        return view

    def sick(self, devices: Sequence[Uuid]) -> Mapping[Uuid, str]:
        """Look whether a rank failed because its devices did."""
        try:
            view = self.anew()
        except (TimedOut, BadState):  # the host is busy, or its files are damaged: no device is to blame
            return {}
        except DiscoveryError as err:
            return dict.fromkeys(devices, str(err))
        found = {device.uuid: device for device in view.inventory.devices}
        return {
            uuid: "; ".join(found[uuid].troubles) if uuid in found else "it is not there any more"
            for uuid in devices
            if uuid not in found or not found[uuid].healthy
        }
