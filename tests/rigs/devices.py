"""Rig: what a test needs of the real devices of a host."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tritium_discovery import Device

__all__ = ["whole"]


def whole(devices: Sequence[Device], *, least: int) -> None:
    """Skip the test where fewer cards are whole."""
    if len([device for device in devices if device.parent is None]) < least:
        pytest.skip(f"{least} whole GPUs are needed")
