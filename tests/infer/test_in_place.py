"""A model may change its rows in place: whatever is tried after it has them as they were sent."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rigs.owners import Executor, by_value, numbers
from tritium.infer import memory as memory_module
from tritium.infer.failure import Failure
from tritium.infer.forms import Form
from tritium.infer.memory import Memory, Original
from tritium.infer.serving import Model

pytestmark = pytest.mark.torch
by_value(__name__)


@pytest.fixture(params=["memfd", "file", "no pagemap"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of each kind, and a kernel that does not say which pages are a process's own."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create")
    if request.param == "no pagemap":
        monkeypatch.setattr(memory_module, "_PAGES", tempfile.gettempdir() + "/none")


def sent(values: Collection[int], form: Form) -> Any:
    """A batch in a form, with columns that lie in the memory and columns that do not."""
    x = np.array(values, np.int64)
    if form == "arrow":
        return pa.RecordBatch.from_pydict({"x": x, "s": [str(value) for value in values]})
    return {
        "x": pa.array(x).to_numpy(),  # read-only, as those that came from Spark without a copy
        "wide": np.stack([x, x], axis=1).astype(np.float32),
        "apart": np.repeat(x, 2)[::2],
        **({"s": np.array([str(value) for value in values], object)} if form == "numpy" else {}),
    }


def predicting(form: Form, *, poison: Collection[int], most: int, scribbles: bool) -> Callable[[Any], Any]:
    """A model that fails on some rows and on too many, after it has spoilt them or not."""
    import torch

    def predict(batch: Any) -> Any:
        there = [name for name in ("x", "wide", "apart", "s") if name in names(batch)]
        arrays = {name: np.asarray(batch[name]) for name in there}
        x = arrays["x"].copy()
        y = [value + int(text) for value, text in zip(x, arrays.get("s", x), strict=True)]
        wide, apart = arrays.get("wide", x) * 2, arrays.get("apart", x) + 1
        if scribbles and form == "arrow":
            with warnings.catch_warnings():  # that it is not writable
                warnings.simplefilter("ignore")
                torch.from_numpy(batch["x"].to_numpy()).fill_(-1)
        elif scribbles:
            for name, column in batch.items():
                column[:] = "gone" if name == "s" else -1
        if len(x) > most:
            raise MemoryError
        if {*x.tolist()} & {*poison}:
            raise ValueError("poison")
        if scribbles and form != "arrow":
            batch["wide"][:], batch["apart"][:] = torch.tensor(wide) if form == "torch" else wide, 0
            wide = batch["wide"]
        return {"y": y, "wide": wide, "apart": apart}

    return predict


def names(batch: Any) -> Collection[str]:
    return batch if isinstance(batch, Mapping) else batch.schema.names


def answers(batches: Collection[Collection[int]], predict: Callable[[Any], Any], form: Form) -> list[Any]:
    """What a model says to batches that come one after the other in the same memory."""
    model, memory = Model(predict, ("y", "wide", "apart"), quarantine=True, form=form), Memory()
    original, found = None, list[Any]()
    for values in batches:
        where, grown = memory.write(sent(values, form))
        if grown or original is None:
            original = Original(os.dup(memory.fileno))
        read = original.read
        try:
            answer = model.answer(lambda: read(where), len(values))  # noqa: B023  it is called here
        except Failure as err:
            found.append(err.cause)
        else:
            made = {name: np.array(column).tolist() for name, column in answer.values.items()}
            found.append((made, answer.bad, answer.most))
    return found


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("form", ["numpy", "torch", "arrow"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_model_that_spoils_its_rows_answers_as_one_that_does_not(form: Form, data: st.DataObject) -> None:
    rows = st.lists(st.integers(0, 30), min_size=1, max_size=40)
    batches = data.draw(st.lists(rows, min_size=1, max_size=3))
    poison = data.draw(st.sets(st.integers(0, 30), max_size=3))
    most = data.draw(st.sampled_from([1, 3, 8, 100]))

    clean, spoilt = (
        answers(batches, predicting(form, poison=poison, most=most, scribbles=scribbles), form)
        for scribbles in (False, True)
    )

    assert spoilt == clean


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("most", [2, 100], ids=["in parts", "at once"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x,
        pa.array,
        lambda x: pa.RecordBatch.from_pydict({"y": x})["y"],
        lambda x: [x[at : at + 1] for at in range(len(x))],
        lambda x: [[x[at : at + 1]] * (at % 2 + 1) for at in range(len(x))],
    ],
    ids=["array", "Arrow array", "Arrow batch", "views", "ragged lists of views"],
)
def test_an_answer_in_any_form_may_lie_in_the_rows(answer: Callable[[Any], Any], most: int) -> None:
    def predict(columns: Any) -> Any:
        x = columns["x"]
        x *= 10
        if len(x) > most:
            raise MemoryError
        return {"y": answer(x)}

    model, memory = Model(predict, ("y",), quarantine=False), Memory()
    original = None
    for first in (0, 5, 10):
        where, grown = memory.write({"x": np.arange(first, first + 5)})
        if grown or original is None:
            original = Original(os.dup(memory.fileno))
        values = model.answer(partial(original.read, where), 5).values["y"]

        assert flat(values) == flat(answer(np.arange(first, first + 5) * 10))


def flat(values: Any) -> list[Any]:
    """Rows as lists of numbers, whatever form they have."""
    rows = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else values
    return [flat(row) if hasattr(row, "__len__") else int(row) for row in rows]


@pytest.mark.usefixtures("shared")
def test_a_search_for_bad_rows_reads_them_no_more_than_twice() -> None:
    """To make them out of the memory takes long where they are texts or bytes."""
    reads = []

    def fresh() -> Any:
        reads.append(1)
        return {"x": np.arange(64)}

    def predict(columns: Any) -> Any:
        if {3, 40} & {*columns["x"].tolist()}:
            raise ValueError("poison")
        return columns["x"]

    answer = Model(predict, ("y",), quarantine=True).answer(fresh, 64)

    assert [one.row for one in answer.bad] == [3, 40]
    assert len(reads) == 2


@pytest.mark.usefixtures("shared")
def test_what_was_changed_is_dropped_and_seen_by_nobody_else() -> None:
    memory = Memory()
    where, _ = memory.write({"x": np.arange(10_000), "none": np.empty((0, 3))})
    ours, theirs = (Original(os.dup(memory.fileno)) for _ in range(2))

    for column in ours.read(where).values():
        np.subtract(column, 7, out=column)

    assert theirs.read(where)["x"].tolist() == list(range(10_000))
    assert ours.read(where)["x"].tolist() == list(range(10_000))
    ours.read(where)["x"][:] = 0
    memory.write({"x": np.arange(5, 10_005), "none": np.empty((0, 3))})
    assert ours.read(where)["x"].tolist() == list(range(5, 10_005))


def test_pages_that_nobody_changed_stay_where_they_are() -> None:
    """To fault them in again takes as long as a copy."""
    memory = Memory()
    where, _ = memory.write({"x": np.ones(4 << 20, np.uint8)})
    original = Original(os.dup(memory.fileno))

    def faults() -> int:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        original.read(where)["x"].sum()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    untouched = faults()
    original.read(where)["x"][0] = 2
    touched = faults()

    assert untouched < 32 < touched


def test_to_arrow_its_buffers_are_immutable() -> None:
    memory = Memory()
    where, _ = memory.write(sent([1, 2], "arrow"))

    batch = Original(os.dup(memory.fileno)).read(where)

    assert not any(part.is_mutable for column in batch.columns for part in column.buffers() if part)


@pytest.mark.process
def test_an_owner_lives_on_whatever_its_model_does_to_the_rows(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        import torch

        def predict(rows: Any) -> Any:
            torch.from_numpy(rows["x"]).sub_(1)
            rows["x"] *= 2
            return rows["x"]

        return predict

    assert one_gpu.predicted(load, numbers(5, 5, 5, 5, 5), ahead=2) == [2 * (n - 1) for n in range(25)]
