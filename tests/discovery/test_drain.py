"""Drains: who holds a device is asked to give it up, and nobody else hears it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.processes import eventually
from tritium_discovery import BadState, Uuid, drain, holds

ONE, OTHER = Uuid("GPU-1"), Uuid("GPU-2")

OWNER = """
import sys, time
from pathlib import Path
from tritium_discovery import drain, holds
with holds.take(sys.argv[2:], what="about to load", directory=Path(sys.argv[1])) as hold:
    drainable = drain.Drainable(hold.filenos, what="owner of model 3f", drain_s=2.0)
    print("holds", flush=True)
    while (asked := drainable.asked()) is None:
        time.sleep(0.02)
print(asked.by, flush=True)
"""


def test_an_owner_that_is_asked_gives_its_devices_up(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path, ONE, OTHER], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "holds\n"

        asked = drain.ask(OTHER, by="rank 0 of gang 7c1e", within_s=5.0, directory=tmp_path)

        (holder,) = asked
        assert (holder.pid, holder.what, holder.drain_s) == (owner.pid, "owner of model 3f", 2.0)
        assert owner.stdout.readline() == "rank 0 of gang 7c1e\n"
        eventually(lambda: not holds.held(tmp_path))


def test_a_holder_that_never_gives_way_is_not_asked_and_a_free_device_has_nobody_to_ask(
    tmp_path: Path,
) -> None:
    with holds.take([ONE], what="rank 0 of gang 7c1e", directory=tmp_path):
        assert drain.ask(ONE, by="another", within_s=1.0, directory=tmp_path) == ()

    assert drain.ask(ONE, by="another", within_s=1.0, directory=tmp_path) == ()
    assert drain.ask(OTHER, by="another", within_s=1.0, directory=tmp_path) == ()


def test_the_earliest_deadline_counts_whoever_asks_and_for_whichever_device(tmp_path: Path) -> None:
    with holds.take([ONE, OTHER], what="x", directory=tmp_path) as hold:
        drainable = drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        assert drainable.asked() is None

        for by, uuid, within_s in (("late", ONE, 60.0), ("early", OTHER, 1.0), ("later", OTHER, 30.0)):
            drain.ask(uuid, by=by, within_s=within_s, directory=tmp_path)
        asked = drainable.asked()

    assert asked is not None
    assert asked.by == "early"
    assert 0 < asked.deadline - time.time() <= 1.0


def test_only_the_holder_that_was_decided_on_is_asked(tmp_path: Path) -> None:
    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        drainable = drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        ((holder,),) = holds.held(tmp_path).values()

        assert drain.ask(ONE, of="another (pid 1)", by="gang", within_s=1.0, directory=tmp_path) == ()
        assert drainable.asked() is None
        assert drain.ask(ONE, of=holder.name, by="gang", within_s=1.0, directory=tmp_path) == (holder,)
        assert drainable.asked() is not None


def test_a_device_is_promised_to_the_most_important_who_asked_until_it_is_taken(tmp_path: Path) -> None:
    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        assert not drain.promised(tmp_path)
        for by, priority, within_s in (("first", 0, 2.0), ("gang", 3, 9.0), ("later", 1, 1.0)):
            drain.ask(ONE, by=by, within_s=within_s, priority=priority, directory=tmp_path)
    ask = drain.promised(tmp_path)[ONE]

    with holds.take([ONE], what="rank 0", directory=tmp_path):
        assert not drain.promised(tmp_path)
    assert not drain.promised(tmp_path)
    assert (ask.by, ask.priority) == ("gang", 3)
    assert 0 < ask.deadline - time.time() <= 1.0


def test_a_promise_ends_a_while_after_the_deadline(tmp_path: Path) -> None:
    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        drain.ask(ONE, by="gang", within_s=-4.0, directory=tmp_path)
        assert ONE in drain.promised(tmp_path)

        drain.ask(ONE, by="gang", within_s=-6.0, directory=tmp_path)

        assert ONE not in drain.promised(tmp_path)


def test_an_owner_says_anew_how_important_it_is_and_hears_what_it_was_asked_before(tmp_path: Path) -> None:
    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        drainable = drain.Drainable(hold.filenos, what="owner", drain_s=1.0, priority=4)
        ((before,),) = holds.held(tmp_path).values()
        drain.ask(ONE, by="gang", within_s=1.0, directory=tmp_path)

        drainable.weigh(None)
        ((after,),) = holds.held(tmp_path).values()

        assert (before.priority, after.priority) == (4, None)
        assert after == before._replace(priority=None)
        assert drainable.asked() is not None


def test_what_one_holder_was_asked_the_next_one_never_hears(tmp_path: Path) -> None:
    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        first = drain.Drainable(hold.filenos, what="first", drain_s=1.0)
        drain.ask(ONE, by="gang", within_s=1.0, directory=tmp_path)
        assert first.asked() is not None

    with holds.take([ONE], what="x", directory=tmp_path) as hold:
        second = drain.Drainable(hold.filenos, what="second", drain_s=1.0)

        assert second.asked() is None


def test_something_that_is_no_uuid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadState, match="is no device UUID"):
        holds.take([Uuid("../lock")], what="x", directory=tmp_path)


@given(words=st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_stands_in_the_file_is_never_an_error(
    words: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    with holds.take([ONE], what="x", directory=directory) as hold:
        drainable = drain.Drainable(hold.filenos, what="owner", drain_s=1.0)
        os.pwrite(hold.filenos[0], words.ljust(4096), 4096)

        assert drainable.asked() is None
