"""The matrix of links that people know from ``nvidia-smi topo -m``. Pure text."""

from __future__ import annotations

from tritium_discovery.device import Device, Inventory, Link, LinkKind
from tritium_discovery.table import table

__all__ = ["LEGEND", "draw", "name"]

LEGEND = """\
X     the device itself
NV#   # NVLinks, direct or through NVSwitches
SAME  parts of one card
PIX   at most one PCIe switch between
PXB   several PCIe switches between, no host bridge
PHB   a PCIe host bridge between
NODE  several host bridges of one NUMA node between
SYS   the interconnect between NUMA nodes between"""


def name(link: Link) -> str:
    """A link as ``nvidia-smi topo -m`` spells it.

    >>> name(Link(kind=LinkKind.NVLINK, lanes=12)), name(Link(kind=LinkKind.SYS))
    ('NV12', 'SYS')
    """
    return f"NV{link.lanes}" if link.kind is LinkKind.NVLINK else link.kind.name


def draw(inventory: Inventory) -> str:
    """All pairs of devices, then each one's CPUs' NUMA node."""
    head = ("", *(_label(device) for device in inventory.devices), "NUMA", "CPUS")
    rows = [head]
    for one in inventory.devices:
        cells = (_cell(inventory, one, other) for other in inventory.devices)
        numa = "-" if one.numa_node is None else str(one.numa_node)
        rows.append((_label(one), *cells, numa, one.cpus or "-"))
    return table(rows)


def _label(device: Device) -> str:
    return f"{'MIG' if device.parent else 'GPU'}{device.address}"


def _cell(inventory: Inventory, one: Device, other: Device) -> str:
    if one is other:
        return "X"
    low, high = sorted((one.uuid, other.uuid))
    return name(inventory.links[low, high])
