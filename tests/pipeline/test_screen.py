"""On a terminal there are bars, elsewhere plain lines."""

from __future__ import annotations

import io

from tritium.pipeline.results import Told
from tritium.pipeline.screen import Screen, screen


def told(rank: int, epoch: int) -> Told:
    return Told(rank=rank, at=0.0, values={"epoch": epoch, "epochs": 2, "loss": 0.5})


def play(shown: Screen) -> None:
    shown.notes("spark: starts")
    shown.begins("train", attempt=0)
    shown.hears("train", told(0, 1))
    shown.hears("train", told(1, 1))
    shown.fails("train", "lost; retry 1 of 1")
    shown.begins("train", attempt=1)
    shown.hears("train", told(0, 2))
    shown.ends("train", "finished in 2.0 s")
    shown.begins("infer", attempt=0)
    shown.advances("infer", done=1, total=4)
    shown.ends("infer", "finished in 1.0 s")


def test_where_stderr_is_no_terminal_each_thing_is_one_plain_line() -> None:
    stream = io.StringIO()

    with screen(stream) as shown:
        play(shown)

    assert stream.getvalue().splitlines() == [
        "spark: starts",
        "train: begins",
        "train: rank 0: epoch 1/2, loss 0.5",
        "train: rank 1: epoch 1/2, loss 0.5",
        "train: lost; retry 1 of 1",
        "train: begins again, retry 1",
        "train: rank 0: epoch 2/2, loss 0.5",
        "train: finished in 2.0 s",
        "infer: begins",
        "infer: 1 of 4 tasks",
        "infer: finished in 1.0 s",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_are_bars_that_rank_0_fills() -> None:
    stream = Terminal()

    with screen(stream) as shown:
        play(shown)

    text = stream.getvalue()
    assert "\x1b[" in text
    assert "finished in 2.0 s" in text
    assert "spark: starts" in text
    assert "✓" in text


def test_a_failed_stage_gets_a_cross_and_its_bar_is_not_filled() -> None:
    stream = Terminal()

    with screen(stream) as shown:
        shown.begins("train", attempt=0)
        shown.hears("train", told(0, 1))
        shown.fails("train", "failed: rank 1 raised")

    last = stream.getvalue().rpartition("\r")[2]
    assert "✗" in last
    assert "✓" not in stream.getvalue()
    assert "failed: rank 1 raised" in last
