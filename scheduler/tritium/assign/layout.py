"""Decides inside one host: how many members fit, which devices they get, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from tritium.assign.links import Costs, neighbours, nets
from tritium.assign.ring import arrange
from tritium.assign.rules import Form, Kind
from tritium.assign.subset import EXACT, Quota, best_set, grown_set
from tritium_discovery.device import LinkKind

__all__ = ["Layout", "Shape", "choose", "cpus_near", "farthest", "layout", "room", "shape_of"]


class Layout(NamedTuple):
    """The members of one host by local rank, in positions instead of names: hosts of one shape share it."""

    pools: tuple[int, ...]
    """Each member's pool."""
    devices: tuple[int, ...]
    """All members' devices, one member after the other."""
    cpus: tuple[str, ...]
    """The CPUs near each member's devices."""


class Shape:
    """What hosts of one make have in common; compared by identity, so that caches over it are cheap."""

    __slots__ = ("costs", "cpus", "joined", "kinds", "makes", "pools", "seated", "seats")

    def __init__(
        self,
        kinds: tuple[Kind, ...],
        pools: tuple[int, ...],
        seats: tuple[int | None, ...],
        costs: Costs,
        cpus: tuple[tuple[int, str], ...],
    ) -> None:
        self.kinds = kinds
        """By position of the device."""
        self.makes = tuple(
            (kind, sum(1 << at for at, one in enumerate(kinds) if one == kind))
            for kind in dict.fromkeys(kinds)
        )
        """The devices of each kind, as a bit mask."""
        self.pools = pools
        """Each pool's devices, as a bit mask."""
        self.seats = seats
        """Members that each pool must take; ``None``: as many as fit."""
        self.seated = sum(count or 0 for count in seats)
        """Members that all pools together must take."""
        self.costs = costs
        self.joined = {
            "switch": neighbours(costs, LinkKind.PIX),
            "nvlink": neighbours(costs, LinkKind.NVLINK),
        }
        """Which devices lie on one switch, and which NVLinks join."""
        self.cpus = cpus
        """By position of the device: its NUMA node (-1 where nobody says) and the CPUs next to it."""


shape_of = lru_cache(maxsize=4096)(Shape)
"""The one shape with these values."""


class _Cell(NamedTuple):
    """The devices that one pool and one domain have in common: a member's devices lie in one cell."""

    domain: int
    pool: int
    mask: int


def _cells(shape: Shape, usable: int, near: str) -> list[_Cell]:
    cells = (
        _Cell(d, p, net & part)
        for d, net in enumerate(_domains(shape, usable, near))
        for p, part in enumerate(shape.pools)
    )
    return [cell for cell in cells if cell.mask]


def _domains(shape: Shape, usable: int, near: str) -> tuple[int, ...]:
    """Return the parts of a host, as bit masks, of which a group must not use more than one."""
    return (usable,) if near == "host" else nets(shape.joined[near], usable)


def _positions(mask: int) -> tuple[int, ...]:
    return tuple(position for position in range(mask.bit_length()) if mask >> position & 1)


