"""Holds: one holder per device, freed by the kernel when the last process that has it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.processes import eventually
from tritium_discovery import DeviceHeld, Uuid, holds
from tritium_discovery.holds import Holder

ONE, OTHER = Uuid("GPU-1"), Uuid("GPU-2")

HOLDER = """
import os, sys, time
from pathlib import Path
from tritium_discovery import holds
hold = holds.take(sys.argv[2:], what="rank 0 of gang 7c1e", directory=Path(sys.argv[1]))
child = os.fork()
if not child:
    holds.adopt(hold.filenos, what="rank 1 of gang 7c1e")
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def test_a_device_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with holds.take([ONE], what="rank 0 of gang 7c1e", directory=tmp_path):
        with pytest.raises(DeviceHeld) as caught:
            holds.take([ONE], what="another", directory=tmp_path)
        assert str(caught.value) == f"device GPU-1 is held by rank 0 of gang 7c1e (pid {os.getpid()})"
        assert caught.value.uuid == ONE

    with holds.take([ONE], what="another", directory=tmp_path):
        assert set(holds.held(tmp_path)) == {ONE}


def test_all_devices_are_taken_or_none(tmp_path: Path) -> None:
    with holds.take([OTHER], what="first", directory=tmp_path):
        with pytest.raises(DeviceHeld):
            holds.take([ONE, OTHER], what="second", directory=tmp_path)

        assert set(holds.held(tmp_path)) == {OTHER}


def test_the_same_device_twice_in_one_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceHeld):
        holds.take([ONE, ONE], what="twice", directory=tmp_path)

    assert holds.held(tmp_path) == {}


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    hold = holds.take([ONE], what="x", directory=tmp_path)
    hold.close()
    other = os.open(os.devnull, os.O_RDONLY)  # likely the same number again

    hold.close()

    os.fstat(other)
    os.close(other)


def test_who_adopts_a_hold_is_its_holder(tmp_path: Path) -> None:
    with holds.take([ONE], what="the launcher", directory=tmp_path) as hold:
        holds.adopt(hold.filenos, what="rank 3 " + "of a gang with a very long name " * 500)

        (holder,) = holds.held(tmp_path)[ONE]

    assert holder.pid == os.getpid()
    assert holder.what.startswith("rank 3 of a gang with a very long name")


def test_a_held_device_is_free_within_100_ms_after_the_last_of_its_processes_is_killed(
    tmp_path: Path,
) -> None:
    # The kernel frees it as the process ends; a busy machine may let us look late, so there are three looks.
    assert min(_freed_after_s(tmp_path) for _ in range(3)) < 0.1


def _freed_after_s(directory: Path) -> float:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory, ONE, OTHER], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        eventually(lambda: holds.held(directory)[ONE][0].pid == child)

        holder.kill()
        holder.wait()
        still = holds.held(directory)
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: not holds.held(directory))
        freed_s = time.monotonic() - killed

    assert {holds.described(having) for having in still.values()} == {f"rank 1 of gang 7c1e (pid {child})"}
    return freed_s


LOOKER = """
import sys
from pathlib import Path
from tritium_discovery import holds
while True:
    holds.held(Path(sys.argv[1]))
    print(".", flush=True)
"""


def test_looking_never_makes_a_taker_fail(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOOKER, tmp_path], stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        for _ in range(200):
            holds.take([ONE, OTHER], what="x", directory=tmp_path).close()
        looker.kill()


@given(note=st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_a_note_says_the_lock_is_the_truth(
    note: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    with holds.take([ONE], what="x", directory=directory) as hold:
        os.pwrite(hold.filenos[0], note.ljust(4096), 0)

        (holder,) = holds.held(directory)[ONE]

    assert isinstance(str(holder), str)
    assert isinstance(holder, Holder)
