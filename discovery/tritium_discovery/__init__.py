"""Which devices does this host have, and may they be used?

`discover` answers for one process. `claims` says which devices a JVM reported to Spark, `holds` which
process uses one now; both are shared by everything on the host that uses this library.
"""

from tritium_discovery import claims, holds
from tritium_discovery.claims import Claim, ClaimedDevice
from tritium_discovery.device import Device, HostId, Inventory, Link, LinkKind, Origin, Uuid
from tritium_discovery.discover import discover
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
)
from tritium_discovery.holds import Hold, Holder
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
    "Uuid",
    "ancestors",
    "claims",
    "discover",
    "holds",
    "host_lock",
    "state_directory",
]
