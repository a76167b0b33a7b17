"""The environment under which a process sees exactly some devices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritium_discovery.device import Device
    from tritium_discovery.inventory import Seen

__all__ = ["closed", "environment", "warnings"]


def environment(devices: Sequence[Device]) -> Mapping[str, str]:
    """CUDA's variables for these devices, in this order, by UUID: no order of counting can change it."""
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def closed(count: int) -> str:
    """What is said of cards of the host that NVML counts and this process may not open.

    >>> closed(1)
    '1 more GPU(s) of this host may not be opened from here (device cgroup), and have no address'
    """
    return (
        f"{count} more GPU(s) of this host may not be opened from here (device cgroup), and have no address"
    )


def warnings(devices: Sequence[Device | Seen], *, device_order: str) -> tuple[str, ...]:
    """What those may be surprised by who use these devices by address under this CUDA_DEVICE_ORDER."""
    found = []
    if any(device.parent is not None for device in devices):
        found.append(
            "only Tritium knows which MIG instance an address means, and older CUDA shows a process one "
            "instance at most: start one process per instance, by UUID"
        )
    products = sorted({device.product.partition(" MIG ")[0] for device in devices})
    if len(products) > 1 and device_order != "PCI_BUS_ID":
        found.append(
            f"this host mixes {' and '.join(products)}, which CUDA counts by speed: "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID for whoever uses these addresses"
        )
    return tuple(found)
