"""Emulated machines: a host written down as YAML, parsed into one model.

The emulated probe and the C library of the tests are two renderings of it. The files that ship lie in
``machines/``; TRITIUM_MACHINE takes one of their names, or a path.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritium_discovery.errors import BadMachine
from tritium_discovery.typed import Typed

__all__ = ["Machine", "MachineCard", "MachineInstance", "load", "names", "parse"]

_SHIPPED = Path(__file__).parent / "machines"
_NO_MORE = 1 << 40
_MOST_LINKS = 18
"""Of one card so far (Hopper and Blackwell)."""
_MOST_INSTANCES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineInstance:
    """A MIG compute instance of a card."""

    slot: int
    """Its MIG index; slots in between may be empty, as ``nvmlDeviceGetMaxMigDeviceCount`` is a ceiling."""
    profile: str
    """E.g. ``1g.5gb``."""
    memory_mib: int
    uuid: str
    processes: tuple[int, ...] = ()
    """Pids of its compute processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCard:
    """One card of a machine, with its faults."""

    uuid: str
    bus: str
    """PCI bus id, e.g. ``00000000:07:00.0``."""
    product: str = "NVIDIA A100-SXM4-40GB"
    memory_mib: int | None = 40960
    """``None`` on unified-memory parts, where NVML does not say."""
    used_mib: int = 0
    capability: tuple[int, int] = (8, 0)
    numa: int = -1
    """-1 where the platform does not say, as in sysfs."""
    cpus: str = ""
    """E.g. ``48-63,176-191``."""
    pcie: str = ""
    """Node, host bridge and switches from the root down, e.g. ``n0/h0/s1``."""
    nvswitch: int = 0
    """How many NVLinks go to NVSwitches."""
    nvlink_gaps: tuple[int, ...] = ()
    """Numbers of NVLinks that the card has not, in front of or between those that it has."""
    mig: bool = False
    mig_pending: bool = False
    mig_max: int = 7
    instances: tuple[MachineInstance, ...] = ()
    processes: tuple[int, ...] = ()
    """Pids of compute processes, beside those on its instances."""
    ecc_errors: int = 0
    remapped: tuple[int, int, bool, bool] = (0, 0, False, False)
    """Correctable, uncorrectable, pending, failed."""
    retirement_pending: bool = False
    recovery: int = 0
    temperature_c: int = 35
    persistence: bool = True
    """Whether the driver keeps the card awake."""
    vgpu: bool = False
    lost_after: int = _NO_MORE
    """The card is lost from this many NVML calls on it; 0: at once."""
    fail: Mapping[str, int] = field(default_factory=dict)
    """NVML codes by call, e.g. ``{nvmlDeviceGetMemoryInfo: 4}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host: its driver, its cards and how they are wired."""

    name: str
    about: str = ""
    driver: str = "550.90.07"
    nvml: str = "12.550.90.07"
    cuda: str = "12.4"
    init: int = 0
    """What nvmlInit answers, e.g. ``9`` (driver not loaded); 12: there is no library at all."""
    cards: tuple[MachineCard, ...] = ()
    nvlinks: tuple[tuple[int, int, int], ...] = ()
    """Direct NVLinks: one card, another, how many."""
    missing: tuple[str, ...] = ()
    """Symbols that this driver's library does not have."""
    hang: tuple[str, ...] = ()
    """Calls that never come back."""
    fail: Mapping[str, int] = field(default_factory=dict)
    """NVML codes by call, for all cards."""
    order: tuple[int, ...] = ()
    """In which order the library lists the cards; empty: by PCI bus."""
    reorder: bool = False
    """Whether the first two cards trade places once, between two calls."""
    vanish_after: int = _NO_MORE
    """The last card leaves the count after this many calls of nvmlDeviceGetCount."""
    unseen: tuple[str, ...] = ()
    """Bus ids of GPUs that are on the PCI bus and that NVML does not list."""


