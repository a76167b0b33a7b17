"""A host that cannot do its part says so, and is not taken for one that went away."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rigs.processes import eventually
from tritium.assign.types import Request
from tritium.errors import GangLost, Unplaceable
from tritium.spark.splits import BySpark, Reading
from tritium.train.assembly import Assembly
from tritium.train.book import Book
from tritium.train.contract import Attempt
from tritium.train.hosting import Place
from tritium.train.lookout import Lookout
from tritium.train.meeting import Meeting
from tritium.train.placing import Asked
from tritium.train.printed import LOGS
from tritium.train.spool import spool
from tritium.train.task import RankTask, _Seat
from tritium.train.unfit import Unfit, or_unfit
from tritium_discovery import holds

HOST = "127.0.0.1"
LARGEST = 512 << 10


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Nobody can write more than `LARGEST` bytes to a file; Python ignores the signal for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rows(*, batches: int) -> Iterator[pa.RecordBatch]:
    for _ in range(batches):
        yield pa.RecordBatch.from_pydict({"x": pa.array([b"x" * LARGEST])})


def test_an_error_of_the_host_has_its_name_and_others_pass() -> None:
    with pytest.raises(Unfit, match=rf"^{socket.gethostname()}: \[Errno 28\] full"), or_unfit():
        raise OSError(28, "full")
    with pytest.raises(ValueError, match="no"), or_unfit():
        raise ValueError("no")


def test_a_shard_that_cannot_be_written_is_told_from_rows_that_cannot_be_read(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows(batches=1)
        raise OSError("Spark's JVM hung up")

    with no_room(), pytest.raises(Unfit, match="File too large"):
        spool(rows(batches=3), tmp_path / "shard.arrow", limit_mib=None)
    with pytest.raises(OSError, match="Spark's JVM hung up"):
        spool(broken(), tmp_path / "shard.arrow", limit_mib=None)


def seat(
    meeting: Meeting, *, function: bytes = b"f", reading: Reading | None = None, hosted: bool = False
) -> _Seat:
    task = RankTask(
        meeting=meeting.address,
        key=meeting.key,
        attempt=Attempt(gang="train-1", number=0, output=None, checkpoints=None, book=Book()),
        asked=Asked(request=Request(members=1, devices_each=1), policy="packed", avoid={}),
        framework="torch",
        function=function,
        reading=reading,
        spool_mib=None,
        silence_s=30.0,
    )
    place = Place(address=meeting.address, _gang="train" if hosted else None)
    return _Seat(task=task, number=0, lookout=Lookout(None), host=HOST, place=place)


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Meeting]:
    """Open a meeting of so many tasks, of a gang whose ranks leave what they do in the test's folder."""
    monkeypatch.setenv("TRITIUM_MACHINE", "dgx-a100")
    monkeypatch.setenv(LOGS, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def opened(size: int) -> Meeting:
        by = time.monotonic() + 60
        assembly = Assembly(gang="train", size=size, launch_s=60, launch_by=by, end_by=None)
        return Meeting(assembly, bind=HOST, host=HOST, heard=lambda _: None, abandoned=lambda: None)

    return opened


@pytest.mark.process
@pytest.mark.parametrize(
    "lacks",
    [{"function": b"f" * 2 * LARGEST}, {"reading": BySpark(why="it is shuffled")}],
    ids=["function", "rows"],
)
def test_a_task_without_room_for_what_its_rank_needs_is_refused_and_not_lost(
    lacks: dict[str, Any], meeting: Callable[[int], Meeting], tmp_path: Path, state: Path
) -> None:
    with contextlib.closing(meeting(1)) as it, no_room():
        row = seat(it, **lacks).sit(rows(batches=3))

    assert row == (-1, None, None)
    error = it._assembly.error
    assert isinstance(error, Unplaceable)
    assert str(error).startswith(f"train: task 0 cannot take part:\n  - {socket.gethostname()}: ")
    assert "File too large" in str(error)
    assert not list(tmp_path.glob("tritium-rank-*"))
    assert not holds.held(state)


@pytest.mark.process
@pytest.mark.parametrize(("hosted", "raises"), [(True, GangLost), (False, EOFError)])
def test_a_task_that_loses_those_that_it_meets_does_not_call_that_an_error_of_its_host(
    meeting: Callable[[int], Meeting], *, hosted: bool, raises: type[Exception]
) -> None:
    it = meeting(2)

    def end() -> None:
        eventually(lambda: it._assembly.hellos)
        it.close()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(raises):
        seat(it, hosted=hosted).sit(rows(batches=0))

    thread.join()
