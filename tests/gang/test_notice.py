"""What a gang's first task has to say reaches the others of its host, and nobody without its key."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tritium.train import notice
from tritium.train.notice import posted, read


def test_all_read_what_is_posted_also_those_who_came_before_it() -> None:
    key, come = secrets.token_bytes(32), threading.Barrier(5)

    def reader() -> str:
        come.wait()
        return read(key=key)

    with ThreadPoolExecutor(4) as tasks:
        said = [tasks.submit(reader) for _ in range(4)]
        come.wait()
        time.sleep(0.1)
        with posted("here", key=key):
            assert [one.result(10) for one in said] == ["here"] * 4
            assert read(key=key) == "here"


def test_another_gang_reads_nothing_of_it_and_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "_LIMIT_S", 0.2)

    with posted("here", key=b"ours"), pytest.raises(TimeoutError, match="did not say within"):
        read(key=b"theirs")


def test_a_name_is_free_again_once_its_block_has_ended() -> None:
    for word in ("once", "twice"):
        with posted(word, key=b"same"):
            assert read(key=b"same") == word
