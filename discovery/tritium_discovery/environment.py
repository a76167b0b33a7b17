"""The environment under which a process sees exactly some devices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tritium_discovery.device import Device

__all__ = ["environment", "warnings"]


def environment(devices: Sequence[Device]) -> Mapping[str, str]:
    """CUDA's variables for these devices, in this order, by UUID: no order of counting can change it."""
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def warnings(devices: Sequence[Device]) -> tuple[str, ...]:
    """What a process under that environment may be surprised by."""
    if len(devices) > 1 and any(device.parent is not None for device in devices):
        sentence = (
            "older CUDA shows a process one MIG instance at most, whatever CUDA_VISIBLE_DEVICES holds: "
            "start one process per instance"
        )
        return (sentence,)
    return ()
