"""Selection: which of the devices may be reported for a request, and why not the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tritium_discovery.errors import NotEnough
from tritium_discovery.inventory import Seen
from tritium_discovery.observation import Uuid
from tritium_discovery.settings import Settings
from tritium_discovery.sysfs import bus_id

__all__ = ["Verdict", "choose", "idle_words", "judge"]


class Verdict(NamedTuple):
    """One device and every reason why it is left out; none means that it may be used."""

    device: Seen
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it may be reported."""
        return not self.reasons


def judge(
    devices: Sequence[Seen], settings: Settings, *, claimed: Mapping[Uuid, str], held: Mapping[Uuid, str]
) -> tuple[Verdict, ...]:
    """A verdict per device, by address. ``claimed`` and ``held`` say by whom, in words."""
    return tuple(
        Verdict(device=device, reasons=tuple(_reasons(device, settings, claimed, held))) for device in devices
    )


def _reasons(
    device: Seen, settings: Settings, claimed: Mapping[Uuid, str], held: Mapping[Uuid, str]
) -> list[str]:
    found = [*device.troubles, *_unwanted(device, settings)]
    if device.uuid in claimed:
        found.append(f"claimed by {claimed[device.uuid]}")
    # Who holds a device is known to us and counted; only processes that nobody vouches for are foreign.
    if device.processes and device.uuid not in held and not settings.take_busy:
        pids = ", ".join(map(str, device.processes))
        found.append(
            f"foreign processes compute on it (pid {pids}); TRITIUM_TAKE_BUSY=true takes it all the same"
        )
    return found


def _unwanted(device: Seen, settings: Settings) -> list[str]:
    """The filters that the device does not pass."""
    found = []
    if settings.product is not None and settings.product.lower() not in device.product.lower():
        found.append(f"product {device.product}, {settings.product} wanted")
    if device.memory_mib < settings.min_memory_mib:
        found.append(f"{device.memory_mib} MiB of memory, {settings.min_memory_mib} wanted")
    if device.free_mib < settings.min_free_mib:
        found.append(f"{device.free_mib} MiB of memory free, {settings.min_free_mib} wanted")
    if device.capability < settings.min_capability:
        has, wants = (".".join(map(str, pair)) for pair in (device.capability, settings.min_capability))
        found.append(f"compute capability {has}, {wants} wanted")
    if settings.mig_profile is not None and device.mig_profile != settings.mig_profile:
        found.append(f"{device.mig_profile or 'no MIG instance'}, {settings.mig_profile} wanted")
    if settings.allow is not None and not any(_names(word, device) for word in settings.allow):
        found.append("TRITIUM_ALLOW does not name it")
    if any(_names(word, device) for word in settings.deny):
        found.append("TRITIUM_DENY names it")
    return found


def _names(word: str, device: Seen) -> bool:
    """Whether a word names the device: by UUID, by that of its card, by PCI address or by address."""
    if word.isascii() and word.isdigit():
        return int(word) == device.address
    return word in {device.uuid, device.parent} or bus_id(word) == device.pci_bus_id


def idle_words(devices: Sequence[Seen], settings: Settings) -> Iterator[str]:
    """What names nothing in TRITIUM_ALLOW and TRITIUM_DENY: a card that was replaced, or a slip."""
    for variable, words in (("TRITIUM_ALLOW", settings.allow or ()), ("TRITIUM_DENY", settings.deny)):
        for word in words:
            if not any(_names(word, device) for device in devices):
                yield f"{variable}: {word} names no device that is seen here"


def choose(verdicts: Sequence[Verdict], amount: int | None, *, visible: str | None) -> tuple[Seen, ...]:
    """Exactly ``amount`` devices, lowest addresses first; all that may be used when it is ``None``.

    Args:
        verdicts: on every device that this process sees.
        amount: how many are wanted.
        visible: CUDA_VISIBLE_DEVICES, which may be why it sees no more.

    Raises:
        NotEnough: fewer may be used; the reasons against each of the others are in its text.
    """
    kept = [verdict.device for verdict in verdicts if verdict.kept]
    wanted = max(1, len(kept)) if amount is None else amount
    if len(kept) < wanted:
        shown = "" if visible is None else f"the {len(verdicts)} that CUDA_VISIBLE_DEVICES={visible} shows"
        said = (
            "no device"
            if amount is None
            else f"{wanted} {'device' if wanted == 1 else 'devices'} wanted, {len(kept)}"
        )
        raise NotEnough(
            f"{said} of {shown or len(verdicts)} may be used",
            wanted=wanted,
            reasons=list(_against(verdicts)),
        )
    return tuple(kept[:wanted])


def _against(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What speaks against devices, those of one fate in one clause."""
    alike: dict[str, list[Seen]] = {}
    for verdict in verdicts:
        if not verdict.kept:
            alike.setdefault(", ".join(verdict.reasons), []).append(verdict.device)
    for reasons, devices in alike.items():
        if len(devices) == 1:
            yield f"device {devices[0].address} ({devices[0].uuid}): {reasons}"
        else:
            yield f"devices {', '.join(str(device.address) for device in devices)}: {reasons}"
