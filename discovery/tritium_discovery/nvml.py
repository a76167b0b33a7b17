"""The edge to NVIDIA's driver: one reading of all cards through pynvml.

Every call is made once and its failure kept in its place. The module is imported, and NVML initialised,
only in the short-lived child of `isolate`: state of a driver does not survive a fork.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pynvml

from tritium_discovery.boot import boot_id
from tritium_discovery.errors import DriverError
from tritium_discovery.failure import NO_PERMISSION, UNKNOWN_TO_DRIVER, no_cards, startup_failure
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
from tritium_discovery.sysfs import NVIDIA, PciDevice, accelerators

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
    pci = {device.bus_id: device for device in accelerators(sysfs) if device.vendor == NVIDIA}
    count = _start(tuple(pci))
    driver = read("nvmlSystemGetDriverVersion")
    handles, cards = _cards(count, driver, pci)
    refused = count - len(cards)
    if not cards:
        raise no_cards(pci=tuple(pci), refused=refused)
    listed = {card.pci_bus_id for card in cards}
    unread = refused + sum(isinstance(card.pci_bus_id, Failed) for card in cards)
    unseen = tuple(bus for bus in pci if bus not in listed)
    cuda = read("nvmlSystemGetCudaDriverVersion")
    observation = Observation(
        origin="nvml",
        driver=driver,
        nvml=read("nvmlSystemGetNVMLVersion"),
        cuda=mapped(cuda, lambda number: f"{number // 1000}.{number % 1000 // 10}"),
        cards=cards,
        unseen=unseen if len(unseen) > unread else (),
        refused=refused,
    )
    if not topology or key_of(observation, boot_id()) == known:
        return observation
    return observation._replace(topology=topology_of(cards, handles))


def _cards(
    count: int, driver: Reading[str], pci: Mapping[str, PciDevice]
) -> tuple[list[Reading[Any]], tuple[Card, ...]]:
    """All cards that this process may open, each once: indices may be dealt anew between two calls.

    ``nvmlDeviceGetCount`` counts the others too ("even if nvmlDeviceGetHandleByIndex_v2 returns
    NVML_ERROR_NO_PERMISSION for such device"), and CUDA does not.
    """
    for _ in range(_TRIES):
        found = {index: read("nvmlDeviceGetHandleByIndex", index) for index in range(count)}
        mine = {index: handle for index, handle in found.items() if not _refused(handle)}
        cards = tuple(_card(index, handle, driver, pci) for index, handle in mine.items())
        known = [card.uuid for card in cards if isinstance(card.uuid, str)]
        if len(set(known)) == len(known):
            return list(mine.values()), cards
    raise DriverError(f"NVML listed a card twice, {_TRIES} times in a row: it must be about to change")


def _refused(handle: Reading[Any]) -> bool:
    return isinstance(handle, Failed) and handle.code == NO_PERMISSION


def _start(pci: Sequence[str]) -> int:
    """Initialise NVML and count the cards."""
    started = read("nvmlInit")
    count = started if isinstance(started, Failed) else read("nvmlDeviceGetCount")
    if isinstance(count, Failed):
        loading = _loading() if count.code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND else ""
        raise startup_failure(count.call, count.code, pci=pci, loading=loading)
    return int(count)


def _loading() -> str:
    """What the loader says against a library that is there; the binding keeps it to itself."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as err:
        return "" if "No such file" in str(err) else str(err)
    return ""


def _card(index: int, handle: Reading[Any], driver: Reading[str], pci: Mapping[str, PciDevice]) -> Card:
    mig: Reading[MigMode] = mapped(
        read("nvmlDeviceGetMigMode", handle), lambda two: MigMode(current=two[0] == 1, pending=two[1] == 1)
    )
    uuid = read("nvmlDeviceGetUUID", handle)
    bus = mapped(read("nvmlDeviceGetPciInfo", handle), bus_of)
    kernels = None if isinstance(bus, Failed) else pci.get(bus)
    return Card(
        number=index,
        uuid=uuid,
        pci_bus_id=bus,
        product=read("nvmlDeviceGetName", handle),
        memory=_memory(handle),
        capability=read("nvmlDeviceGetCudaComputeCapability", handle),
        numa_node=_numa(handle, kernels),
        cpus=_cpus(handle, kernels),
        mig=mig,
        instances=_instances(handle, driver) if isinstance(mig, MigMode) and mig.current else (),
        processes=processes(handle, driver),
        # 1, 0: NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC
        ecc_errors=read("nvmlDeviceGetTotalEccErrors", handle, 1, 0),
        remapped=mapped(read("nvmlDeviceGetRemappedRows", handle), _remapped),
        retirement_pending=mapped(read("nvmlDeviceGetRetiredPagesPendingStatus", handle), bool),
        recovery=_recovery(handle),
        temperature_c=_temperature(handle),
        persistence=mapped(read("nvmlDeviceGetPersistenceMode", handle), bool),
    )


def _remapped(four: Sequence[int]) -> Remapped:
    return Remapped(correctable=four[0], uncorrectable=four[1], pending=bool(four[2]), failed=bool(four[3]))


def _memory(handle: Reading[Any]) -> Reading[Memory]:
    """Version 1 of the struct: all drivers have it, and only its ``used`` differs from version 2."""
    return mapped(
        read("nvmlDeviceGetMemoryInfo", handle),
        lambda info: Memory(total_mib=info.total // _MIB, free_mib=info.free // _MIB),
    )


def _instances(handle: Reading[Any], driver: Reading[str]) -> tuple[Instance, ...]:
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
                processes=processes(part, driver),
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


def _temperature(handle: Reading[Any]) -> Reading[int]:
    """By the call that all drivers have so far ("will be removed in CUDA 14.0"), else by its heir."""
    found: Reading[int] = read("nvmlDeviceGetTemperature", handle, 0)
    if isinstance(found, Failed) and found.code == UNKNOWN_TO_DRIVER:
        return read("nvmlDeviceGetTemperatureV", handle, 0)
    return found


def _cpus(handle: Reading[Any], kernels: PciDevice | None) -> str:
    """The array has room for all CPUs of the host: NVML cuts the rest off without a word."""
    mask = read("nvmlDeviceGetCpuAffinity", handle, max(16, -(-os.sysconf("SC_NPROCESSORS_CONF") // 64)))
    if isinstance(mask, Failed):
        return "" if kernels is None else kernels.cpus
    return ranges(_bits(mask))


def _numa(handle: Reading[Any], kernels: PciDevice | None) -> int | None:
    """The one NUMA node of the card's memory affinity, else what the kernel says.

    Not nvmlDeviceGetNumaNodeId: that is the node which a coherent GPU's own memory forms.
    """
    mask = read("nvmlDeviceGetMemoryAffinity", handle, 4, 0)
    if isinstance(mask, Failed):
        return None if kernels is None else kernels.numa_node
    nodes = _bits(mask)
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
