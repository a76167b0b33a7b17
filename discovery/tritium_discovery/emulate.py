"""An emulated machine's observation: what NVML would have said of it, without NVML."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

from tritium_discovery.failure import UNKNOWN_TO_DRIVER, error_text, no_cards, startup_failure
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
_NOT_SUPPORTED, _LOST = 3, 15


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
    if not machine.cards:
        raise no_cards(pci=machine.unseen)
    order = machine.order or range(len(machine.cards))
    return Observation(
        origin="emulated",
        machine=machine.name,
        driver=machine.driver,
        nvml=machine.nvml,
        cuda=machine.cuda,
        cards=tuple(_card(machine, machine.cards[at], index) for index, at in enumerate(order)),
        unseen=machine.unseen,
        topology=_topology(machine) if topology else None,
    )


def _hang(call: str) -> None:
    while call:
        time.sleep(3600)


class _Reader:
    """Answers each call with its value, or with the failure that the machine file asks for."""

    def __init__(self, machine: Machine, card: MachineCard) -> None:
        self._missing = frozenset(machine.missing)
        self._codes: Mapping[str, int] = {**machine.fail, **card.fail}
        self._calls_left = card.lost_after
        self._handle = self.get("nvmlDeviceGetHandleByIndex", None)

    def get(self, call: str, answer: _T, *, code: int = 0) -> Reading[_T]:
        """The answer, or the failure: the card's own ``code`` unless the file has another."""
        if isinstance(handle := getattr(self, "_handle", None), Failed):
            return handle  # without a handle there is nothing to ask
        self._calls_left -= 1
        if self._calls_left < 0:
            code = _LOST
        elif call in self._missing:
            code = UNKNOWN_TO_DRIVER
        else:
            code = self._codes.get(call, code)
        return Failed(call=call, code=code, text=error_text(code)) if code else answer


def _card(machine: Machine, card: MachineCard, index: int) -> Card:
    read = _Reader(machine, card)  # in the order of the calls of `nvml`, as a card may be lost in between
    old = card.capability < (8, 0)
    mig = read.get(
        "nvmlDeviceGetMigMode",
        MigMode(current=card.mig, pending=card.mig_pending),
        code=_NOT_SUPPORTED if old else 0,
    )
    not_virtual = _NOT_SUPPORTED if card.vgpu else 0
    return Card(
        number=index,
        uuid=read.get("nvmlDeviceGetUUID", card.uuid),
        pci_bus_id=read.get("nvmlDeviceGetPciInfo", card.bus),
        product=read.get("nvmlDeviceGetName", card.product),
        memory=read.get(
            "nvmlDeviceGetMemoryInfo", _memory(card), code=_NOT_SUPPORTED if card.memory_mib is None else 0
        ),
        capability=read.get("nvmlDeviceGetCudaComputeCapability", card.capability),
        numa_node=value(read.get("nvmlDeviceGetMemoryAffinity", card.numa if card.numa >= 0 else None), None),
        cpus=value(read.get("nvmlDeviceGetCpuAffinity", card.cpus), ""),
        mig=mig,
        instances=_instances(card) if isinstance(mig, MigMode) and mig.current else (),
        processes=read.get(
            "nvmlDeviceGetComputeRunningProcesses",
            tuple(Process(pid=pid, used_mib=None) for pid in card.processes),
        ),
        ecc_errors=read.get("nvmlDeviceGetTotalEccErrors", card.ecc_errors, code=not_virtual),
        remapped=read.get(
            "nvmlDeviceGetRemappedRows",
            Remapped(*card.remapped),
            code=_NOT_SUPPORTED if old else 0,
        ),
        retirement_pending=read.get(
            "nvmlDeviceGetRetiredPagesPendingStatus",
            card.retirement_pending,
            code=not_virtual if old else _NOT_SUPPORTED,
        ),
        recovery=read.get("nvmlDeviceGetFieldValues", card.recovery),
        temperature_c=read.get("nvmlDeviceGetTemperature", card.temperature_c, code=not_virtual),
    )


def _memory(card: MachineCard) -> Memory:
    total = card.memory_mib or 0
    return Memory(total_mib=total, free_mib=total - card.used_mib)


def _instances(card: MachineCard) -> tuple[Instance, ...]:
    return tuple(
        Instance(
            uuid=part.uuid,
            product=f"{card.product} MIG {part.profile}",
            memory=Memory(total_mib=part.memory_mib, free_mib=part.memory_mib),
            gpu_instance=part.slot + 7,
            compute_instance=0,
        )
        for part in card.instances
    )


def _topology(machine: Machine) -> Topology:
    cards = [card for card in machine.cards if card.lost_after]
    pairs = [(one, other) for one in cards for other in cards if one.bus < other.bus]
    return Topology(
        ancestors={(one.bus, other.bus): ancestor(one.pcie, other.pcie) for one, other in pairs},
        nvlinks={card.bus: nvlinks(machine, card) for card in cards},
        p2p_nvlink={(one.bus, other.bus): linked(machine, one, other) for one, other in pairs},
    )


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
