"""What a test needs beyond Python: without it, it is skipped and says how to get it; in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["absent", "require"]


def require(found: object, *, what: str, install: str) -> None:
    """Go on if the rig was found; else skip the test, or fail it where CI must run everything."""
    if not found:
        absent(f"{what} is not here; {install}")


def absent(reason: str) -> NoReturn:
    """Skip the test for a reason that names the rig and how to get it; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI runs every test, and {reason}", pytrace=False)
    pytest.skip(reason)
