"""The edge to NVIDIA's driver: one reading of all cards through pynvml.

Every call is made once and its failure kept in its place. The module is imported, and NVML initialised,
only in the short-lived child of `isolate`: state of a driver does not survive a fork.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pynvml

from tritium_discovery.errors import DriverError, NoDevice, UnseenDevice
from tritium_discovery.failure import UNKNOWN_TO_DRIVER, startup_failure
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
)
from tritium_discovery.sysfs import accelerators, bus_id

__all__ = ["observe"]

_T = TypeVar("_T")
_MIB = 1 << 20
_NVIDIA = 0x10DE
_P2P_NVLINK = 2
"""NVML_P2P_CAPS_INDEX_NVLINK; the binding's constant for 0 is a tuple by mistake, so numbers are safer."""


def observe(*, topology: bool) -> Observation:
    """Read the host's cards.

    Raises:
        DiscoveryError: NVML does not start; each cause is a class of its own.
        NoDevice: NVML lists no card and there is none on the PCI bus.
        UnseenDevice: NVML lists no card and there is one on the PCI bus.
    """
    if not hasattr(pynvml, "_nvmlGetFunctionPointer"):
        raise DriverError(
            f"{pynvml.__file__} is not NVIDIA's binding: pip install nvidia-ml-py, and no other pynvml"
        )
    pci = tuple(device.bus_id for device in accelerators() if device.vendor == _NVIDIA)
    count = _start(pci)
    if not count:
        if pci:
            raise UnseenDevice(
                f"NVML lists no GPU, with {len(pci)} on the PCI bus ({', '.join(pci)}): this container was "
                "given none, or the driver refused them, see dmesg"
            )
        raise NoDevice("the NVIDIA driver works and this host has no NVIDIA GPU")
    handles = [_read("nvmlDeviceGetHandleByIndex", index) for index in range(count)]
    driver = _read("nvmlSystemGetDriverVersion")
    cards = tuple(_card(index, handle, driver) for index, handle in enumerate(handles))
    listed = {card.pci_bus_id for card in cards}
    unread = sum(isinstance(card.pci_bus_id, Failed) for card in cards)
    unseen = tuple(bus for bus in pci if bus not in listed)
    return Observation(
        origin="nvml",
        driver=driver,
        nvml=_read("nvmlSystemGetNVMLVersion"),
        cuda=_map(
            _read("nvmlSystemGetCudaDriverVersion"), lambda number: f"{number // 1000}.{number % 1000 // 10}"
        ),
        cards=cards,
        unseen=unseen if len(unseen) > unread else (),
        topology=_topology(cards, handles) if topology else None,
    )


def _start(pci: Sequence[str]) -> int:
    """Initialise NVML and count the cards."""
    started = _read("nvmlInit")
    count = started if isinstance(started, Failed) else _read("nvmlDeviceGetCount")
    if isinstance(count, Failed):
        raise startup_failure(count.call, count.code, pci=pci)
    return int(count)


def _read(name: str, *arguments: Any) -> Reading[Any]:
    """One call of the binding, or its failure; an argument that failed itself passes its failure on."""
    for argument in arguments:
        if isinstance(argument, Failed):
            return argument
    try:
        answer = getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as err:
        # The mismatch error of the binding has no code; it stands for a symbol that is not there.
        code = getattr(err, "value", UNKNOWN_TO_DRIVER)
        code = code if isinstance(code, int) else UNKNOWN_TO_DRIVER
        return Failed(
            call=name, code=code, text=str(err) if code != UNKNOWN_TO_DRIVER else "Function Not Found"
        )
    except AttributeError:  # a binding older than the call
        return Failed(call=name, code=UNKNOWN_TO_DRIVER, text="Function Not Found")
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def _map(reading: Reading[Any], convert: Callable[[Any], _T]) -> Reading[_T]:
    return reading if isinstance(reading, Failed) else convert(reading)


