"""The question itself: which devices does this process see, and may they be used?"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tritium_discovery import isolate, quarantine, wiring
from tritium_discovery.device import Inventory
from tritium_discovery.errors import NoDevice
from tritium_discovery.inventory import generation, inventory_of
from tritium_discovery.observation import Observation
from tritium_discovery.probe import probe_of
from tritium_discovery.process import boot_id
from tritium_discovery.settings import Settings
from tritium_discovery.state import state_directory

__all__ = ["Discovery", "discover", "look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """One look at the host: what was read, and what it means."""

    observation: Observation
    inventory: Inventory
    generation: str
    """The set of devices of the host, as claims record it."""


def discover(settings: Settings) -> Inventory:
    """All devices that this process sees, healthy or not, with the links between them.

    >>> discover(Settings(machine="two-t4")).devices[1].product
    'Tesla T4'

    Raises:
        DiscoveryError: one class per cause: no library, no driver, a mismatch, no permission, no GPU,
            a driver that hangs, a machine file that is wrong.
        Undecidable: integers in CUDA_VISIBLE_DEVICES that only the CUDA driver understands here.
    """
    return look(settings, topology=True).inventory


def look(settings: Settings, *, topology: bool) -> Discovery:
    """Read the host once and understand it; without ``topology`` there are no links, and it is quicker.

    Raises:
        DiscoveryError: as `discover`.
    """
    directory = state_directory(settings)
    observation = _observation(settings, directory, topology=topology)
    inventory = inventory_of(
        observation, settings, boot_id=boot_id(), hostname=socket.gethostname(), memory_mib=_host_memory_mib()
    )
    inventory = _quarantined(inventory, settings, directory)
    if not inventory.devices:
        shown = "" if settings.visible is None else f" (CUDA_VISIBLE_DEVICES={settings.visible!r})"
        raise NoDevice(f"this process may see none of the {len(observation.cards)} GPUs of the host{shown}")
    return Discovery(observation=observation, inventory=inventory, generation=generation(observation))


def _observation(settings: Settings, directory: Path, *, topology: bool) -> Observation:
    """Read the host in a child, with its wiring from the cache where that is still true."""
    known = wiring.load(directory) if topology else None
    observation = isolate.call(
        partial(probe_of(settings).observe, topology=topology, known=None if known is None else known[0]),
        timeout_s=settings.timeout_s,
    )
    key = wiring.key_of(observation, boot_id())
    if topology and observation.topology is None and known is not None and known[0] == key:
        return replace(observation, topology=known[1])
    if observation.origin == "nvml" and observation.topology is not None:
        wiring.save(directory, key, observation.topology)
    return observation


def _quarantined(inventory: Inventory, settings: Settings, directory: Path) -> Inventory:
    """Add the troubles of devices that were ill a moment ago, and remember the ill ones."""
    before = quarantine.load(directory, boot_id())
    after = dict(before)
    devices = []
    for device in inventory.devices:
        record, seen = quarantine.advance(
            before.get(device.uuid), device, now=time.time(), quarantine_s=settings.limits.quarantine_s
        )
        devices.append(seen)
        after.pop(device.uuid, None)
        if record is not None:
            after[device.uuid] = record
    if after != before:
        quarantine.save(directory, boot_id(), after)
    return replace(inventory, devices=tuple(devices))


def _host_memory_mib() -> int:
    """MemTotal of ``/proc/meminfo``, which unified-memory parts share with the CPU."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        for line in file:
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
    return 0
