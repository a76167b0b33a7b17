"""From what was read to what there is: the visible devices by address, each with its troubles."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tritium_discovery.device import Device, HostId, Inventory, Uuid
from tritium_discovery.errors import Undecidable
from tritium_discovery.failure import NOT_SUPPORTED
from tritium_discovery.health import troubles
from tritium_discovery.observation import Card, Failed, Instance, Memory, MigMode, Observation, value
from tritium_discovery.settings import Settings
from tritium_discovery.topology import links
from tritium_discovery.visible import Candidate, entries, visible

__all__ = ["generation", "inventory_of"]


def inventory_of(
    observation: Observation, settings: Settings, *, boot_id: str, hostname: str, memory_mib: int
) -> Inventory:
    """All visible devices, healthy or not.

    ``memory_mib`` is the host's own memory, which is also the device's on unified-memory parts.

    Raises:
        Undecidable: integers in CUDA_VISIBLE_DEVICES whose order only the CUDA driver knows.
    """
    host = list(_devices(observation, settings, memory_mib))
    chosen = _visible(host, settings)
    devices = tuple(replace(device, address=address) for address, device in enumerate(chosen))
    return Inventory(
        host=HostId(f"{hostname}/{zlib.crc32(f'{boot_id} {generation(observation)}'.encode()):08x}"),
        hostname=hostname,
        origin=observation.origin,
        machine=observation.machine,
        devices=devices,
        links={} if observation.topology is None else links(devices, observation.topology),
    )


def generation(observation: Observation) -> str:
    """A name for the set of devices that the host has now: a card lost or found is another generation."""
    names = [device.uuid for device in _devices(observation, Settings(), 0)]
    return f"{zlib.crc32(' '.join(names).encode()):08x}"


def _devices(observation: Observation, settings: Settings, memory_mib: int) -> Iterator[Device]:
    """Every card or MIG instance of the host in CUDA's PCI order, addresses still to come."""
    for card in _by_bus(observation.cards):
        whole = _whole(card, settings, memory_mib)
        if isinstance(card.mig, MigMode) and card.mig.current and card.instances:
            yield from (_part(whole, part, slot) for slot, part in enumerate(card.instances))
        else:
            yield whole


def _by_bus(cards: Sequence[Card]) -> Sequence[Card]:
    """PCI order. NVML's own usually is that already; then a card that is lost keeps its place."""
    known = [card.pci_bus_id for card in cards if isinstance(card.pci_bus_id, str)]
    if known == sorted(known):
        return cards
    return sorted(cards, key=lambda card: (value(card.pci_bus_id, "~"), card.index))


def _whole(card: Card, settings: Settings, memory_mib: int) -> Device:
    bus = value(card.pci_bus_id, f"unknown ({card.index})")
    memory = value(card.memory, Memory(total_mib=0, free_mib=0))
    if isinstance(card.memory, Failed) and card.memory.code == NOT_SUPPORTED:
        memory = Memory(total_mib=memory_mib, free_mib=memory_mib)
    return Device(
        uuid=Uuid(value(card.uuid, f"unreadable-{card.index}")),
        address=0,
        pci_bus_id=bus,
        product=value(card.product, "unknown"),
        memory_mib=memory.total_mib,
        free_mib=memory.free_mib,
        capability=value(card.capability, (0, 0)),
        numa_node=card.numa_node,
        cpus=card.cpus,
        troubles=troubles(card, settings.limits),
        processes=tuple(process.pid for process in value(card.processes, ())),
    )


def _part(whole: Device, part: Instance, slot: int) -> Device:
    product = value(part.product, whole.product)
    memory = value(part.memory, Memory(total_mib=0, free_mib=0))
    lost = tuple(
        f"instance: {reading}" for reading in (part.uuid, part.memory) if isinstance(reading, Failed)
    )
    return replace(
        whole,
        uuid=Uuid(value(part.uuid, f"{whole.uuid}-unreadable-{slot}")),
        product=product,
        memory_mib=memory.total_mib,
        free_mib=memory.free_mib,
        parent=whole.uuid,
        mig_profile=product.partition(" MIG ")[2] or None,
        troubles=whole.troubles + lost,
    )


def _visible(host: Sequence[Device], settings: Settings) -> Sequence[Device]:
    if settings.visible is None:
        return host
    if isinstance(next(iter(entries(settings.visible)), None), int):
        _decidable(host, settings)
    by_uuid: Mapping[Uuid, Device] = {device.uuid: device for device in host}
    return [
        by_uuid[uuid] for uuid in visible(settings.visible, [Candidate(uuid=device.uuid) for device in host])
    ]


def _decidable(host: Sequence[Device], settings: Settings) -> None:
    """Refuse integers where CUDA counts otherwise than the PCI bus.

    CUDA_DEVICE_ORDER is FASTEST_FIRST unless set, so only alike cards keep their PCI order; and how CUDA
    counts MIG instances changed between drivers.
    """
    shown = f"CUDA_VISIBLE_DEVICES={settings.visible}"
    products = sorted({device.product for device in host})
    if any(device.parent is not None for device in host):
        raise Undecidable(f"{shown}: integers do not name MIG instances reliably: name devices by UUID")
    if len(products) > 1 and settings.device_order != "PCI_BUS_ID":
        raise Undecidable(
            f"{shown}: this host mixes {' and '.join(products)}, which CUDA orders by speed: "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name devices by UUID"
        )
