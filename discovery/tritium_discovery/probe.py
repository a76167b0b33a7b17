"""Probes: whom to ask about the host's devices: a vendor's library, a machine file, or the kernel."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tritium_discovery.errors import NoDevice
from tritium_discovery.observation import Card, Failed, MigMode, Observation
from tritium_discovery.sysfs import PciDevice, accelerators

if TYPE_CHECKING:
    from tritium_discovery.observation import Key

__all__ = ["EmulatedProbe", "NvmlProbe", "Probe", "SysfsProbe", "probe_of"]


class Probe(Protocol):
    """One way to read a host. It is pickled and runs in a process of its own, where it may hang."""

    def observe(self, *, topology: bool, known: Key | None) -> Observation:
        """Read all devices, and how they are wired if ``topology`` asks for it and it is not ``known``.

        Raises:
            DiscoveryError: the host cannot be read at all; one broken card is a reading, not an error.
        """


class NvmlProbe(NamedTuple):
    """NVIDIA's driver."""

    sysfs: Path
    """Where the kernel's files lie, to find cards that the driver does not list."""

    def observe(self, *, topology: bool, known: Key | None) -> Observation:
        """As `Probe` says; pynvml is imported only here, in the child."""
        _load_binding()
        from tritium_discovery import nvml

        return nvml.observe(topology=topology, known=known, sysfs=self.sysfs)


def _load_binding() -> None:
    """Import pynvml without what it needs on Windows alone.

    It imports ctypes.util for the sake of one name that it does not use on Linux, and that loads subprocess
    and more: a quarter of the child's time.
    """
    if "ctypes.util" in sys.modules:
        return
    blank = ModuleType("ctypes.util")
    vars(blank)["find_library"] = None
    sys.modules["ctypes.util"] = blank
    try:
        import pynvml  # noqa: F401 - to have it loaded
    finally:
        del sys.modules["ctypes.util"]


class EmulatedProbe(NamedTuple):
    """A machine file."""

    machine: str
    """A shipped machine's name, or a path."""

    def observe(self, *, topology: bool, known: Key | None) -> Observation:
        """As `Probe` says; nothing is worth remembering of a file."""
        del known
        from tritium_discovery import emulate
        from tritium_discovery.machine import load

        return emulate.observe(load(self.machine), topology=topology)


class SysfsProbe(NamedTuple):
    """The kernel's list of PCI devices: the floor for every vendor, without a library.

    It knows where a device is and not how it fares, so such devices are listed and never given out.
    """

    sysfs: Path

    def observe(self, *, topology: bool, known: Key | None) -> Observation:
        """As `Probe` says; PCI devices of all vendors.

        Raises:
            NoDevice: there is no accelerator on the PCI bus.
        """
        del topology, known
        devices = tuple(accelerators(self.sysfs))
        if not devices:
            raise NoDevice(f"there is no accelerator on the PCI bus (below {self.sysfs})")
        return Observation(
            origin="sysfs",
            driver=_UNASKED,
            nvml=_UNASKED,
            cuda=_UNASKED,
            cards=tuple(_card(index, device) for index, device in enumerate(devices)),
        )


_UNASKED = Failed(call="sysfs", code=0, text="only the kernel was asked")


def _card(index: int, device: PciDevice) -> Card:
    return Card(
        number=index,
        uuid=f"PCI-{device.bus_id.replace(':', '-').replace('.', '-')}",
        pci_bus_id=device.bus_id,
        product=f"{device.vendor:04x}:{device.product:04x}",
        memory=_UNASKED,
        capability=_UNASKED,
        numa_node=device.numa_node,
        cpus=device.cpus,
        mig=MigMode(current=False, pending=False),
        instances=(),
        processes=_UNASKED,
        ecc_errors=_UNASKED,
        remapped=_UNASKED,
        retirement_pending=_UNASKED,
        recovery=_UNASKED,
        temperature_c=_UNASKED,
        persistence=_UNASKED,
    )


def probe_of(*, machine: str | None, probe: str, sysfs: Path) -> Probe:
    """The probe that TRITIUM_MACHINE, TRITIUM_PROBE and TRITIUM_SYSFS ask for."""
    if machine:
        return EmulatedProbe(machine)
    return SysfsProbe(sysfs) if probe == "sysfs" else NvmlProbe(sysfs)
