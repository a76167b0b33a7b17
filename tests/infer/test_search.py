"""Which rows are asked for after some have broken their owner: all that can be answered is, in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.infer.failure import Broken
from tritium.infer.parts import Bad
from tritium.infer.search import Search
from tritium.infer.serving import Answer

BROKEN = Broken("predict failed: RuntimeError: CUDA error: device-side assert triggered", "trace")


@given(rows=st.integers(1, 300), data=st.data())
def test_exactly_the_rows_to_blame_are_bad_and_the_others_are_answered_in_order(
    rows: int, data: st.DataObject
) -> None:
    breaking = data.draw(st.sets(st.integers(0, rows - 1), max_size=3))
    failing = data.draw(st.sets(st.integers(0, rows - 1), max_size=3)) - breaking
    search, asked = Search(rows), 0

    while (part := search.asks) is not None:
        begin, end = part
        asked += 1
        if breaking & {*range(begin, end)}:
            search.broke(BROKEN)
            continue
        bad = [
            Bad(row=row - begin, step="predict", kind="KeyError", message="x")
            for row in sorted(failing & {*range(begin, end)})
        ]
        well = [row for row in range(begin, end) if row not in failing]
        search.answered(Answer(values={"y": np.array(well)}, bad=tuple(bad), predict_s=1.0, most=None))
    answer = search.answer()

    assert {bad.row for bad in answer.bad} == breaking | failing
    assert [bad.row for bad in answer.bad] == sorted(breaking | failing)
    well = [row for row in range(rows) if row not in breaking | failing]
    assert list(answer.values.get("y", ())) == well
    # One way down to each of them, and its other halves.
    assert asked <= 1 + 2 * len(breaking) * int(np.ceil(np.log2(max(rows, 2))))


def test_parts_without_a_good_row_leave_the_types_and_shapes_of_the_others_alone() -> None:
    search, most = Search(4), 2**63 - 1
    search.broke(BROKEN)

    while (part := search.asks) is not None:
        begin, end = part
        if 1 in range(begin, end):
            search.broke(BROKEN)
            continue
        bad = [Bad(row=0, step="predict", kind="ValueError", message="zero")] if begin == 0 else []
        rows = range(begin + len(bad), end)
        values = {
            "many": np.array([most - row for row in rows], np.int64) if rows else np.empty(0),
            "wide": np.ones((len(rows), 3), np.float32) if rows else np.empty(0),
        }
        search.answered(Answer(values=values, bad=tuple(bad), predict_s=1.0, most=None))
    answer = search.answer()

    assert [bad.row for bad in answer.bad] == [0, 1]
    assert answer.values["many"].tolist() == [most - 2, most - 3]
    assert answer.values["wide"].shape == (2, 3)


def test_answers_that_are_as_wide_as_the_longest_row_of_a_part_are_put_together() -> None:
    search = Search(4)
    search.broke(BROKEN)

    while (part := search.asks) is not None:
        begin, end = part
        values = {"y": np.full((end - begin, end), begin)}
        search.answered(Answer(values=values, predict_s=1.0, most=None))

    assert [row.tolist() for row in search.answer().values["y"]] == [[0, 0], [0, 0], [2] * 4, [2] * 4]


def test_a_sound_part_is_asked_for_before_ever_smaller_ones() -> None:
    search, in_a_row = Search(65_536), 0

    while (part := search.asks) is not None:
        begin, end = part
        in_a_row = in_a_row + 1 if begin == 0 else 0
        assert in_a_row <= 2
        if begin == 0:
            search.broke(BROKEN)
        else:
            search.answered(Answer(values={"y": np.arange(begin, end)}, predict_s=1.0, most=None))


def test_a_row_that_breaks_its_owner_is_bad_with_what_the_owner_said() -> None:
    search = Search(1)

    search.broke(BROKEN)

    assert search.asks is None
    assert search.answer().bad == (
        Bad(row=0, step="predict", kind="RuntimeError", message="CUDA error: device-side assert triggered"),
    )


def test_a_batch_of_which_too_many_rows_break_owners_fails() -> None:
    search = Search(1000)
    for _ in range(64):
        search.broke(BROKEN)

    with pytest.raises(Broken):
        search.broke(BROKEN)
