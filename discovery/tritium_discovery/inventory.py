"""From what was read to what there is: the visible devices by address, each with its troubles. Pure."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tritium_discovery.errors import Undecidable
from tritium_discovery.failure import NOT_SUPPORTED
from tritium_discovery.health import troubles
from tritium_discovery.observation import (
    Card,
    Failed,
    Instance,
    Memory,
    MigMode,
    Observation,
    Process,
    Reading,
    Uuid,
    value,
)
from tritium_discovery.settings import Settings

__all__ = ["Seen", "generation", "seen"]


class Seen(NamedTuple):
    """One visible device; the fields are those of `Device`, the public type, which takes longer to load."""

    uuid: Uuid
    address: int
    pci_bus_id: str
    product: str
    memory_mib: int
    free_mib: int
    capability: tuple[int, int]
    numa_node: int | None
    cpus: str
    parent: Uuid | None
    mig_profile: str | None
    processes: tuple[int, ...]
    troubles: tuple[str, ...]


def seen(observation: Observation, settings: Settings, *, host: Memory) -> tuple[Seen, ...]:
    """All visible devices, healthy or not, by address.

    ``host`` is the memory of the host, which is also the device's on unified-memory parts.

    Raises:
        Undecidable: integers in CUDA_VISIBLE_DEVICES whose order only the CUDA driver knows.
    """
    devices = list(_devices(observation, settings, host))
    return tuple(
        device._replace(address=address)
        for address, device in enumerate(_visible(devices, observation, settings))
    )


def generation(observation: Observation) -> str:
    """A name for the set of devices that the host has now: a card lost or found is another generation."""
    names = [device.uuid for device in _devices(observation, Settings(), Memory(0, 0))]
    return f"{zlib.crc32(' '.join(names).encode()):08x}"


def _devices(observation: Observation, settings: Settings, host: Memory) -> Iterator[Seen]:
    """Every card or MIG instance of the host in CUDA's PCI order, addresses still to come."""
    for card in _by_bus(observation.cards):
        whole = _whole(card, settings, host)
        if isinstance(card.mig, MigMode) and card.mig.current and card.instances:
            yield from (_part(whole, part, slot) for slot, part in enumerate(card.instances))
        else:
            yield whole


def _by_bus(cards: Sequence[Card]) -> Sequence[Card]:
    """PCI order. NVML's own usually is that already; then a card that is lost keeps its place."""
    known = [card.pci_bus_id for card in cards if isinstance(card.pci_bus_id, str)]
    if known == sorted(known):
        return cards
    return sorted(cards, key=lambda card: (value(card.pci_bus_id, "~"), card.number))


def _whole(card: Card, settings: Settings, host: Memory) -> Seen:
    bus = value(card.pci_bus_id, f"unknown ({card.number})")
    memory = value(card.memory, Memory(total_mib=0, free_mib=0))
    if isinstance(card.memory, Failed) and card.memory.code == NOT_SUPPORTED:
        memory = host
    return Seen(
        uuid=Uuid(value(card.uuid, f"unreadable-{card.number}")),
        address=0,
        pci_bus_id=bus,
        product=value(card.product, "unknown"),
        memory_mib=memory.total_mib,
        free_mib=memory.free_mib,
        capability=value(card.capability, (0, 0)),
        numa_node=card.numa_node,
        cpus=card.cpus,
        parent=None,
        mig_profile=None,
        troubles=troubles(card, settings.limits),
        processes=_pids(card.processes, ()),
    )


def _pids(processes: Reading[tuple[Process, ...]], otherwise: tuple[int, ...]) -> tuple[int, ...]:
    return otherwise if isinstance(processes, Failed) else tuple(process.pid for process in processes)


def _part(whole: Seen, part: Instance, slot: int) -> Seen:
    product = value(part.product, whole.product)
    memory = value(part.memory, Memory(total_mib=0, free_mib=0))
    lost = tuple(
        f"instance: {reading}" for reading in (part.uuid, part.memory) if isinstance(reading, Failed)
    )
    return whole._replace(
        uuid=Uuid(value(part.uuid, f"{whole.uuid}-unreadable-{slot}")),
        product=product,
        memory_mib=memory.total_mib,
        free_mib=memory.free_mib,
        parent=whole.uuid,
        mig_profile=product.partition(" MIG ")[2] or None,
        processes=_pids(part.processes, whole.processes),
        troubles=whole.troubles + lost,
    )


def _visible(host: Sequence[Seen], observation: Observation, settings: Settings) -> Sequence[Seen]:
    if settings.visible is None:
        return host
    from tritium_discovery.visible import Candidate, entries, visible  # its patterns take time to compile

    if isinstance(next(iter(entries(settings.visible)), None), int):
        _decidable(host, settings)
    by_uuid: Mapping[Uuid, Seen] = {device.uuid: device for device in host}
    legacy = _legacy_names(observation)
    candidates = [Candidate(uuid=device.uuid, legacy=legacy.get(device.uuid)) for device in host]
    return [by_uuid[uuid] for uuid in visible(settings.visible, candidates)]


def _legacy_names(observation: Observation) -> dict[str, str]:
    """How drivers before 470 called MIG instances, by today's names."""
    return {
        part.uuid: f"MIG-{card.uuid}/{part.gpu_instance}/{part.compute_instance}"
        for card in observation.cards
        for part in card.instances
        if isinstance(part.uuid, str)
    }


def _decidable(host: Sequence[Seen], settings: Settings) -> None:
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
