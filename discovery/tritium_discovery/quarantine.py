"""Quarantine: a device that was ill must look healthy for a while before it is used again.

A card that flaps would otherwise be given out in each of its good moments, and NVML calls a card that just
had a fault well again at once (k8s-device-plugin#1014). Each relapse doubles the wait, up to a day.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tritium_discovery.errors import BadState
from tritium_discovery.inventory import Seen
from tritium_discovery.observation import Uuid
from tritium_discovery.state import open_plain, replace_file

__all__ = ["Record", "advance", "advance_all", "load", "parse", "save"]

_DAY_S = 86400.0
_MOST_BYTES = 1 << 20


class Record(NamedTuple):
    """What is remembered of a device that was ill in this boot."""

    reason: str
    """Its last trouble."""
    strikes: int
    """How often it fell ill, e.g. ``1``."""
    well_since: float | None
    """Seconds since the epoch; ``None`` while it is ill."""


def advance(
    record: Record | None, device: Seen, *, now: float, quarantine_s: float
) -> tuple[Record | None, Seen]:
    """The next record of a device and the device as it may be seen: with a trouble more in quarantine.

    >>> ill = Record(reason="it was 99 C warm", strikes=1, well_since=0.0)
    >>> from tritium_discovery.look import look
    >>> from tritium_discovery.settings import Settings
    >>> card = look(Settings(machine="one-gpu")).devices[0]
    >>> advance(ill, card, now=40.0, quarantine_s=300.0)[1].troubles
    ('in quarantine: it was 99 C warm; it has looked healthy for 40 of 300 s',)
    """
    if device.troubles:
        fresh = record is None or record.well_since is not None
        strikes = (0 if record is None else record.strikes) + fresh
        return Record(reason=device.troubles[0], strikes=strikes, well_since=None), device
    if record is None:
        return None, device
    since = now if record.well_since is None else min(record.well_since, now)
    wait = min(quarantine_s * 2.0 ** min(record.strikes - 1, 30), _DAY_S)
    if now - since >= max(wait, _DAY_S):
        return None, device  # a whole good day: forgotten
    record = record._replace(well_since=since)
    if now - since >= wait:
        return record, device
    trouble = f"in quarantine: {record.reason}; it has looked healthy for {now - since:.0f} of {wait:.0f} s"
    return record, device._replace(troubles=(trouble,))


def advance_all(
    records: Mapping[Uuid, Record], devices: Sequence[Seen], *, now: float, quarantine_s: float
) -> tuple[Mapping[Uuid, Record], tuple[Seen, ...]]:
    """`advance` for all devices; the records of those that are not seen stay as they are."""
    after, judged = dict(records), []
    for device in devices:
        record, seen = advance(records.get(device.uuid), device, now=now, quarantine_s=quarantine_s)
        judged.append(seen)
        after.pop(device.uuid, None)
        if record is not None:
            after[device.uuid] = record
    return after, tuple(judged)


def load(directory: Path, boot_id: str) -> Mapping[Uuid, Record]:
    """The records of this boot that this user's own runs wrote.

    Raises:
        BadState: the file is broken.
    """
    path = _path(directory)
    if not path.is_symlink() and not path.exists():
        return {}
    with os.fdopen(open_plain(path, os.O_RDONLY, mode=0), "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.getuid():
            raise BadState(f"{path} belongs to another user; remove it")
        return parse(file.read(_MOST_BYTES), boot_id=boot_id, where=str(path))


def parse(text: bytes, *, boot_id: str, where: str) -> Mapping[Uuid, Record]:
    """The records in a file; those of another boot count for nothing.

    Raises:
        BadState: it is no such file; ``where`` is named.
    """
    try:
        data = json.loads(text)
        if data["boot_id"] != boot_id:
            return {}
        return {
            Uuid(str(uuid)): Record(
                reason=str(item["reason"]),
                strikes=int(item["strikes"]),
                well_since=None if item["well_since"] is None else float(item["well_since"]),
            )
            for uuid, item in data["records"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as err:
        raise BadState(f"{where} is no quarantine file ({type(err).__name__}: {err}); remove it") from err


def save(directory: Path, boot_id: str, records: Mapping[Uuid, Record]) -> None:
    """Write the records of this user, whole or not at all."""
    data = {"boot_id": boot_id, "records": {uuid: record._asdict() for uuid, record in records.items()}}
    replace_file(_path(directory), json.dumps(data))


def _path(directory: Path) -> Path:
    # One per user: what another user wrote could lock our devices out.
    return directory / f"quarantine-{os.getuid()}.json"
