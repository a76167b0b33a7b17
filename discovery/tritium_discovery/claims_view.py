"""Decides what `gpu-discover claims` shows: who claims and who holds what, since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tritium_discovery import claims, holds
from tritium_discovery.device import Uuid

__all__ = ["claim_rows"]


def claim_rows(
    live: Sequence[claims.Claim], held: Mapping[Uuid, Sequence[holds.Holder]]
) -> Iterator[Mapping[str, object]]:
    """Yield a row for each claimed device, with its holder, then each that is held without a claim.

    A device that several share has a row for each of them.
    """
    left = dict(held)
    for claim in live:
        for device in claim.devices:
            for holder in left.pop(device.uuid, ()) or (None,):
                yield {
                    "uuid": device.uuid,
                    "address": device.address,
                    "claimed_by": f"JVM {claim.owner.pid} ({claim.id})",
                    "since": _time(claim.since),
                    "emulated": claim.machine,
                    **_holder(holder),
                }
    claim_of_nobody = dict.fromkeys(("address", "claimed_by", "since", "emulated"))
    for uuid, having in sorted(left.items()):
        yield from ({"uuid": uuid, **claim_of_nobody, **_holder(holder)} for holder in having)


def _holder(holder: holds.Holder | None) -> Mapping[str, object]:
    if holder is None:
        return {"held_by": None, "held_since": None}
    return {"held_by": f"{holder.user}: {holder}", "held_since": _time(holder.since)}


def _time(since: float) -> str:
    try:
        return datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # anybody may have written it
        return f"{since:g}"
