"""A task's looks at its devices: the slow one no more often than needed, who holds them each time."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritium.spark.inventory import task_view
from tritium.train import lookout
from tritium.train.lookout import Lookout
from tritium_discovery import NoDriver, TimedOut, Uuid, holds


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that the devices themselves were looked at."""
    found: list[None] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        found.append(None)
        return task_view(*arguments, **options)

    monkeypatch.setenv("TRITIUM_MACHINE", "two-t4")
    monkeypatch.setattr(lookout, "task_view", counted)
    return found


def test_devices_are_looked_at_once_and_their_holders_each_time(looks: list[None], state: Path) -> None:
    seen = Lookout(None)
    seen.ahead()
    first = seen.view()

    with holds.take(first.pool[:1], what="somebody", directory=state):
        second = seen.view()

    assert not first.held
    assert second.held.keys() == {*first.pool[:1]}
    assert len(looks) == 1


def test_after_a_while_they_are_looked_at_again(looks: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Lookout(None)
    seen.ahead()
    later = time.monotonic() + 11
    monkeypatch.setattr(lookout, "time", SimpleNamespace(monotonic=lambda: later))

    seen.view()

    assert len(looks) == 2


def test_what_is_wrong_is_said_when_a_view_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise NoDriver("there is no driver")

    monkeypatch.setattr(lookout, "task_view", wrong)
    seen = Lookout(None)
    seen.ahead()

    with pytest.raises(NoDriver):
        seen.view()


@pytest.mark.parametrize(
    ("error", "blamed"),
    [(NoDriver("it is gone"), {"GPU-1": "it is gone"}), (TimedOut("a busy host"), {})],
    ids=["driver", "host"],
)
def test_devices_are_blamed_for_what_the_driver_says_and_not_for_a_busy_host(
    monkeypatch: pytest.MonkeyPatch, error: Exception, blamed: dict[str, str]
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(lookout, "task_view", wrong)

    assert Lookout(None).sick([Uuid("GPU-1")]) == blamed
