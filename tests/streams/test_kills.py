"""The driver or an executor is killed in the middle of a batch: what sinks promise holds all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.kafka import Broker
from streams.killing import killed_once

pytestmark = [pytest.mark.kafka, pytest.mark.delta, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("victim", ["driver", "executor"])
def test_tables_have_every_row_once_and_topics_at_least_once_with_the_same_id(
    kafka: Broker, tmp_path: Path, state: Path, victim: str
) -> None:
    found = killed_once(
        kafka,
        victim,
        folder=tmp_path / "run",
        topic=f"killed-{victim}",
        sent=60,
        environment={"TRITIUM_DIR": str(state)},
    )

    kinds = ("delta", "kafka", "parquet", "two tables")
    assert [(one.sink, one.lost) for one in found] == [(kind, 0) for kind in kinds]
    assert {one.sink: one.twice for one in found if one.sink != "kafka"} == dict.fromkeys(
        ("delta", "parquet", "two tables"), 0
    )
    assert all(one.ids == one.sent for one in found)
