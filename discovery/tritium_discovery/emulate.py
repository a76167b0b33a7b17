"""An emulated machine's observation: what NVML would have said of it, without NVML."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from tritium_discovery.failure import (
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNKNOWN_TO_DRIVER,
    error_text,
    no_cards,
    startup_failure,
)
from tritium_discovery.machine import Machine, MachineCard
from tritium_discovery.observation import (
    Ancestor,
    Card,
    Failed,
    Instance,
    Memory,
    MigMode,
    NvLink,
    Observation,
    Process,
    Reading,
    Remapped,
    Topology,
    value,
)

__all__ = ["ancestor", "linked", "nvlinks", "observe"]

_T = TypeVar("_T")
_LOST = 15
_PROCESSES = "nvmlDeviceGetComputeRunningProcesses"


def observe(machine: Machine, *, topology: bool) -> Observation:
    """Read the machine as a driver would be read.

    Raises:
        DiscoveryError: as the machine's ``init`` says, e.g. NoDriver.
    """
    if machine.init:
        on_bus = sorted((*(card.bus for card in machine.cards), *machine.unseen))
        raise startup_failure("nvmlInit", machine.init, pci=on_bus)
    for call in machine.hang:
        _hang(call)
    listed = [machine.cards[at] for at in machine.order or range(len(machine.cards))]
    found = [(index, card, _Reader(machine, card)) for index, card in enumerate(listed)]
    mine = [(index, card, read) for index, card, read in found if not read.refused]
    refused = len(found) - len(mine)
    if not mine:
        raise no_cards(pci=machine.unseen, refused=refused)
    cards = tuple(_card(card, index, read) for index, card, read in mine)
    named = [
        (card, read) for (_, card, read), seen in zip(mine, cards, strict=True) if seen.pci_bus_id == card.bus
    ]
    return Observation(
        origin="emulated",
        machine=machine.name,
        driver=machine.driver,
        nvml=machine.nvml,
        cuda=machine.cuda,
        cards=cards,
        unseen=machine.unseen,
        refused=refused,
        topology=_topology(machine, named) if topology else None,
    )


def _hang(call: str) -> None:
    while call:
        time.sleep(3600)


class _Reader:
    """Answers each call on a card with its value, or with the failure that the machine file asks for."""

    def __init__(self, machine: Machine, card: MachineCard) -> None:
        self._missing = frozenset(machine.missing)
        self._codes: Mapping[str, int] = {**machine.fail, **card.fail}
        self._calls_left = card.lost_after
        self._handle: Reading[None] = None
        self._handle = self.get("nvmlDeviceGetHandleByIndex", None)

    @property
    def refused(self) -> bool:
        """Whether this process may not open the card."""
        return isinstance(self._handle, Failed) and self._handle.code == NO_PERMISSION

    def get(self, call: str, answer: _T, *, code: int = 0) -> Reading[_T]:
        """The answer, or the failure: the card's own ``code`` unless the file has another."""
        if isinstance(self._handle, Failed):
            return self._handle  # without a handle there is nothing to ask
        return self.part(call, answer, code=self._codes.get(call, code))

    def part(self, call: str, answer: _T, *, code: int = 0) -> Reading[_T]:
        """The same of an instance, which is lost with its card and has no other fault of its card's."""
        self._calls_left -= 1
        if self._calls_left < 0:
            code = _LOST
        elif call in self._missing:
            code = UNKNOWN_TO_DRIVER
        return Failed(call=call, code=code, text=error_text(code)) if code else answer


def _card(card: MachineCard, index: int, read: _Reader) -> Card:
    """The calls of `nvml`, in its order, as a card may be lost in between."""
    old = card.capability < (8, 0)
    mig = read.get(
        "nvmlDeviceGetMigMode",
        MigMode(current=card.mig, pending=card.mig_pending),
        code=NOT_SUPPORTED if old else 0,
    )
    not_virtual = NOT_SUPPORTED if card.vgpu else 0
    uuid = read.get("nvmlDeviceGetUUID", card.uuid)
    bus = read.get("nvmlDeviceGetPciInfo", card.bus)
    numa = card.numa if card.numa >= 0 else None  # so says the kernel too, of a card whose bus id is known
    numa_known, cpus_known = (None, "") if isinstance(bus, Failed) else (numa, card.cpus)
    return Card(
        number=index,
        uuid=uuid,
        pci_bus_id=bus,
        product=read.get("nvmlDeviceGetName", card.product),
        memory=read.get(
            "nvmlDeviceGetMemoryInfo", _memory(card), code=NOT_SUPPORTED if card.memory_mib is None else 0
        ),
        capability=read.get("nvmlDeviceGetCudaComputeCapability", card.capability),
        numa_node=value(read.get("nvmlDeviceGetMemoryAffinity", numa), numa_known),
        cpus=value(read.get("nvmlDeviceGetCpuAffinity", card.cpus), cpus_known),
        mig=mig,
        instances=tuple(_instances(card, read)) if isinstance(mig, MigMode) and mig.current else (),
        processes=read.get(_PROCESSES, _processes(_pids_of_all(card))),
        ecc_errors=read.get("nvmlDeviceGetTotalEccErrors", card.ecc_errors, code=not_virtual),
        remapped=read.get(
            "nvmlDeviceGetRemappedRows",
            Remapped(*card.remapped),
            code=NOT_SUPPORTED if old else 0,
        ),
        retirement_pending=read.get(
            "nvmlDeviceGetRetiredPagesPendingStatus",
            card.retirement_pending,
            code=not_virtual if old else NOT_SUPPORTED,
        ),
        recovery=read.get("nvmlDeviceGetFieldValues", card.recovery),
        temperature_c=_temperature(card, read, not_virtual),
        persistence=read.get("nvmlDeviceGetPersistenceMode", card.persistence),
    )


