"""A card that breaks under a rank ends the attempt, is named, and is not used by the next one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pyspark import cloudpickle

import tritium
from rigs.cluster import cluster
from tritium.errors import RankFailed, TritiumError

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BUSES = [f"00000000:{number}7:00.0" for number in (1, 2, 3, 4)]


def write(file: Path, *, lost: str | None = None) -> None:
    """Four cards of one host, of which one may have fallen off the bus."""
    cards = [f"  - {{bus: '{bus}'{', lost_after: 0' if bus == lost else ''}}}" for bus in BUSES]
    card = "card: {product: NVIDIA A100-PCIE-40GB, memory_mib: 40960, capability: '8.0'}"
    new = file.with_name("new")
    new.write_text("\n".join(["about: Four cards", card, "cards:", *cards, ""]))
    new.rename(file)


def train(*, machine: str) -> str:
    me = tritium.rank()
    (device,) = me.devices
    if me.attempt == 0 and me.rank == 0:
        write(Path(machine), lost=device.pci_bus_id)
        raise RuntimeError("CUDA error: unspecified launch failure")
    me.barrier()
    return device.uuid


def test_a_card_that_broke_is_not_used_again_even_if_it_seems_well(tmp_path: Path) -> None:
    machine = tmp_path / "four.yaml"
    write(machine)
    heard: list[TritiumError] = []

    def heal(error: TritiumError) -> None:
        heard.append(error)
        write(machine)

    with cluster(machine=str(machine), workers=1, gpus=4):
        gang = tritium.Gang(ranks=2, retries=1, name="train", launch_timeout_s=400)
        result = gang.run(train, machine=str(machine), on_retry=heal)

        (error,) = heard
        assert isinstance(error, RankFailed)
        (bad,) = error.sick
        assert str(error).startswith(
            f"train: rank 0 failed: RuntimeError: CUDA error: unspecified launch failure; {bad}: "
        )
        assert len(set(result.values)) == 2
        assert bad not in result.values
