"""Ranks under their guardians, each started in both ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.attended import Attended
from tritium.train.daemon import start_fork_server
from tritium.train.forkserver import DESCRIPTOR
from tritium_discovery import holds


@pytest.fixture(scope="module")
def fork_server() -> Iterator[str]:
    """The server that an executor's daemon would start, with this process in the daemon's place."""
    with start_fork_server() as server:
        found = os.environ.pop(DESCRIPTOR)
        yield found
        os.close(int(found.partition(":")[0]))
        server.kill()


@pytest.fixture(params=["exec", "fork"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A test that uses it runs twice: a rank in a fresh interpreter, and one forked from a loaded server."""
    if request.param == "fork":
        monkeypatch.setenv(DESCRIPTOR, request.getfixturevalue("fork_server"))
    return str(request.param)


@pytest.fixture
def attend(request: pytest.FixtureRequest, way: str) -> Iterator[Callable[..., Attended]]:
    """Start ranks, which end with the test."""
    assert way
    made: list[Attended] = []

    def start(
        function: Callable[..., Any],
        hold: holds.Hold | None = None,
        *,
        silence_s: float = 30.0,
        logs: Path | None = None,
        **kwargs: Any,
    ) -> Attended:
        gang = f"{request.node.name[:40]}-{os.getpid()}"
        made.append(Attended(function, gang, hold, silence_s=silence_s, logs=logs, **kwargs))
        return made[-1]

    yield start
    for attended in made:
        attended.close()