def room(shape: Shape, usable: int, form: Form) -> int:
    """Return how many groups of members fit into the usable devices of pools without seats."""
    each, group = form.devices_each, form.group
    free = [part & usable for part, seats in zip(shape.pools, shape.seats, strict=True) if seats is None]
    return sum(
        sum((part & net).bit_count() // each for part in free) // group
        for net in _domains(shape, usable, form.near)
    )


@lru_cache(maxsize=4096)
def layout(shape: Shape, usable: int, members: int, form: Form, *, scattered: bool = False) -> Layout:
    """Return the seats, by local rank, of so many members as fit.

    The members are the best set of devices for all of them, or with ``scattered`` those that are
    farthest apart; then cut into members and put into the order of the best ring. Ranks follow the
    domain (if the request names one), the pool, the ring.
    """
    if form.devices_each == 0:
        return _without_devices(shape, members)
    each, chosen = form.devices_each, choose(shape, usable, members, form)
    if scattered:
        chosen = farthest(shape, usable, members, form) or chosen
    pools: list[int] = []
    devices: list[int] = []
    for cell in _cells(shape, usable, form.near):
        mine = _positions(cell.mask & chosen)
        groups_lie_inside = len(mine) % (each * form.group) == 0
        sizes = (each * form.group, each, 1) if groups_lie_inside else (each, 1)
        devices += arrange(shape.costs, mine, sizes)
        pools += [cell.pool] * (len(mine) // each)
    cpus = tuple(cpus_near(shape, devices[start : start + each]) for start in range(0, len(devices), each))
    return Layout(tuple(pools), tuple(devices), cpus)


def _without_devices(shape: Shape, members: int) -> Layout:
    """Seat ranks that compute on the CPU: where Spark has, the others in the first pool without seats."""
    counts = [seats or 0 for seats in shape.seats]
    if None in shape.seats:
        counts[shape.seats.index(None)] = members - sum(counts)
    pools = tuple(pool for pool, count in enumerate(counts) for _ in range(count))
    return Layout(pools, (), ("",) * members)


def farthest(shape: Shape, usable: int, members: int, form: Form) -> int:
    """Return the devices of those members that are farthest apart, of all that would fill the host.

    A member's own devices stay near each other. 0 where groups must lie together, or where there are
    too many members to look at every choice.
    """
    full = tuple(part.bit_count() // form.devices_each for part in (p & usable for p in shape.pools))
    if form.group > 1 or form.near != "host" or not members <= sum(full) <= EXACT:
        return 0
    filled = shape_of(shape.kinds, shape.pools, full, shape.costs, shape.cpus)
    whole = layout(filled, usable, sum(full), form)
    blocks = [
        whole.devices[at : at + form.devices_each] for at in range(0, len(whole.devices), form.devices_each)
    ]
    near = tuple(tuple(-sum(shape.costs[a][b] for a in one for b in two) for two in blocks) for one in blocks)
    parts = [
        sum(1 << at for at, pool in enumerate(whole.pools) if pool == number)
        for number in range(len(shape.pools))
    ]
    seated = ((part, seats) for part, seats in zip(parts, shape.seats, strict=True) if seats is not None)
    quotas = tuple(Quota(part, 1, seats) for part, seats in seated)
    best = best_set(near, members, quotas) or 0
    return sum(1 << device for at, block in enumerate(blocks) if best >> at & 1 for device in block)


@lru_cache(maxsize=4096)
def choose(shape: Shape, usable: int, members: int, form: Form) -> int:
    """Return the best devices for so many members, as a bit mask; 0 if they do not fit."""
    cells = _cells(shape, usable, form.near)
    if usable.bit_count() > EXACT:
        seated = [cell for cell in cells if shape.seats[cell.pool] is not None]
        free = [cell for cell in cells if shape.seats[cell.pool] is None]
        seats = shape.seated
        return _fill(shape, seats, form, seated) | _fill(shape, members - seats, form, free)
    positions, each = _positions(usable), form.devices_each
    quotas = [Quota(cell.mask, each) for cell in cells]
    quotas += [Quota(net, each * form.group) for net in _domains(shape, usable, form.near)]
    quotas += [
        Quota(part & usable, 1, seats * each)
        for part, seats in zip(shape.pools, shape.seats, strict=True)
        if seats is not None
    ]
    local = tuple(quota._replace(part=_pressed(quota.part, positions)) for quota in quotas)
    best = best_set(_between(shape.costs, positions), members * each, local) or 0
    return sum(1 << position for bit, position in enumerate(positions) if best >> bit & 1)


def _pressed(mask: int, positions: tuple[int, ...]) -> int:
    """Return a mask over some positions only, without gaps."""
    return sum(1 << bit for bit, position in enumerate(positions) if mask >> position & 1)


def _fill(shape: Shape, members: int, form: Form, cells: list[_Cell]) -> int:
    """Fill the largest domains and cells first, where there are too many devices to look at every set."""
    left = [members if seats is None else seats for seats in shape.seats]
    room = {cell: cell.mask.bit_count() // form.devices_each for cell in cells}
    chosen, missing = 0, members
    inside: dict[int, list[_Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (-room[cell], cell)):
        inside.setdefault(cell.domain, []).append(cell)
    for domain in sorted(inside, key=lambda domain: -sum(room[cell] for cell in inside[domain])):
        fits = sum(min(room[cell], left[cell.pool]) for cell in inside[domain])
        wanted = min(fits, missing) // form.group * form.group
        for cell in inside[domain]:
            count = min(room[cell], wanted, left[cell.pool])
            grown = grown_set(shape.costs, _positions(cell.mask), count * form.devices_each)
            chosen |= sum(1 << device for device in grown)
            wanted, missing, left[cell.pool] = wanted - count, missing - count, left[cell.pool] - count
    return 0 if missing else chosen


def _between(costs: Costs, positions: tuple[int, ...]) -> Costs:
    return tuple(tuple(costs[one][two] for two in positions) for one in positions)


def cpus_near(shape: Shape, devices: Sequence[int]) -> str:
    """Name the CPUs next to the devices, NUMA node by NUMA node."""
    return ",".join(cpus for _, cpus in sorted({shape.cpus[device] for device in devices}) if cpus)
