"""What ranks say reaches the caller's functions, which may be slow, hang or raise."""

from __future__ import annotations

import threading

import pytest

from rigs.processes import eventually
from tritium.assign.types import Request
from tritium.train.assembly import Assembly
from tritium.train.board import Board, Witness
from tritium.train.ears import ears
from tritium.train.messages import Beat, Line
from tritium.train.placing import Asked

ASSEMBLY = Assembly(gang="train", size=1, launch_s=60, launch_by=1e12, end_by=None)
ASKED = Asked(request=Request(members=1, devices_each=0), policy="packed", avoid={})


def witness() -> Witness:
    return Witness(Board(), owner="train.0", assembly=ASSEMBLY, asked=ASKED)


def test_a_callback_that_hangs_holds_up_no_listener_and_the_order_is_kept() -> None:
    going_on, said = threading.Event(), list[str]()

    def slow(_: int, text: str) -> None:
        going_on.wait(60)
        said.append(text)

    with ears(ASSEMBLY, witness(), None, slow) as hear:
        for number in range(100):
            hear(Line(rank=0, text=str(number)))
        assert said == []
        going_on.set()

    assert said == [str(number) for number in range(100)]


def broken(_: int, text: str) -> None:
    raise ValueError(text)


def test_what_a_callback_raises_is_raised_once_to_the_listener_and_no_other_is_called() -> None:
    with ears(ASSEMBLY, witness(), None, broken) as hear:
        hear(Line(rank=0, text="first"))

        def raised() -> str:
            try:
                hear(Beat(task=0))
            except ValueError as err:
                return str(err)
            return ""

        assert eventually(raised) == "first"
        hear(Line(rank=0, text="second"))


def test_what_a_callback_raises_last_is_raised_at_the_end() -> None:
    def speak() -> None:
        with ears(ASSEMBLY, witness(), None, broken) as hear:
            hear(Line(rank=0, text="last"))

    with pytest.raises(ValueError, match="last"):
        speak()


def test_a_callback_that_is_too_far_behind_misses_some_and_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    going_on, entered, said = threading.Event(), threading.Event(), list[str]()

    def slow(_: int, text: str) -> None:
        entered.set()
        going_on.wait(60)
        said.append(text)

    with ears(ASSEMBLY, witness(), None, slow, most=2) as hear:
        hear(Line(rank=0, text="0"))
        entered.wait(60)
        for number in range(1, 6):
            hear(Line(rank=0, text=str(number)))
        going_on.set()
        assert eventually(lambda: len(said) == 3)
        hear(Line(rank=0, text="6"))

    assert said == ["0", "1", "2", "6"]
    assert "3 reports and lines left out here" in capsys.readouterr().err
