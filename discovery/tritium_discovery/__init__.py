"""Which devices does this host have, and may they be used?

`discover` answers for one process. `claims` says which devices a JVM reported to Spark, `holds` which
process uses one now; both are shared by everything on the host that uses this library.

Names are loaded when they are first used (PEP 562): Spark's script starts anew for each Worker and executor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritium_discovery import claims, drain, holds
    from tritium_discovery.claims import Claim, ClaimedDevice
    from tritium_discovery.device import Device, HostId, Inventory, Link, LinkKind, Origin, Uuid
    from tritium_discovery.errors import (
        BadMachine,
        BadSetting,
        BadState,
        DeviceHeld,
        DiscoveryError,
        DriverError,
        DriverMismatch,
        NoDevice,
        NoDriver,
        NoLibrary,
        NoPermission,
        NotEnough,
        Refused,
        StaleAddress,
        TimedOut,
        Undecidable,
        UnseenDevice,
        Unwritten,
    )
    from tritium_discovery.holds import Hold, Holder
    from tritium_discovery.look import discover
    from tritium_discovery.process import ProcessId, ancestors
    from tritium_discovery.settings import Limits, Settings
    from tritium_discovery.state import host_lock, state_directory

__all__ = [
    "BadMachine",
    "BadSetting",
    "BadState",
    "Claim",
    "ClaimedDevice",
    "Device",
    "DeviceHeld",
    "DiscoveryError",
    "DriverError",
    "DriverMismatch",
    "Hold",
    "Holder",
    "HostId",
    "Inventory",
    "Limits",
    "Link",
    "LinkKind",
    "NoDevice",
    "NoDriver",
    "NoLibrary",
    "NoPermission",
    "NotEnough",
    "Origin",
    "ProcessId",
    "Refused",
    "Settings",
    "StaleAddress",
    "TimedOut",
    "Undecidable",
    "UnseenDevice",
    "Unwritten",
    "Uuid",
    "ancestors",
    "claims",
    "discover",
    "drain",
    "holds",
    "host_lock",
    "state_directory",
]

_HOMES = {
    "claims": ("Claim", "ClaimedDevice"),
    "device": ("Device", "HostId", "Inventory", "Link", "LinkKind", "Origin", "Uuid"),
    "look": ("discover",),
    "errors": (
        "BadMachine",
        "BadSetting",
        "BadState",
        "DeviceHeld",
        "DiscoveryError",
        "DriverError",
        "DriverMismatch",
        "NoDevice",
        "NoDriver",
        "NoLibrary",
        "NoPermission",
        "NotEnough",
        "Refused",
        "StaleAddress",
        "TimedOut",
        "Undecidable",
        "UnseenDevice",
        "Unwritten",
    ),
    "holds": ("Hold", "Holder"),
    "process": ("ProcessId", "ancestors"),
    "settings": ("Limits", "Settings"),
    "state": ("host_lock", "state_directory"),
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that it lives in."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"tritium_discovery.{module}"), name)
    if name in __all__:
        return import_module(f"tritium_discovery.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
