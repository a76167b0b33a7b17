"""How the cards are wired, as NVML tells it: the NVLinks of each card, the paths between each two."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import pynvml

from tritium_discovery.failure import LOST, UNKNOWN_TO_DRIVER
from tritium_discovery.nvml_call import bus_of, mapped, read
from tritium_discovery.observation import Ancestor, Card, Failed, NvLink, Reading, Topology, value

__all__ = ["topology"]

_LEVELS = frozenset(map(int, Ancestor))
_P2P_NVLINK = 2
"""NVML_P2P_CAPS_INDEX_NVLINK; the binding's constant for 0 is a tuple by mistake, so numbers are safer."""


def topology(cards: Sequence[Card], handles: Sequence[Reading[Any]]) -> Topology:
    """The wiring of all cards that can be named; links per card, not per pair, as each call may be slow."""
    named = sorted(
        (
            (card.pci_bus_id, handle)
            for card, handle in zip(cards, handles, strict=True)
            if isinstance(card.pci_bus_id, str)
        ),
        key=lambda pair: pair[0],
    )
    ancestors: dict[tuple[str, str], Ancestor] = {}
    connected: dict[tuple[str, str], bool] = {}
    for place, (one, here) in enumerate(named):
        for other, there in named[place + 1 :]:
            level = read("nvmlDeviceGetTopologyCommonAncestor", here, there)
            if not isinstance(level, Failed) and level in _LEVELS:
                ancestors[one, other] = Ancestor(level)
            status = read("nvmlDeviceGetP2PStatus", here, there, _P2P_NVLINK)
            if not isinstance(status, Failed):
                connected[one, other] = status == 0
    buses = frozenset(bus for bus, _ in named)
    return Topology(
        ancestors=ancestors,
        nvlinks={bus: _nvlinks(handle, buses) for bus, handle in named},
        p2p_nvlink=connected,
    )


def _nvlinks(handle: Any, cards: AbstractSet[str]) -> tuple[NvLink, ...]:
    """The active links of a card.

    A link that NVML refuses ("if device or link is invalid") says nothing of those behind it. Where the far
    end's kind is not told, as by old drivers, what is none of the ``cards`` is a switch; of a switch that
    this process may not see NVML tells the kind and no bus id.
    """
    found: list[NvLink] = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        state = read("nvmlDeviceGetNvLinkState", handle, link)
        if isinstance(state, Failed) and state.code in {UNKNOWN_TO_DRIVER, *LOST}:
            break
        if state != 1:
            continue
        remote = mapped(read("nvmlDeviceGetNvLinkRemotePciInfo", handle, link), bus_of)
        kind = read("nvmlDeviceGetNvLinkRemoteDeviceType", handle, link)
        if isinstance(kind, Failed):
            to_switch = isinstance(remote, str) and remote not in cards
        else:
            to_switch = kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH
        if to_switch or isinstance(remote, str):
            found.append(NvLink(remote_bus_id=value(remote, ""), to_switch=to_switch))
    return tuple(found)