def names() -> tuple[str, ...]:
    """The machines that ship."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def load(name: str) -> Machine:
    """A machine by the name of one that ships, or by the path of a file.

    Raises:
        BadMachine: there is none, or its file is wrong; the place in the file is named.
    """
    import yaml  # only here: it takes longer to load than everything else together

    path = Path(name) if "/" in name or name.endswith(".yaml") else _SHIPPED / f"{name}.yaml"
    if not path.is_file():
        raise BadMachine(
            f"there is no emulated machine {name!r}; there are {', '.join(names())}, or give a path"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as err:
        raise BadMachine(f"machine file {path} cannot be read: {' '.join(str(err).split())}") from err
    try:
        return parse(data, name=path.stem)
    except BadMachine as err:
        raise BadMachine(f"machine file {path}: {err}") from err


def parse(data: object, *, name: str) -> Machine:
    """A machine from what its file holds; keys are the fields of `Machine` and `MachineCard`.

    ``card`` holds what all ``cards`` have in common.

    Raises:
        BadMachine: a key is unknown or a value of the wrong shape; its path is named.
    """
    top = Typed(data, at="")
    cards = _cards(top, name)
    _unlike(cards, name)
    nvlinks = top.sequence("nvlinks", ())
    order = tuple(top.integers("order"))
    if order and sorted(order) != list(range(len(cards))):
        raise BadMachine(
            f"machine {name}: order: expected each of the {len(cards)} cards once, got {list(order)}"
        )
    machine = Machine(
        name=name,
        about=top.take("about", str, ""),
        driver=top.take("driver", str, "550.90.07"),
        nvml=top.take("nvml", str, "12.550.90.07"),
        cuda=top.take("cuda", str, "12.4"),
        init=top.take("init", int, 0),
        cards=cards,
        nvlinks=tuple(_triple(item, f"nvlinks[{at}]", len(cards)) for at, item in enumerate(nvlinks)),
        missing=top.strings("missing"),
        hang=top.strings("hang"),
        fail=top.codes("fail"),
        order=order,
        reorder=top.take("reorder", bool, False),
        vanish_after=top.take("vanish_after", int, _NO_MORE),
        unseen=top.strings("unseen"),
    )
    top.finish()
    return machine


def _cards(top: Typed, machine: str) -> tuple[MachineCard, ...]:
    common = top.mapping("card")
    return tuple(
        _card(Typed({**common, **top.child(item, f"cards[{at}]").data}, at=f"cards[{at}]"), machine, at)
        for at, item in enumerate(top.sequence("cards", ()))
    )


def _unlike(cards: Sequence[MachineCard], machine: str) -> None:
    """Refuse two devices of one UUID, or two cards in one place: no host has them."""
    uuids = [card.uuid for card in cards] + [part.uuid for card in cards for part in card.instances]
    for names in (uuids, [card.bus for card in cards]):
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise BadMachine(f"machine {machine}: two devices are called {twice}")


def _card(item: Typed, machine: str, index: int) -> MachineCard:
    uuid = item.take("uuid", str, _uuid("GPU", machine, index))
    capability = item.take("capability", str, "8.0").partition(".")
    if not (capability[0].isdigit() and capability[2].isdigit()):
        raise BadMachine(f"{item.at}.capability: expected such as '8.0'")
    memory = item.take("memory_mib", int, 40960)
    card = MachineCard(
        uuid=uuid,
        bus=item.take("bus", str, f"00000000:{index + 1:02X}:00.0"),
        product=item.take("product", str, "NVIDIA A100-SXM4-40GB"),
        memory_mib=memory if memory >= 0 else None,
        used_mib=item.take("used_mib", int, 0),
        capability=(int(capability[0]), int(capability[2])),
        numa=item.take("numa", int, -1),
        cpus=item.take("cpus", str, ""),
        pcie=item.take("pcie", str, f"n0/h{index}"),
        nvswitch=item.count("nvswitch", 0, most=_MOST_LINKS),
        nvlink_gaps=item.integers("nvlink_gaps"),
        mig=item.take("mig", bool, False),
        mig_pending=item.take("mig_pending", bool, item.data.get("mig", False) is True),
        mig_max=item.count("mig_max", 7, most=_MOST_INSTANCES),
        instances=tuple(
            _instance(item.child(part, f"{item.at}.instances[{place}]"), machine, index)
            for place, part in enumerate(item.sequence("instances", ()))
        ),
        processes=item.integers("processes"),
        ecc_errors=item.take("ecc_errors", int, 0),
        remapped=_remapped(item),
        retirement_pending=item.take("retirement_pending", bool, False),
        recovery=item.take("recovery", int, 0),
        temperature_c=item.take("temperature_c", int, 35),
        persistence=item.take("persistence", bool, True),
        vgpu=item.take("vgpu", bool, False),
        lost_after=item.take("lost_after", int, _NO_MORE),
        fail=item.codes("fail"),
    )
    item.finish()
    return card


def _remapped(item: Typed) -> tuple[int, int, bool, bool]:
    rows = item.child(item.mapping("remapped"), f"{item.at}.remapped")
    found = (
        rows.take("correctable", int, 0),
        rows.take("uncorrectable", int, 0),
        rows.take("pending", bool, False),
        rows.take("failed", bool, False),
    )
    rows.finish()
    return found


def _instance(item: Typed, machine: str, card: int) -> MachineInstance:
    slot = item.take("slot", int, 0)
    instance = MachineInstance(
        slot=slot,
        profile=item.take("profile", str, "1g.5gb"),
        memory_mib=item.take("memory_mib", int, 4864),
        uuid=item.take("uuid", str, _uuid("MIG", machine, card * 100 + slot)),
        processes=item.integers("processes"),
    )
    item.finish()
    return instance


def _uuid(kind: str, machine: str, number: int) -> str:
    """An identity that is the same on every run and another one on every machine.

    >>> _uuid("GPU", "dgx-a100", 0) == _uuid("GPU", "dgx-a100", 0) != _uuid("GPU", "dgx-a100", 1)
    True
    """
    base = f"{zlib.crc32(machine.encode()):08x}-7472-4974-8975"
    return f"{kind}-{base}-{number:012x}"


def _triple(item: object, at: str, cards: int) -> tuple[int, int, int]:
    if (
        isinstance(item, list)
        and len(item) == 3  # noqa: PLR2004 - a triple
        and all(type(number) is int for number in item)
        and 0 <= item[0] < cards
        and 0 <= item[1] < cards
        and item[0] != item[1]
        and 0 < item[2] <= _MOST_LINKS
    ):
        return item[0], item[1], item[2]
    raise BadMachine(f"{at}: expected [card, other card, 1 to 18 links], got {item!r}")