def _card(index: int, handle: Reading[Any], driver: Reading[str]) -> Card:
    mig: Reading[MigMode] = _map(
        _read("nvmlDeviceGetMigMode", handle), lambda two: MigMode(current=two[0] == 1, pending=two[1] == 1)
    )
    return Card(
        index=index,
        uuid=_read("nvmlDeviceGetUUID", handle),
        pci_bus_id=_map(_read("nvmlDeviceGetPciInfo", handle), _bus),
        product=_read("nvmlDeviceGetName", handle),
        memory=_memory(handle),
        capability=_read("nvmlDeviceGetCudaComputeCapability", handle),
        numa_node=_numa(handle),
        cpus=_cpus(handle),
        mig=mig,
        instances=_instances(handle) if isinstance(mig, MigMode) and mig.current else (),
        processes=_processes(handle, driver),
        # 1, 0: NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC
        ecc_errors=_read("nvmlDeviceGetTotalEccErrors", handle, 1, 0),
        remapped=_map(_read("nvmlDeviceGetRemappedRows", handle), _remapped),
        retirement_pending=_map(_read("nvmlDeviceGetRetiredPagesPendingStatus", handle), bool),
        recovery=_recovery(handle),
        temperature_c=_read("nvmlDeviceGetTemperature", handle, 0),
    )


def _bus(info: Any) -> str:
    return bus_id(info.busId.decode(errors="replace") if isinstance(info.busId, bytes) else str(info.busId))


def _remapped(four: Sequence[int]) -> Remapped:
    return Remapped(correctable=four[0], uncorrectable=four[1], pending=bool(four[2]), failed=bool(four[3]))


