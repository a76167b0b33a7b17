"""Claims: which devices a JVM reported to Spark, one file per invocation of gpu-discover.

On hosts without isolation two Workers would report the same cards. A claim is capacity, not occupancy
(that is a hold): it lives as long as the JVM that it was made for, and is the host record through which
a task finds out which card the address "3" meant.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tritium_discovery.errors import BadState, StaleAddress
from tritium_discovery.observation import Uuid
from tritium_discovery.process import ProcessId, line, user_of
from tritium_discovery.state import DRAFT, host_lock, not_ours, open_plain, replace_file

if TYPE_CHECKING:
    from tritium_discovery.device import Device, Inventory
    from tritium_discovery.inventory import Seen

__all__ = ["Claim", "ClaimedDevice", "described", "drop", "live", "make", "parse", "release", "resolve"]

_PREFIX, _SUFFIX = "claim-", ".json"
_LOCK_TIMEOUT_S = 10.0
_MOST_BYTES = 1 << 20


class ClaimedDevice(NamedTuple):
    """One device as it was reported to Spark."""

    address: int
    uuid: Uuid
    pci_bus_id: str


class Claim(NamedTuple):
    """What one invocation of gpu-discover reported, and for whom."""

    id: str
    """Unlike any other, e.g. ``9f2c51d0``."""
    owner: ProcessId
    """The JVM that it was made for."""
    devices: tuple[ClaimedDevice, ...]
    since: float
    """Seconds since the epoch."""
    generation: str
    """The set of cards that the host had then, e.g. ``5b1f03aa``; another one means other addresses."""
    machine: str | None
    """The emulated machine that the devices are of."""


def live(directory: Path) -> tuple[Claim, ...]:
    """The claims whose JVM still lives, oldest first.

    Raises:
        BadState: a claim file cannot be read as one.
    """
    claims = (_read(path) for path in directory.glob(f"{_PREFIX}*{_SUFFIX}"))
    return tuple(
        sorted(
            (claim for claim in claims if claim is not None and claim.owner.alive()),
            key=lambda claim: (claim.since, claim.id),
        )
    )


def described(claims: Iterable[Claim]) -> Mapping[Uuid, str]:
    """Who claimed each device, in words for a reason."""
    return {
        device.uuid: f"claim {claim.id} of the JVM with pid {claim.owner.pid}"
        for claim in claims
        for device in claim.devices
    }


def make(
    choose: Callable[[tuple[Claim, ...]], Sequence[Device | Seen]],
    *,
    owner: ProcessId,
    generation: str,
    directory: Path,
    machine: str | None = None,
    timeout_s: float = _LOCK_TIMEOUT_S,
) -> Claim:
    """Let ``choose`` pick devices knowing the live claims, and claim them, as one step for the host.

    Raises:
        TimedOut: the host's lock could not be had.
        BadState: the directory is broken.
        Unwritten: the disk is full, say.
        DiscoveryError: whatever ``choose`` raises, e.g. NotEnough; nothing is claimed then.
    """
    with host_lock(directory, timeout_s=timeout_s):
        claims = live(directory)
        _sweep(directory, keep={claim.id for claim in claims})
        chosen = choose(claims)
        claim = Claim(
            id=os.urandom(8).hex(),
            owner=owner,
            devices=tuple(
                ClaimedDevice(address=device.address, uuid=device.uuid, pci_bus_id=device.pci_bus_id)
                for device in chosen
            ),
            since=time.time(),
            generation=generation,
            machine=machine,
        )
        _write(claim, directory)
    return claim


def release(directory: Path, *, owner_pid: int) -> int:
    """Drop the claims of one JVM, as our session edge does for its own; return how many there were.

    Raises:
        TimedOut: the host's lock could not be had.
        BadState: a claim file cannot be read as one.
    """
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        mine = [claim for claim in live(directory) if claim.owner.pid == owner_pid]
        for claim in mine:
            _path(directory, claim.id).unlink(missing_ok=True)
    return len(mine)


def drop(directory: Path, *, claim_id: str) -> None:
    """Drop one claim by its id, for a person who knows that its owner is gone.

    Raises:
        BadState: there is no such live claim, or it is another user's.
    """
    with host_lock(directory, timeout_s=_LOCK_TIMEOUT_S):
        if claim_id not in {claim.id for claim in live(directory)}:
            raise BadState(f"there is no live claim {claim_id} in {directory}")
        try:
            _path(directory, claim_id).unlink()
        except PermissionError as err:
            raise BadState(f"claim {claim_id} is another user's") from err


def resolve(addresses: Sequence[int], *, directory: Path, inventory: Inventory) -> tuple[Device, ...]:
    """The devices that Spark meant by ``addresses``, through the claim of the nearest claiming ancestor.

    Without a claim above this process (a container of its own, say) the addresses are positions in what
    it sees itself.

    Raises:
        StaleAddress: an address was never reported, or its card is gone or another one now.
        BadState: a claim file cannot be read as one.
    """
    claimed = _above(line(), live(directory))
    if not claimed:
        return _by_position(addresses, inventory)
    by_uuid = {device.uuid: device for device in inventory.devices}
    by_address = {device.address: device for device in claimed}
    return tuple(_now(address, by_address, by_uuid) for address in addresses)


def _above(line: Iterable[ProcessId], claims: Sequence[Claim]) -> tuple[ClaimedDevice, ...]:
    """What the nearest claiming process of ``line`` claimed; two Workers in one JVM claim for both."""
    for process in line:
        found = tuple(device for claim in claims if claim.owner == process for device in claim.devices)
        if found:
            return found
    return ()


def _now(address: int, claimed: Mapping[int, ClaimedDevice], present: Mapping[Uuid, Device]) -> Device:
    record = claimed.get(address)
    if record is None:
        known = ", ".join(map(str, sorted(claimed)))
        raise StaleAddress(f"address {address} was not reported to this JVM's Spark (it was told {known})")
    device = present.get(record.uuid)
    if device is None:
        raise StaleAddress(
            f"address {address} was {record.uuid} on {record.pci_bus_id} when Spark was told; "
            "that card is not visible any more: restart the Worker"
        )
    return device


def _by_position(addresses: Sequence[int], inventory: Inventory) -> tuple[Device, ...]:
    by_address = {device.address: device for device in inventory.devices}
    for address in addresses:
        if address not in by_address:
            raise StaleAddress(f"address {address} is not among the {len(by_address)} devices seen here")
    return tuple(by_address[address] for address in addresses)


def _path(directory: Path, claim_id: str) -> Path:
    return directory / f"{_PREFIX}{claim_id}{_SUFFIX}"


def _write(claim: Claim, directory: Path) -> None:
    replace_file(_path(directory, claim.id), json.dumps(_document(claim)))


def _document(claim: Claim) -> dict[str, object]:
    devices = [device._asdict() for device in claim.devices]
    return {**claim._asdict(), "owner": claim.owner._asdict(), "devices": devices}


def _sweep(directory: Path, *, keep: set[str]) -> None:
    """Remove dead claims and their drafts; other users' stay (sticky directory) and count for nothing.

    Claims are written under the host's lock, which we have, so a draft of one has lost its writer.
    """
    for path in (*directory.glob(f"{_PREFIX}*{_SUFFIX}"), *directory.glob(f"{DRAFT}*{_PREFIX}*")):
        if path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) not in keep:
            with suppress(OSError):
                path.unlink()


def _read(path: Path) -> Claim | None:
    """The claim in a file; ``None`` when it vanished meanwhile or speaks for another user's process."""
    try:
        fileno = open_plain(path, os.O_RDONLY, mode=0)
    except BadState:
        if not_ours(path):
            return None
        raise
    with os.fdopen(fileno, "rb") as file:
        author = os.fstat(fileno).st_uid
        text = file.read(_MOST_BYTES)
    try:
        claim = parse(text, where=str(path))
    except BadState:
        if author in {0, os.getuid()}:
            raise
        return None  # in the shared directory anybody can leave rubbish: it must not stop the others
    if path != _path(path.parent, claim.id):
        raise BadState(f"{path} holds the claim {claim.id}; remove it")
    speaks_for = user_of(claim.owner.pid)
    if author != 0 and speaks_for is not None and speaks_for != author and claim.owner.alive():
        return None  # anybody may write into the shared directory, but only for processes of their own
    return claim


def parse(text: bytes, *, where: str) -> Claim:
    """A claim from its file's text.

    Raises:
        BadState: it is no claim; ``where`` is named.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        owner = {name: data["owner"][name] for name in ("pid", "start_ticks", "pid_ns")}
        devices = tuple(
            ClaimedDevice(
                address=int(item["address"]), uuid=Uuid(str(item["uuid"])), pci_bus_id=str(item["pci_bus_id"])
            )
            for item in data["devices"]
        )
        return Claim(
            id=str(data["id"]),
            owner=ProcessId(
                **{name: int(value) for name, value in owner.items()}, boot_id=str(data["owner"]["boot_id"])
            ),
            devices=devices,
            since=float(data["since"]),
            generation=str(data["generation"]),
            machine=None if data["machine"] is None else str(data["machine"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as err:
        raise BadState(f"{where} is no claim file ({type(err).__name__}: {err}); remove it") from err