def _temperature(card: MachineCard, read: _Reader, code: int) -> Reading[int]:
    found = read.get("nvmlDeviceGetTemperature", card.temperature_c, code=code)
    if isinstance(found, Failed) and found.code == UNKNOWN_TO_DRIVER:
        return read.get("nvmlDeviceGetTemperatureV", card.temperature_c, code=code)
    return found


def _memory(card: MachineCard) -> Memory:
    total = card.memory_mib or 0
    return Memory(total_mib=total, free_mib=total - card.used_mib)


def _processes(pids: Sequence[int]) -> tuple[Process, ...]:
    return tuple(Process(pid=pid, used_mib=None) for pid in pids)


def _pids_of_all(card: MachineCard) -> list[int]:
    return [*card.processes, *(pid for part in card.instances for pid in part.processes)]


def _instances(card: MachineCard, read: _Reader) -> Iterator[Instance]:
    ceiling = read.get("nvmlDeviceGetMaxMigDeviceCount", card.mig_max)
    parts = {part.slot: part for part in card.instances}
    for slot in range(value(ceiling, 0)):
        handle = read.get("nvmlDeviceGetMigDeviceHandleByIndex", parts.get(slot))
        if isinstance(handle, Failed):
            yield Instance(handle, handle, handle, handle, handle, handle)
        elif handle is not None:
            yield Instance(
                uuid=read.part("nvmlDeviceGetUUID", handle.uuid),
                product=read.part("nvmlDeviceGetName", f"{card.product} MIG {handle.profile}"),
                memory=read.part("nvmlDeviceGetMemoryInfo", Memory(handle.memory_mib, handle.memory_mib)),
                gpu_instance=read.part("nvmlDeviceGetGpuInstanceId", slot + 7),
                compute_instance=read.part("nvmlDeviceGetComputeInstanceId", 0),
                processes=read.part(_PROCESSES, _processes(handle.processes)),
            )


def _topology(machine: Machine, cards: Sequence[tuple[MachineCard, _Reader]]) -> Topology:
    named = sorted(cards, key=lambda pair: pair[0].bus)
    ancestors: dict[tuple[str, str], Ancestor] = {}
    connected: dict[tuple[str, str], bool] = {}
    for place, (one, read) in enumerate(named):
        for other, _ in named[place + 1 :]:
            level = read.get("nvmlDeviceGetTopologyCommonAncestor", ancestor(one.pcie, other.pcie))
            if not isinstance(level, Failed):
                ancestors[one.bus, other.bus] = level
            status = read.get("nvmlDeviceGetP2PStatus", linked(machine, one, other))
            if not isinstance(status, Failed):
                connected[one.bus, other.bus] = status
    buses = [card.bus for card, _ in named]
    return Topology(
        ancestors=ancestors,
        nvlinks={card.bus: tuple(_nvlinks(machine, card, read, buses)) for card, read in named},
        p2p_nvlink=connected,
    )


def _nvlinks(machine: Machine, card: MachineCard, read: _Reader, buses: Sequence[str]) -> Iterator[NvLink]:
    """The card's links as far as its driver tells of them."""
    if card.vgpu or isinstance(read.get("nvmlDeviceGetNvLinkState", None), Failed):
        return
    far = not isinstance(read.get("nvmlDeviceGetNvLinkRemotePciInfo", None), Failed)
    kind = not isinstance(read.get("nvmlDeviceGetNvLinkRemoteDeviceType", None), Failed)
    for link in nvlinks(machine, card):
        to_switch = link.to_switch if kind else far and link.remote_bus_id not in buses
        if to_switch or far:
            yield NvLink(remote_bus_id=link.remote_bus_id if far else "", to_switch=to_switch)


def ancestor(one: str, other: str) -> Ancestor:
    """Where two PCIe paths meet (``nvmlDeviceGetTopologyCommonAncestor``).

    >>> ancestor("n0/h0/r0/s0", "n0/h0/r0/s1").name
    'MULTIPLE'
    >>> ancestor("n0/h0", "n1/h0").name
    'SYSTEM'
    """
    paths = one.split("/"), other.split("/")
    shared = 0
    for left, right in zip(*paths, strict=False):
        if left != right:
            break
        shared += 1
    if shared < 2:  # noqa: PLR2004 - the first part is the NUMA node, the second the host bridge
        return Ancestor.NODE if shared else Ancestor.SYSTEM
    if shared == 2:  # noqa: PLR2004
        return Ancestor.HOSTBRIDGE
    return Ancestor.SINGLE if shared == len(paths[0]) == len(paths[1]) else Ancestor.MULTIPLE


def nvlinks(machine: Machine, card: MachineCard) -> tuple[NvLink, ...]:
    """The card's active NVLinks: to switches first, then to other cards."""
    links = [
        NvLink(remote_bus_id=f"00000000:{0xC4 + at % 6:02X}:00.0", to_switch=True)
        for at in range(card.nvswitch)
    ]
    here = machine.cards.index(card)
    for one, other, lanes in machine.nvlinks:
        if here in {one, other}:
            peer = machine.cards[other if here == one else one]
            links += [NvLink(remote_bus_id=peer.bus, to_switch=False)] * lanes
    return tuple(links)


def linked(machine: Machine, one: MachineCard, other: MachineCard) -> bool:
    """Whether NVML calls the pair connected by NVLink (``nvmlDeviceGetP2PStatus``)."""
    if one.nvswitch and other.nvswitch:
        return True
    return any(not link.to_switch and link.remote_bus_id == other.bus for link in nvlinks(machine, one))
