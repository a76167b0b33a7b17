"""CUDA_VISIBLE_DEVICES, read as the CUDA driver reads it; NVML itself ignores it.

Source: CUDA C++ Programming Guide, "Environment variables"; PyTorch's ``_parse_visible_devices`` and its
table of cases. Unset means all, empty means none; reading stops at the first entry that names no
device; naming one device twice means none at all; integers and UUIDs are never mixed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tritium_discovery.observation import Uuid

__all__ = ["Candidate", "entries", "visible"]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_LEGACY_MIG = re.compile(r"MIG-(GPU-[0-9a-fA-F-]+)/([0-9]+)/([0-9]+)")


class Candidate(NamedTuple):
    """What an entry can name: a card or a MIG instance."""

    uuid: Uuid
    legacy: str | None = None
    """An instance's name before driver 470: ``MIG-GPU-<uuid>/<gpu instance>/<compute instance>``."""


def entries(text: str) -> tuple[int, ...] | tuple[str, ...]:
    """The entries of the variable: all integers, or all UUIDs (perhaps abbreviated).

    >>> entries("1gpu2,2ampere"), entries("0,1,2,-1,3"), entries("0,1,2,1"), entries("2,+3,-0,5")
    ((1, 2), (0, 1, 2), (), (2, 3, 0, 5))
    >>> entries("one,two,3"), entries("4,3,two"), entries("GPU-123, 2")
    ((), (4, 3), ('GPU-123',))
    """
    words = [word.strip() for word in text.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if words[0].startswith(kind)), None)
    return _integers(words) if kind is None else _uuids(words, kind)


def _integers(words: Sequence[str]) -> tuple[int, ...]:
    found: list[int] = []
    for word in words:
        match = _INTEGER.match(word)
        # strtoul: what follows the digits does not count, and no digits at all is no number.
        number = int(match.group()[:20]) if match else -1
        if number < 0:
            break
        if number in found:
            return ()
        found.append(number)
    return tuple(found)


def _uuids(words: Sequence[str], kind: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in words:
        if not word.startswith(kind):
            break
        if word in found:
            return ()
        found.append(word)
    return tuple(found)


def visible(text: str, candidates: Sequence[Candidate]) -> tuple[Uuid, ...]:
    """The devices that the variable leaves visible, in its order.

    ``candidates`` are in the CUDA order of the whole host.

    >>> host = [Candidate(uuid=Uuid("GPU-aa1")), Candidate(uuid=Uuid("GPU-ab2"))]
    >>> visible("1,0", host), visible("GPU-ab", host), visible("GPU-a", host), visible("0,7,1", host)
    (('GPU-ab2', 'GPU-aa1'), ('GPU-ab2',), (), ('GPU-aa1',))
    """
    found: list[Uuid] = []
    for entry in entries(text):
        named = _named(entry, candidates)
        if named is None:
            break
        if named in found:
            return ()
        found.append(named)
    return tuple(found)


def _named(entry: int | str, candidates: Sequence[Candidate]) -> Uuid | None:
    if isinstance(entry, int):
        return candidates[entry].uuid if entry < len(candidates) else None
    if _LEGACY_MIG.fullmatch(entry):
        return next((one.uuid for one in candidates if one.legacy == entry), None)
    # An abbreviation must name exactly one device.
    matching = [one.uuid for one in candidates if one.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None
