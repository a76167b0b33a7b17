"""Decides what one copy of a model asks the assigner for, in whichever way the model is called."""

from __future__ import annotations

from tritium.assign.types import Request
from tritium.infer.kinds import below

__all__ = ["replica", "unfit"]


def unfit(*, gpu: int, share_mib: int | None) -> list[str]:
    """Say why no copy of a model can have so many devices, or such a share of one.

    >>> unfit(gpu=1, share_mib=4096), unfit(gpu=2, share_mib=4096)
    ([], ['share_mib: a share is of one device, and gpu is 2'])
    """
    problems = below({"gpu": (gpu, 0)})
    if share_mib is not None:
        problems += below({"share_mib": (share_mib, 1)})
        if gpu != 1:
            problems.append(f"share_mib: a share is of one device, and gpu is {gpu}")
    return problems


def replica(
    *, gpu: int, share_mib: int | None, priority: int, min_memory_mib: int = 0, product: str | None = None
) -> Request | None:
    """Return what one copy asks for; nothing on the CPU. The arguments are those of `tritium.predict`."""
    if gpu == 0:
        return None
    return Request(
        members=1,
        devices_each=gpu,
        kind="replicas",
        share_mib=share_mib or 0,
        min_memory_mib=min_memory_mib,
        product=product,
        priority=priority,
    )
