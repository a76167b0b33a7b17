"""The edge to NVIDIA's driver: one reading of all cards through pynvml.

Every call is made once and its failure kept in its place. The module is imported, and NVML initialised,
only in the short-lived child of `isolate`: state of a driver does not survive a fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pynvml

from tritium_discovery.boot import boot_id
from tritium_discovery.errors import DriverError
from tritium_discovery.failure import no_cards, startup_failure
from tritium_discovery.nvml_call import bus_of, error_words, mapped, read
from tritium_discovery.nvml_processes import processes
from tritium_discovery.nvml_wiring import topology as topology_of
from tritium_discovery.observation import (
    Card,
    Failed,
    Instance,
    Key,
    Memory,
    MigMode,
    Observation,
    Reading,
    Remapped,
    key_of,
)
from tritium_discovery.sysfs import NVIDIA, accelerators

__all__ = ["observe"]

_MIB = 1 << 20
_TRIES = 3


def observe(*, topology: bool, known: Key | None, sysfs: Path) -> Observation:
    """Read the host's cards, and how they are wired unless that is ``known`` already.

    The kernel's list of PCI devices, below ``sysfs``, tells a driver without cards from a host without.

    Raises:
        DiscoveryError: NVML does not start; each cause is a class of its own.
        NoDevice: NVML lists no card and there is none on the PCI bus.
        UnseenDevice: NVML lists no card and there is one on the PCI bus.
    """
    if not hasattr(pynvml, "_nvmlGetFunctionPointer"):
        raise DriverError(
            f"{pynvml.__file__} is not NVIDIA's binding: pip install nvidia-ml-py, and no other pynvml"
        )
    pci = tuple(device.bus_id for device in accelerators(sysfs) if device.vendor == NVIDIA)
    count = _start(pci)
    if not count:
        raise no_cards(pci=pci)
    driver = read("nvmlSystemGetDriverVersion")
    handles, cards = _cards(count, driver)
    listed = {card.pci_bus_id for card in cards}
    unread = sum(isinstance(card.pci_bus_id, Failed) for card in cards)
    unseen = tuple(bus for bus in pci if bus not in listed)
    cuda = read("nvmlSystemGetCudaDriverVersion")
    observation = Observation(
        origin="nvml",
        driver=driver,
        nvml=read("nvmlSystemGetNVMLVersion"),
        cuda=mapped(cuda, lambda number: f"{number // 1000}.{number % 1000 // 10}"),
        cards=cards,
        unseen=unseen if len(unseen) > unread else (),
    )
    if not topology or key_of(observation, boot_id()) == known:
        return observation
    return observation._replace(topology=topology_of(cards, handles))


def _cards(count: int, driver: Reading[str]) -> tuple[list[Reading[Any]], tuple[Card, ...]]:
    """All cards, each once: indices may be dealt anew between two calls (``nvmlDeviceGetHandleByIndex``)."""
    for _ in range(_TRIES):
        handles = [read("nvmlDeviceGetHandleByIndex", index) for index in range(count)]
        cards = tuple(_card(index, handle, driver) for index, handle in enumerate(handles))
        known = [card.uuid for card in cards if isinstance(card.uuid, str)]
        if len(set(known)) == len(known):
            return handles, cards
    raise DriverError(f"NVML listed a card twice, {_TRIES} times in a row: it must be about to change")


def _start(pci: Sequence[str]) -> int:
    """Initialise NVML and count the cards."""
    started = read("nvmlInit")
    count = started if isinstance(started, Failed) else read("nvmlDeviceGetCount")
    if isinstance(count, Failed):
        raise startup_failure(count.call, count.code, pci=pci)
    return int(count)


def _card(index: int, handle: Reading[Any], driver: Reading[str]) -> Card:
    mig: Reading[MigMode] = mapped(
        read("nvmlDeviceGetMigMode", handle), lambda two: MigMode(current=two[0] == 1, pending=two[1] == 1)
    )
    return Card(
        number=index,
        uuid=read("nvmlDeviceGetUUID", handle),
        pci_bus_id=mapped(read("nvmlDeviceGetPciInfo", handle), bus_of),
        product=read("nvmlDeviceGetName", handle),
        memory=_memory(handle),
        capability=read("nvmlDeviceGetCudaComputeCapability", handle),
        numa_node=_numa(handle),
        cpus=_cpus(handle),
        mig=mig,
        instances=_instances(handle) if isinstance(mig, MigMode) and mig.current else (),
        processes=processes(handle, driver),
        # 1, 0: NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC
        ecc_errors=read("nvmlDeviceGetTotalEccErrors", handle, 1, 0),
        remapped=mapped(read("nvmlDeviceGetRemappedRows", handle), _remapped),
        retirement_pending=mapped(read("nvmlDeviceGetRetiredPagesPendingStatus", handle), bool),
        recovery=_recovery(handle),
        temperature_c=read("nvmlDeviceGetTemperature", handle, 0),
    )


def _remapped(four: Sequence[int]) -> Remapped:
    return Remapped(correctable=four[0], uncorrectable=four[1], pending=bool(four[2]), failed=bool(four[3]))


def _memory(handle: Reading[Any]) -> Reading[Memory]:
    """Version 1 of the struct: all drivers have it, and only its ``used`` differs from version 2."""
    return mapped(
        read("nvmlDeviceGetMemoryInfo", handle),
        lambda info: Memory(total_mib=info.total // _MIB, free_mib=info.free // _MIB),
    )


def _instances(handle: Reading[Any]) -> tuple[Instance, ...]:
    """The compute instances; the count is a ceiling, and an index without one (NOT_FOUND) is normal."""
    found: list[Instance] = []
    ceiling = read("nvmlDeviceGetMaxMigDeviceCount", handle)
    for slot in range(0 if isinstance(ceiling, Failed) else ceiling):
        part = read("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        if isinstance(part, Failed) and part.code == pynvml.NVML_ERROR_NOT_FOUND:
            continue
        found.append(
            Instance(
                uuid=read("nvmlDeviceGetUUID", part),
                product=read("nvmlDeviceGetName", part),
                memory=_memory(part),
                gpu_instance=read("nvmlDeviceGetGpuInstanceId", part),
                compute_instance=read("nvmlDeviceGetComputeInstanceId", part),
            )
        )
    return tuple(found)


def _recovery(handle: Reading[Any]) -> Reading[int]:
    """Field NVML_FI_DEV_GET_GPU_RECOVERY_ACTION (230), whose own return code stands beside the value."""
    call = "nvmlDeviceGetFieldValues"
    fields = read(call, handle, [230])
    if isinstance(fields, Failed):
        return fields
    code = int(fields[0].nvmlReturn)
    if code:
        return Failed(call=call, code=code, text=error_words(code))
    return int(fields[0].value.uiVal)


def _cpus(handle: Reading[Any]) -> str:
    mask = read("nvmlDeviceGetCpuAffinity", handle, 16)
    return "" if isinstance(mask, Failed) else ranges(_bits(mask))


def _numa(handle: Reading[Any]) -> int | None:
    """The one NUMA node of the card's memory affinity.

    Not nvmlDeviceGetNumaNodeId: that is the node which a coherent GPU's own memory forms.
    """
    mask = read("nvmlDeviceGetMemoryAffinity", handle, 4, 0)
    nodes = [] if isinstance(mask, Failed) else _bits(mask)
    return nodes[0] if len(nodes) == 1 else None


def _bits(words: Sequence[int]) -> list[int]:
    return [64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1]


def ranges(numbers: Sequence[int]) -> str:
    """A sorted list as the kernel writes it.

    >>> ranges([0, 1, 2, 3, 8, 10, 11])
    '0-3,8,10-11'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
