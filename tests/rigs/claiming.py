"""Rig: claims of this very process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tritium_discovery import Device, claims
from tritium_discovery.claims import Claim
from tritium_discovery.process import ProcessId, process_id

__all__ = ["claimed", "me"]


def me() -> ProcessId:
    """This process, as an owner."""
    found = process_id(os.getpid())
    assert found is not None
    return found


def claimed(devices: Sequence[Device], directory: Path, *, owner: ProcessId | None = None) -> Claim:
    """Claim these devices for this process, or for another one."""
    return claims.make(lambda _: devices, owner=owner or me(), generation="g", directory=directory)
