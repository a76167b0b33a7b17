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
