"""The question itself: which devices does this process see, and may they be used?"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tritium_discovery import isolate, quarantine, wiring
from tritium_discovery.boot import boot_id
from tritium_discovery.errors import NoDevice, Unwritten
from tritium_discovery.inventory import Seen, generation, seen
from tritium_discovery.observation import Memory, Observation, key_of
from tritium_discovery.probe import probe_of
from tritium_discovery.settings import Settings
from tritium_discovery.state import host_lock, state_directory

if TYPE_CHECKING:
    from tritium_discovery.device import Inventory

__all__ = ["Discovery", "discover", "look", "published", "understand"]


class Discovery(NamedTuple):
    """One look at the host: what was read, and what it means."""

    observation: Observation
    devices: tuple[Seen, ...]
    """All visible devices by address."""
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
    return published(look(settings), rack=settings.rack)


def published(found: Discovery, *, rack: str = "") -> Inventory:
    """The public view of what was found on a host that stands in a rack, if anybody says."""
    from tritium_discovery.publish import inventory_of  # only here: Spark's script does without

    hostname = os.uname().nodename
    return inventory_of(found.observation, found.devices, boot_id=boot_id(), hostname=hostname, rack=rack)


def look(settings: Settings) -> Discovery:
    """Read the host once, with its wiring, and understand it.

    Raises:
        DiscoveryError: as `discover`.
    """
    directory = state_directory(settings)
    known = wiring.load(directory)
    probe = probe_of(machine=settings.machine, probe=settings.probe, sysfs=settings.sysfs)
    observation = isolate.call(
        partial(probe.observe, topology=True, known=None if known is None else known[0]),
        timeout_s=settings.timeout_s,
    )
    key = key_of(observation, boot_id())
    if observation.topology is None and known is not None and known[0] == key:
        observation = observation._replace(topology=known[1])
    elif observation.origin == "nvml" and observation.topology is not None:
        with suppress(Unwritten):  # then the next run reads it anew
            wiring.save(directory, key, observation.topology)
    return understand(observation, settings, directory)


def understand(observation: Observation, settings: Settings, directory: Path) -> Discovery:
    """What an observation means under these settings, and with what is remembered in ``directory``.

    Raises:
        NoDevice: there is a driver, and this process may see none of its devices.
        Undecidable: integers in CUDA_VISIBLE_DEVICES that only the CUDA driver understands here.
        BadState: what is remembered is broken.
        Unwritten: what is to be remembered cannot be written.
    """
    devices = seen(observation, settings, host=_host_memory())
    if not devices:
        shown = "" if settings.visible is None else f" (CUDA_VISIBLE_DEVICES={settings.visible!r})"
        raise NoDevice(f"this process may see none of the {len(observation.cards)} GPUs of the host{shown}")
    return Discovery(
        observation=observation,
        devices=_quarantined(devices, settings, directory),
        generation=generation(observation),
    )


def _quarantined(devices: Sequence[Seen], settings: Settings, directory: Path) -> tuple[Seen, ...]:
    """Add the troubles of devices that were ill a moment ago, and remember the ill ones."""
    before, quarantine_s = quarantine.load(directory, boot_id()), settings.limits.quarantine_s
    after, judged = quarantine.advance_all(before, devices, now=time.time(), quarantine_s=quarantine_s)
    if after == before:
        return judged
    with host_lock(directory, timeout_s=settings.timeout_s):  # another run may have written meanwhile
        before = quarantine.load(directory, boot_id())
        after, judged = quarantine.advance_all(before, devices, now=time.time(), quarantine_s=quarantine_s)
        quarantine.save(directory, boot_id(), after)
    return judged


def _host_memory() -> Memory:
    """MemTotal and MemAvailable of ``/proc/meminfo``, which unified-memory parts share with the CPU."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        lines = (line.partition(":") for line in file)
        kib = {name: int(rest.split()[0]) for name, _, rest in lines if name in {"MemTotal", "MemAvailable"}}
    return Memory(total_mib=kib["MemTotal"] // 1024, free_mib=kib["MemAvailable"] // 1024)
