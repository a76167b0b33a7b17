"""Shares: several hold one device, each so much of its memory, together never more than it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigs.processes import eventually
from tritium_discovery import DeviceHeld, Uuid, drain, holds
from tritium_discovery.claims_view import claim_rows

ONE, OTHER = Uuid("GPU-1"), Uuid("GPU-2")
OF_MIB = 16_000


def share(mib: int, directory: Path, *, what: str = "x", uuid: Uuid = ONE) -> holds.Hold:
    return holds.take_share(uuid, mib, of_mib=OF_MIB, what=what, directory=directory)


def mib_held(directory: Path, uuid: Uuid = ONE) -> list[int | None]:
    return [holder.mib for holder in holds.held(directory).get(uuid, ())]


def test_several_hold_a_device_as_long_as_its_memory_suffices(tmp_path: Path) -> None:
    me = f"(pid {os.getpid()})"
    with share(8_000, tmp_path, what="digits"), share(6_000, tmp_path, what="faces"):
        with pytest.raises(DeviceHeld) as caught:
            share(2_001, tmp_path)
        assert str(caught.value) == (f"device GPU-1 is held by faces {me} (6000 MiB), digits {me} (8000 MiB)")
        with share(2_000, tmp_path):
            assert sorted(filter(None, mib_held(tmp_path))) == [2_000, 6_000, 8_000]
        share(OF_MIB, tmp_path, uuid=OTHER).close()
    assert not holds.held(tmp_path)


def test_equal_shares_are_as_many_as_fit(tmp_path: Path) -> None:
    taken = [share(OF_MIB // 4, tmp_path) for _ in range(4)]

    with pytest.raises(DeviceHeld):
        share(OF_MIB // 4, tmp_path)
    taken.pop(1).close()
    taken.append(share(OF_MIB // 4, tmp_path))

    assert mib_held(tmp_path) == [OF_MIB // 4] * 4
    for hold in taken:
        hold.close()


def test_a_device_is_held_whole_or_in_shares_and_never_both(tmp_path: Path) -> None:
    with holds.take([ONE], what="rank 0", directory=tmp_path):
        with pytest.raises(DeviceHeld, match=r"GPU-1 is held by rank 0 \(pid \d+\)$"):
            share(1, tmp_path)
        assert mib_held(tmp_path) == [None]

    with share(1, tmp_path, what="digits"):
        with pytest.raises(DeviceHeld, match=r"GPU-1 is held by digits \(pid \d+\) \(1 MiB\)$"):
            holds.take([OTHER, ONE], what="rank 0", directory=tmp_path)
        assert mib_held(tmp_path) == [1]
        assert not mib_held(tmp_path, OTHER)


@pytest.mark.parametrize("mib", [0, -1, OF_MIB + 1])
def test_what_is_no_share_of_the_device_is_refused(tmp_path: Path, mib: int) -> None:
    with pytest.raises(ValueError, match=f"a share of {mib} MiB of {OF_MIB}"):
        share(mib, tmp_path)


STEPS = st.lists(st.none() | st.integers(1, OF_MIB) | st.sampled_from(["free", 4_000, 8_000]), max_size=12)


@settings(deadline=None)  # loaded machines are slow
@given(steps=STEPS, data=st.data())
def test_what_is_held_adds_up_whatever_is_taken_and_given_back(
    steps: list[int | str | None], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("law", numbered=True)
    mine: list[tuple[int | None, holds.Hold]] = []
    for step in steps:
        if isinstance(step, str):
            if mine:
                mine.pop(data.draw(st.integers(0, len(mine) - 1)))[1].close()
            continue
        held = [mib for mib, _ in mine]
        fits = not held if step is None else None not in held and step + sum(filter(None, held)) <= OF_MIB
        try:
            hold = share(step, directory) if step else holds.take([ONE], what="rank", directory=directory)
        except DeviceHeld:
            assert not fits
        else:
            assert fits
            mine.append((step, hold))
        assert sorted(mib_held(directory), key=str) == sorted((mib for mib, _ in mine), key=str)
    for _, hold in mine:
        hold.close()


TAKER = """
import fcntl, random, sys, time
from pathlib import Path
from tritium_discovery import DeviceHeld, holds

directory, of_mib, dice = Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])

def count(mib):
    with (directory / "count").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        total = int(file.read() or "0") + mib
        file.seek(0)
        file.write(f"{total:8}")
    assert 0 <= total <= of_mib, f"{total} MiB are promised"

