"""Which checkpoints count: laws of the book over any sequence of attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.errors import (
    GangCancelled,
    GangLost,
    RankFailed,
    StaleAttempt,
    TooSlow,
    TritiumError,
    Unplaceable,
)
from tritium.store.objects import ObjectId
from tritium.train.attempts import tried, worth_another
from tritium.train.book import Book, Saved, add, begin, from_bytes, keep, objects, to_bytes, unused
from tritium_discovery import Uuid


def saved(step: int) -> Saved:
    return Saved(step=step, parts=(ObjectId(f"object {step}"), ObjectId("shared")))


def filled(steps: list[int]) -> Book:
    book = begin(Book())
    for step in steps:
        book = add(book, saved(step), attempt=1)
    return book


@given(steps=st.lists(st.integers(0, 9)))
def test_the_last_saved_is_where_to_go_on_and_a_step_is_there_once(steps: list[int]) -> None:
    book = filled(steps)

    assert [*dict.fromkeys(reversed(steps))] == [one.step for one in reversed(book.saved)]


@given(steps=st.lists(st.integers(0, 9), min_size=1), count=st.integers(1, 5))
def test_pruning_keeps_the_last_and_names_exactly_what_nothing_needs(steps: list[int], count: int) -> None:
    book = filled(steps)

    pruned = keep(book, count, attempt=1)

    assert pruned.saved == book.saved[-count:]
    assert objects(pruned) | unused(book, pruned) == objects(book)
    assert not objects(pruned) & unused(book, pruned)


@given(steps=st.lists(st.integers(0, 9)), later=st.integers(1, 3))
def test_an_earlier_attempt_never_writes_again(steps: list[int], later: int) -> None:
    book = filled(steps)
    for _ in range(later):
        book = begin(book)

    refusal = f"attempt 1 may not write .*attempt {1 + later} has begun"
    with pytest.raises(StaleAttempt, match=refusal):
        add(book, saved(99), attempt=1)
    with pytest.raises(StaleAttempt, match=refusal):
        keep(book, 1, attempt=1)


@given(steps=st.lists(st.integers(0, 9)))
def test_a_book_reads_back_as_it_was_written(steps: list[int]) -> None:
    assert from_bytes(to_bytes(filled(steps))) == filled(steps)


WORTH = [
    GangLost("executor 1 went away"),
    RankFailed(gang="g", rank=0, cause="killed by SIGKILL", by_machine=True),
    RankFailed(gang="g", rank=0, cause="RuntimeError: CUDA", sick={Uuid("GPU-1"): "fell off the bus"}),
]
NOT_WORTH = [
    RankFailed(gang="g", rank=0, cause="ValueError: a bug"),
    RankFailed(gang="g", rank=0, cause="killed by SIGSEGV"),
    Unplaceable("no room", []),
    GangCancelled("somebody asked"),
    TooSlow("late"),
]


@pytest.mark.parametrize("error", WORTH, ids=str)
def test_what_the_machines_did_is_worth_another_attempt(error: TritiumError) -> None:
    assert worth_another(error)


@pytest.mark.parametrize("error", NOT_WORTH, ids=str)
def test_what_the_code_or_a_person_did_is_not(error: TritiumError) -> None:
    assert not worth_another(error)


@given(failures=st.lists(st.sampled_from([*WORTH, *NOT_WORTH]), max_size=6), retries=st.integers(0, 4))
def test_attempts_end_at_the_first_success_bug_or_limit(failures: list[TritiumError], retries: int) -> None:
    numbers: list[int] = []
    heard: list[TritiumError] = []

    def attempt(number: int) -> str:
        numbers.append(number)
        if number < len(failures):
            raise failures[number]
        return "done"

    last = next((n for n, error in enumerate(failures) if error in NOT_WORTH), len(failures))
    wanted = min(last, retries)
    if wanted < len(failures):
        with pytest.raises(TritiumError) as caught:
            tried(attempt, retries=retries, on_retry=heard.append)
        assert caught.value is failures[wanted]
    else:
        assert tried(attempt, retries=retries, on_retry=heard.append) == "done"

    assert numbers == list(range(wanted + 1))
    assert heard == failures[:wanted]