def _memory(handle: Reading[Any]) -> Reading[Memory]:
    """Version 1 of the struct: all drivers have it, and only its ``used`` differs from version 2."""
    return _map(
        _read("nvmlDeviceGetMemoryInfo", handle),
        lambda info: Memory(total_mib=info.total // _MIB, free_mib=info.free // _MIB),
    )


def _instances(handle: Reading[Any]) -> tuple[Instance, ...]:
    """The compute instances; the count is a ceiling, and an index without one (NOT_FOUND) is normal."""
    found: list[Instance] = []
    ceiling = _read("nvmlDeviceGetMaxMigDeviceCount", handle)
    for slot in range(0 if isinstance(ceiling, Failed) else ceiling):
        part = _read("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        if isinstance(part, Failed) and part.code == pynvml.NVML_ERROR_NOT_FOUND:
            continue
        found.append(
            Instance(
                uuid=_read("nvmlDeviceGetUUID", part),
                product=_read("nvmlDeviceGetName", part),
                memory=_memory(part),
            )
        )
    return tuple(found)


def _recovery(handle: Reading[Any]) -> Reading[int]:
    """Field NVML_FI_DEV_GET_GPU_RECOVERY_ACTION (230), whose own return code stands beside the value."""
    call = "nvmlDeviceGetFieldValues"
    fields = _read(call, handle, [230])
    if isinstance(fields, Failed):
        return fields
    code = int(fields[0].nvmlReturn)
    if code:
        return Failed(call=call, code=code, text=_text(code))
    return int(fields[0].value.uiVal)


def _text(code: int) -> str:
    return str(pynvml.NVMLError(code))


class _ProcessV1(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong))


class _ProcessV2(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _ProcessProtected(ctypes.Structure):
    _fields_ = (*_ProcessV2._fields_, ("protected", ctypes.c_ulonglong))


_NO_MEMORY = (1 << 64) - 1
"""NVML_VALUE_NOT_AVAILABLE."""


def _processes(handle: Reading[Any], driver: Reading[str]) -> Reading[tuple[Process, ...]]:
    """The compute processes, by the newest call that the driver has and the struct that it fills.

    The binding knows one struct; drivers 535.43 to 535.86 fill a longer one under the same name, and
    reading it with the wrong size gives wrong pids without any error (gpustat#161).
    """
    if isinstance(handle, Failed):
        return handle
    call = "nvmlDeviceGetComputeRunningProcesses"
    versions: tuple[tuple[str, type[ctypes.Structure]], ...] = (
        ("_v3", _ProcessProtected if _fills_protected(driver) else _ProcessV2),
        ("_v2", _ProcessV2),
        ("", _ProcessV1),
    )
    for suffix, struct in versions:
        function = _read("_nvmlGetFunctionPointer", call + suffix)
        if not isinstance(function, Failed):
            return _listed(call + suffix, function, handle, struct)
    return Failed(call=call, code=UNKNOWN_TO_DRIVER, text="Function Not Found")


def _fills_protected(driver: Reading[str]) -> bool:
    if isinstance(driver, Failed):
        return False
    major, _, rest = driver.partition(".")
    minor = rest.partition(".")[0]
    return major == "535" and minor.isdigit() and 43 <= int(minor) <= 86  # noqa: PLR2004 - the versions named above


def _listed(
    call: str, function: Any, handle: Any, struct: type[ctypes.Structure]
) -> Reading[tuple[Process, ...]]:
    room = 64
    while True:
        count = ctypes.c_uint(room)
        array = (struct * room)()
        code = int(function(handle, ctypes.byref(count), array))
        if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE or room > 1 << 16:
            break
        room = max(2 * room, count.value + 8)  # more may start between two calls
    if code:
        return Failed(call=call, code=code, text=_text(code))
    return tuple(
        Process(pid=entry.pid, used_mib=None if entry.used == _NO_MEMORY else entry.used // _MIB)
        for entry in array[: count.value]
    )


def _cpus(handle: Reading[Any]) -> str:
    mask = _read("nvmlDeviceGetCpuAffinity", handle, 16)
    return "" if isinstance(mask, Failed) else ranges(_bits(mask))


def _numa(handle: Reading[Any]) -> int | None:
    """The one NUMA node of the card's memory affinity.

    Not nvmlDeviceGetNumaNodeId: that is the node which a coherent GPU's own memory forms.
    """
    mask = _read("nvmlDeviceGetMemoryAffinity", handle, 4, 0)
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


def _topology(cards: Sequence[Card], handles: Sequence[Reading[Any]]) -> Topology:
    """The wiring of all cards that can be named; links per card, not per pair, as each call may be slow."""
    named = sorted(
        (card.pci_bus_id, handle)
        for card, handle in zip(cards, handles, strict=True)
        if isinstance(card.pci_bus_id, str)
    )
    ancestors: dict[tuple[str, str], Ancestor] = {}
    connected: dict[tuple[str, str], bool] = {}
    for place, (one, here) in enumerate(named):
        for other, there in named[place + 1 :]:
            level = _read("nvmlDeviceGetTopologyCommonAncestor", here, there)
            if not isinstance(level, Failed) and level in Ancestor:
                ancestors[one, other] = Ancestor(level)
            status = _read("nvmlDeviceGetP2PStatus", here, there, _P2P_NVLINK)
            if not isinstance(status, Failed):
                connected[one, other] = status == 0
    return Topology(
        ancestors=ancestors, nvlinks={bus: _nvlinks(handle) for bus, handle in named}, p2p_nvlink=connected
    )


def _nvlinks(handle: Any) -> tuple[NvLink, ...]:
    """The active links; the first that the card has not (NOT_SUPPORTED, INVALID_ARGUMENT) is the end."""
    found: list[NvLink] = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        state = _read("nvmlDeviceGetNvLinkState", handle, link)
        if isinstance(state, Failed):
            break
        remote = _map(_read("nvmlDeviceGetNvLinkRemotePciInfo", handle, link), _bus)
        if state != 1 or isinstance(remote, Failed):
            continue
        kind = _read("nvmlDeviceGetNvLinkRemoteDeviceType", handle, link)
        found.append(NvLink(remote_bus_id=remote, to_switch=kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH))
    return tuple(found)
