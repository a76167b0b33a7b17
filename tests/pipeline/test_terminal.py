"""What a run shows on a real terminal: bars that fill, and how each stage ended."""

from __future__ import annotations

import os
import pty
import re
import threading
from collections.abc import Callable

from tritium.pipeline.results import Told
from tritium.pipeline.screen import Screen, screen

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(act: Callable[[Screen], None]) -> str:
    """All that was written to a terminal, without its colours and movements."""
    ours, theirs = pty.openpty()
    heard: list[bytes] = []

    def read() -> None:
        while data := _read(ours):
            heard.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as terminal, screen(terminal) as watcher:
        act(watcher)
    reader.join(10)
    os.close(ours)
    return _CONTROL.sub("", b"".join(heard).decode())


def _read(fileno: int) -> bytes:
    try:
        return os.read(fileno, 4096)
    except OSError:  # the other end is closed
        return b""


def test_bars_fill_and_say_how_each_stage_ended() -> None:
    def act(watcher: Screen) -> None:
        watcher.notes("2 devices are emulated")
        watcher.begins("train", attempt=0)
        watcher.hears("train", Told(rank=0, at=0.0, values={"epoch": 3, "epochs": 8, "loss": 0.0712}))
        watcher.ends("train", "finished in 2.0 s")
        watcher.begins("infer", attempt=0)
        watcher.advances("infer", done=1, total=4)
        watcher.fails("infer", "failed: the disk is full")

    text = shown(act)

    assert "2 devices are emulated" in text
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-2:]
    assert re.match(r"✓ train +━+ finished in 2.0 s", last[0]), last
    assert re.match(r"✗ infer +━+[╸╺ ━]* failed: the disk is full", last[1]), last


def test_a_bar_follows_rank_0_to_its_last_epoch() -> None:
    def act(watcher: Screen) -> None:
        watcher.begins("train", attempt=1)
        watcher.hears("train", Told(rank=0, at=0.0, values={"epoch": 8, "epochs": 8}))
        watcher.hears("train", Told(rank=1, at=0.0, values={"epoch": 2, "epochs": 8}))

    text = shown(act)

    assert re.search(r"train +━+ epoch 8/8 ", text)
    assert "2/8" not in text, "the bar is rank 0's"
