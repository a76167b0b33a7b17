"""The wiring of the host, remembered: reading it can take seconds, and it changes only with boot or driver.

Users report 600 ms per pair of cards for what other tools ask (k8s-device-plugin#774).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tritium_discovery.observation import Ancestor, Key, NvLink, Topology
from tritium_discovery.state import open_plain, replace_file

__all__ = ["load", "parse", "save"]

_MOST_BYTES = 1 << 22


def load(directory: Path) -> tuple[Key, Topology] | None:
    """What this user's last run remembered; ``None`` when there is nothing that can be believed.

    Raises:
        BadState: something else lies in its place.
    """
    path = _path(directory)
    if not path.is_symlink() and not path.exists():
        return None
    with os.fdopen(open_plain(path, os.O_RDONLY, mode=0), "rb") as file:
        mine = os.fstat(file.fileno()).st_uid == os.getuid()
        return parse(file.read(_MOST_BYTES)) if mine else None


def parse(text: bytes) -> tuple[Key, Topology] | None:
    """A remembered wiring; ``None`` when the text is none, as it can always be read anew.

    >>> parse(b"{}") is None
    True
    """
    try:
        data = json.loads(text)
        key = Key(
            boot_id=str(data["boot_id"]), driver=str(data["driver"]), buses=tuple(map(str, data["buses"]))
        )
        return key, Topology(
            ancestors={(str(one), str(other)): Ancestor(level) for one, other, level in data["ancestors"]},
            nvlinks={
                str(bus): tuple(NvLink(remote_bus_id=str(to), to_switch=bool(switch)) for to, switch in links)
                for bus, links in data["nvlinks"].items()
            },
            p2p_nvlink={(str(one), str(other)): bool(ok) for one, other, ok in data["p2p_nvlink"]},
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def save(directory: Path, key: Key, topology: Topology) -> None:
    """Remember a wiring, whole or not at all."""
    data = {
        "boot_id": key.boot_id,
        "driver": key.driver,
        "buses": key.buses,
        "ancestors": [[*pair, int(level)] for pair, level in topology.ancestors.items()],
        "nvlinks": {
            bus: [[link.remote_bus_id, link.to_switch] for link in links]
            for bus, links in topology.nvlinks.items()
        },
        "p2p_nvlink": [[*pair, ok] for pair, ok in topology.p2p_nvlink.items()],
    }
    replace_file(_path(directory), json.dumps(data))


def _path(directory: Path) -> Path:
    return directory / f"wiring-{os.getuid()}.json"
