"""Health: may this card be used? Pure rules over readings, each with the document it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tritium_discovery.failure import BROKEN, LOST, NOT_SUPPORTED, UNKNOWN_TO_DRIVER
from tritium_discovery.observation import Card, Failed, Memory, MigMode, Reading, Remapped, value
from tritium_discovery.settings import Limits

__all__ = ["RULES", "Rule", "troubles"]

Rule = Callable[[Card, Limits], str | None]
"""One reason not to use a card, a full sentence with the numbers, or ``None``."""

_ABSURD_C = 200
_RECOVERY: Mapping[int, str] = MappingProxyType(
    {
        1: "a reset of the GPU",
        2: "a reboot of the node",
        3: "draining its peer-to-peer traffic",
        4: "draining and a reset",
        5: "a recovery of the IMEX domain",
        6: "a reset of the PCI bus",
        7: "a reboot of the system",
    }
)


def _lost(card: Card, _: Limits) -> str | None:
    """NVML_ERROR_GPU_IS_LOST: "the GPU has fallen off the bus or has otherwise become inaccessible".

    NVML_ERROR_RESET_REQUIRED: "the GPU requires a reset before it can be used again".
    https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
    """
    others = (card.capability, card.recovery, card.persistence)
    for reading in (card.uuid, card.pci_bus_id, card.product, card.memory, *_judged(card), *others):
        if isinstance(reading, Failed) and reading.code in LOST:
            return f"the card does not answer ({reading}): see dmesg for its Xid, reset it or reboot"
    return None


def _unreadable(card: Card, _: Limits) -> str | None:
    """A card without UUID, bus id or memory size cannot be told apart, one without readings not judged.

    Memory may be refused by design: NOT_SUPPORTED on unified-memory parts, NO_PERMISSION for the parent
    of MIG instances. https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
    """
    for reading in (card.uuid, card.pci_bus_id):
        if isinstance(reading, Failed) and reading.code not in LOST:
            return f"it cannot be identified: {reading}"
    memory = card.memory
    mig = isinstance(card.mig, MigMode) and card.mig.current
    if (
        isinstance(memory, Failed)
        and memory.code not in {NOT_SUPPORTED, UNKNOWN_TO_DRIVER, *LOST}
        and not mig
    ):
        return f"its memory cannot be read: {memory}"
    broken = next((one for one in _judged(card) if isinstance(one, Failed) and one.code in BROKEN), None)
    return None if broken is None else f"its state cannot be read: {broken}"


def _judged(card: Card) -> tuple[Reading[object], ...]:
    """What else rules and choice rest on; not the recovery action, of which old drivers know nothing."""
    return (
        card.mig,
        card.processes,
        card.ecc_errors,
        card.remapped,
        card.retirement_pending,
        card.temperature_c,
    )


def _ecc(card: Card, limits: Limits) -> str | None:
    """Uncorrected volatile errors: double-bit errors since the driver was loaded or the card reset.

    ``nvmlDeviceGetTotalEccErrors(NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC)``;
    https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html
    """
    count = value(card.ecc_errors, 0)
    if count > limits.ecc_errors:
        return f"{count} uncorrected ECC errors since the last reset, {limits.ecc_errors} allowed: reset it"
    return None


def _remap(card: Card, _: Limits) -> str | None:
    """``nvmlDeviceGetRemappedRows``: a failed remapping means RMA, a pending one a reset.

    https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html (row remapping)
    """
    rows = value(card.remapped, Remapped(correctable=0, uncorrectable=0, pending=False, failed=False))
    if rows.failed:
        return "a row remapping failed, its memory has no spare rows left there: have it replaced"
    if rows.pending:
        return "a row remapping is pending: reset it"
    return None


def _retirement(card: Card, _: Limits) -> str | None:
    """``nvmlDeviceGetRetiredPagesPendingStatus``, of cards before the A100.

    https://docs.nvidia.com/deploy/dynamic-page-retirement/index.html
    """
    return (
        "a page retirement is pending: reload the driver"
        if value(card.retirement_pending, default=False)
        else None
    )


def _recovery(card: Card, _: Limits) -> str | None:
    """NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: what the driver itself says must be done.

    https://docs.nvidia.com/deploy/nvml-api/group__nvmlFieldValueEnums.html
    """
    action = value(card.recovery, 0)
    return f"the driver asks for {_RECOVERY.get(action, f'recovery action {action}')}" if action else None


def _mig_change(card: Card, _: Limits) -> str | None:
    """``nvmlDeviceGetMigMode``: current and pending differ until the card is reset.

    https://docs.nvidia.com/datacenter/tesla/mig-user-guide/ (enabling MIG mode)
    """
    mig = value(card.mig, MigMode(current=False, pending=False))
    if mig.current != mig.pending:
        return f"MIG mode is to be switched {'on' if mig.pending else 'off'} at the next reset: reset it"
    if mig.current and not card.instances:
        return "MIG mode is on and it has no instances: create some, or switch MIG off"
    return None


def _absurd(card: Card, limits: Limits) -> str | None:
    """A card whose numbers cannot be true, as seen of cards that are dying while NVML calls them well.

    A dead card whose numbers are all plausible cannot be told without computing on it, which is not for
    discovery to do: the card may be another process's.

    https://github.com/huggingface/gpu-fryer/pull/11; NVML_TEMPERATURE_THRESHOLD_SLOWDOWN is near 90 C.
    """
    memory = value(card.memory, Memory(total_mib=1, free_mib=0))
    if not 0 <= memory.free_mib <= memory.total_mib or memory.total_mib <= 0:
        return f"it says that {memory.free_mib} of {memory.total_mib} MiB are free, which cannot be"
    celsius = value(card.temperature_c, 0)
    if not 0 <= celsius < _ABSURD_C:
        return f"it says that it is {celsius} C warm, which cannot be"
    if celsius > limits.temperature_c:
        return f"it is {celsius} C warm, {limits.temperature_c} C allowed"
    return None


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "lost": _lost,
        "unreadable": _unreadable,
        "ecc": _ecc,
        "remap": _remap,
        "retirement": _retirement,
        "recovery": _recovery,
        "mig-change": _mig_change,
        "absurd": _absurd,
    }
)
"""All rules by name, in the order in which their reasons are given."""


def troubles(card: Card, limits: Limits) -> tuple[str, ...]:
    """Every reason against a card; none means healthy."""
    found = (rule(card, limits) for rule in RULES.values())
    return tuple(reason for reason in found if reason is not None)