taken = 0
until = time.monotonic() + 60
while taken < 30 and time.monotonic() < until:
    mib = dice.choice([of_mib, of_mib // 2, of_mib // 3, of_mib // 4, 1])
    try:
        if mib == of_mib:
            hold = holds.take(["GPU-1"], what="rank", directory=directory)
        else:
            hold = holds.take_share("GPU-1", mib, of_mib=of_mib, what="owner", directory=directory)
    except DeviceHeld:
        time.sleep(0.001)
        continue
    taken += 1
    count(mib)
    time.sleep(dice.random() / 200)
    count(-mib)
    hold.close()
assert taken == 30, taken
"""


def test_takers_in_several_processes_are_never_promised_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "count").touch()
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, tmp_path, str(OF_MIB), str(seed)]) for seed in range(5)
    ]

    assert [taker.wait(90) for taker in takers] == [0] * 5
    assert not holds.held(tmp_path)


OWNER = """
import sys, time
from pathlib import Path
from tritium_discovery import drain, holds
hold = holds.take_share("GPU-1", int(sys.argv[2]), of_mib=16000, what="task 0", directory=Path(sys.argv[1]))
drainable = drain.Drainable(hold.filenos, what=f"owner of {sys.argv[2]}", drain_s=2.0, priority=0)
print("holds", flush=True)
while (asked := drainable.asked()) is None:
    time.sleep(0.02)
print(asked.by, flush=True)
sys.stdin.read()
"""


def owner(mib: int, directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, directory, str(mib)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_the_death_of_one_frees_its_share_and_no_others(tmp_path: Path) -> None:
    with owner(9_000, tmp_path) as first, owner(7_000, tmp_path) as second:
        first.kill()
        eventually(lambda: mib_held(tmp_path) == [7_000])

        with share(9_000, tmp_path):
            (other,) = [one for one in holds.held(tmp_path)[ONE] if one.mib == 7_000]
        second.kill()

    assert (other.pid, other.what) == (second.pid, "owner of 7000")
    eventually(lambda: not holds.held(tmp_path))


def test_all_who_share_a_device_are_asked_for_it_and_each_has_a_note_of_its_own(tmp_path: Path) -> None:
    with owner(4_000, tmp_path) as first, owner(8_000, tmp_path) as second:
        having = holds.held(tmp_path)[ONE]
        asked = drain.ask(ONE, by="gang", within_s=5.0, priority=1, directory=tmp_path)
        heard = [process.communicate()[0] for process in (first, second)]

    assert asked == having
    assert [(one.pid, one.what, one.mib, one.drain_s, one.priority) for one in having] == [
        (first.pid, "owner of 4000", 4_000, 2.0, 0),
        (second.pid, "owner of 8000", 8_000, 2.0, 0),
    ]
    assert heard == ["gang\n", "gang\n"]


def test_one_of_those_who_share_a_device_is_asked_and_the_others_never_hear_it(tmp_path: Path) -> None:
    with share(4_000, tmp_path) as first, share(4_000, tmp_path) as second:
        drains = [
            drain.Drainable(hold.filenos, what=what, drain_s=1.0)
            for hold, what in ((first, "first"), (second, "second"))
        ]
        (name,) = [one.name for one in holds.held(tmp_path)[ONE] if one.what == "second"]

        asked = drain.ask(ONE, of=name, by="gang", within_s=5.0, directory=tmp_path)

        assert [one.what for one in asked] == ["second"]
        assert [one.asked() is not None for one in drains] == [False, True]


def test_a_shared_device_is_promised_to_who_asked_until_it_had_it(tmp_path: Path) -> None:
    with share(4_000, tmp_path) as first, share(8_000, tmp_path) as second:
        for hold in (first, second):
            drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        drain.ask(ONE, by="model", within_s=1.0, priority=0, directory=tmp_path)
        drain.ask(ONE, by="gang", within_s=1.0, priority=1, directory=tmp_path)
        first.close()
        assert drain.promised(tmp_path)[ONE].by == "gang"
    assert drain.promised(tmp_path)[ONE].by == "gang"

    holds.take([ONE], what="rank 0 of gang", directory=tmp_path).close()

    assert not drain.promised(tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_of_all_that_sharers_were_asked_the_most_important_counts(tmp_path: Path, order: int) -> None:
    with share(4_000, tmp_path) as small, share(8_000, tmp_path) as large:
        for hold, what in ((small, "small"), (large, "large")):
            drain.Drainable(hold.filenos, what=what, drain_s=1.0)
        first, second = (one.name for one in holds.held(tmp_path)[ONE][::order])
        drain.ask(ONE, of=first, by="soon", within_s=1.0, priority=0, directory=tmp_path)
        drain.ask(ONE, of=second, by="gang", within_s=9.0, priority=1, directory=tmp_path)

        assert drain.promised(tmp_path)[ONE].by == "gang"


@settings(deadline=None)  # loaded machines are slow
@given(note=st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_a_note_says_the_share_is_what_was_taken(
    note: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    with share(OF_MIB, directory) as hold:
        os.pwrite(hold.filenos[0], note.ljust(4096), 0)

        assert mib_held(directory) == [OF_MIB]
        with pytest.raises(DeviceHeld):
            share(1, directory)


@pytest.mark.parametrize(
    "name", ["share-GPU-1.x.0", "share-GPU-1.0.0", "share-GPU-1.5", "share-", "hold-", "hold-GPU-1.5.0"]
)
def test_files_of_other_names_stand_for_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/etc/passwd")

    with share(1_000, tmp_path):
        assert list(holds.held(tmp_path)) == [ONE]


def test_claims_show_a_row_for_each_who_shares_a_device(tmp_path: Path) -> None:
    with share(4_000, tmp_path, what="digits"), share(8_000, tmp_path, what="faces"):
        rows = list(claim_rows((), holds.held(tmp_path)))

    assert [row["uuid"] for row in rows] == [ONE, ONE]
    assert [str(row["held_by"]).partition(": ")[2] for row in rows] == [
        f"digits (pid {os.getpid()}) (4000 MiB)",
        f"faces (pid {os.getpid()}) (8000 MiB)",
    ]
