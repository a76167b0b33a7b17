"""Who used which device and when, as tests collect it: no device may be used twice at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

__all__ = ["assert_never_shared"]


def assert_never_shared(uses: Iterable[tuple[str, float, float]]) -> None:
    """Check uses of devices, each as its UUID and the seconds of its begin and end."""
    for one, other in pairwise(sorted(uses)):
        assert one[0] != other[0] or one[2] <= other[1], f"{one} overlaps {other}"
