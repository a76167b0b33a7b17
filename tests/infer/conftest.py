"""What modules of inference share: executors whose owners are real processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rigs.owners import Executor


@pytest.fixture
def two_t4(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    """One on a host with two emulated cards."""
    from rigs.owners import executor

    with executor(monkeypatch, machine="two-t4") as found:
        yield found


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    """One on a host with one emulated card."""
    from rigs.owners import executor

    with executor(monkeypatch, machine="one-gpu") as found:
        yield found
