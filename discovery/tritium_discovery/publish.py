"""The public view of a host: `Inventory`, `Device` and the links between them. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tritium_discovery.device import Device, HostId, Inventory
from tritium_discovery.inventory import Seen, generation
from tritium_discovery.observation import Observation
from tritium_discovery.topology import links

__all__ = ["inventory_of"]


def inventory_of(
    observation: Observation, seen: Sequence[Seen], *, boot_id: str, hostname: str, rack: str = ""
) -> Inventory:
    """What was seen, as all other components know it."""
    devices = tuple(Device(**device._asdict()) for device in seen)
    locality = zlib.crc32(f"{boot_id} {generation(observation)}".encode())
    return Inventory(
        host=HostId(f"{hostname}/{locality:08x}"),
        hostname=hostname,
        rack=rack,
        origin=observation.origin,
        machine=observation.machine,
        devices=devices,
        links={} if observation.topology is None else links(devices, observation.topology),
    )
