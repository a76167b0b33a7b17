"""A scan is cut into row groups exactly where tasks read what Spark would; everything else is Spark's."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.spark.splits import BySpark, Column, Footer, Group, Mark, Part, Scan, Splits, dealt, decide

X = Column(name="x", stored="x", kind=pa.list_(pa.float32()))


MARK = Mark(size_bytes=1, foot=1)


def scan(*columns: Column, parts: int = 1, **rest: Any) -> Scan:
    tasks = tuple((Part(path="/f", start=at * 100, length=100),) for at in range(parts))
    return Scan(columns=columns or (X,), tasks=tasks, **rest)


def footer(kind: pa.DataType = X.kind, *, name: str = "x", **rest: Any) -> Footer:
    groups = tuple(Group(rows=10 + at, middle=50 + 100 * at, stored_bytes=1) for at in range(3))
    return Footer(**{"kinds": {name: kind}, "groups": groups, "mark": MARK, **rest})


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 399), max_size=5, unique=True),
    merged_to=st.none() | st.integers(1, 4),
)
def test_ranges_of_a_file_hold_each_of_its_row_groups_once_and_in_order(
    sizes: list[int], cuts: list[int], merged_to: int | None
) -> None:
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    groups = tuple(
        Group(rows=1, middle=start + size // 2, stored_bytes=size)
        for start, size in zip(starts, sizes, strict=True)
    )
    edges = [0, *sorted(cuts), 400]
    tasks = tuple(
        (Part(path="/f", start=start, length=end - start),) for start, end in itertools.pairwise(edges)
    )

    found = decide(
        Scan(columns=(X,), tasks=tasks, merged_to=merged_to), {"/f": replace(footer(), groups=groups)}
    )

    assert isinstance(found, Splits)
    assert [piece.group for task in found.tasks for piece in task] == list(range(len(sizes)))
    assert len(found.tasks) == min(merged_to or len(tasks), len(tasks))


WRAPPED = {
    "other names": (pa.list_(pa.field("item", pa.float32())), X.kind),
    "a fixed size": (pa.list_(pa.float32(), 4), X.kind),
    "a large list": (pa.large_list(pa.float32()), X.kind),
    "a dictionary": (pa.dictionary(pa.int32(), pa.string()), pa.string()),
    "milliseconds": (pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Berlin")),
    "large strings": (pa.large_string(), pa.string()),
    "large binary": (pa.large_binary(), pa.binary()),
    "inside a struct": (pa.struct([("a", pa.large_string())]), pa.struct([("a", pa.string())])),
    "inside a map": (
        pa.map_(pa.string(), pa.large_list(pa.int8())),
        pa.map_(pa.string(), pa.list_(pa.int8())),
    ),
}


@pytest.mark.parametrize(("stored", "wanted"), WRAPPED.values(), ids=WRAPPED)
def test_the_same_values_in_another_wrapping_are_read(stored: pa.DataType, wanted: pa.DataType) -> None:
    assert isinstance(decide(scan(replace(X, kind=wanted)), {"/f": footer(stored)}), Splits)


OTHER = {
    "a wider integer": (pa.int32(), pa.int64()),
    "no sign": (pa.uint8(), pa.int16()),
    "nanoseconds": (pa.timestamp("ns", "UTC"), pa.timestamp("us", "UTC")),
    "no time zone": (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    "text for bytes": (pa.string(), pa.binary()),
    "bytes for text": (pa.binary(), pa.string()),
    "another precision": (pa.decimal128(9, 2), pa.decimal128(10, 2)),
    "other fields": (pa.struct([("a", pa.int8())]), pa.struct([("b", pa.int8())])),
    "fewer fields": (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int8()), ("b", pa.int8())])),
    "no map": (pa.list_(pa.int8()), pa.map_(pa.int8(), pa.int8())),
    "a wider element": (pa.list_(pa.float32()), pa.list_(pa.float64())),
}


@pytest.mark.parametrize(("stored", "wanted"), OTHER.values(), ids=OTHER)
def test_values_that_spark_would_convert_are_left_to_it(stored: pa.DataType, wanted: pa.DataType) -> None:
    found = decide(scan(replace(X, kind=wanted)), {"/f": footer(stored)})

    assert found == BySpark(why=f"/f: x is stored as {stored}, and the table has {wanted}")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (decide(scan(), {"/f": footer(name="y")}), "/f: there is no column x"),
        (decide(scan(), {"/f": footer(name="X")}), "/f: x is one of X"),
        (decide(scan(), {"/f": footer(kinds={"x": X.kind, "X": X.kind})}), "/f: x is one of x, X"),
        (decide(scan(X, X), {"/f": footer()}), "columns have the same name"),
        (decide(scan(), {"/f": footer(codecs=frozenset({"LZO", "ZSTD"}))}), "/f is compressed by LZO"),
        (decide(scan(parts=0), {}), "there are no rows in its files"),
        (
            decide(scan(replace(X, kind=pa.date32())), {"/f": footer(pa.date32(), calendar="older")}),
            "/f: the dates of x may be of an older calendar",
        ),
        (
            decide(
                scan(replace(X, kind=pa.list_(pa.date32())), rebases=True),
                {"/f": footer(pa.list_(pa.date32()))},
            ),
            "/f: the dates of x may be of an older calendar",
        ),
    ],
)  # fmt: skip
def test_the_reason_for_leaving_it_to_spark_is_said(found: BySpark, why: str) -> None:
    assert found.sentence == f"Spark reads the rows: {why}"


@pytest.mark.parametrize("rebases", [True, False])
def test_what_a_file_says_of_its_calendar_counts_more_than_the_configuration(*, rebases: bool) -> None:
    days = scan(replace(X, kind=pa.date32()), rebases=rebases)

    assert isinstance(decide(days, {"/f": footer(pa.date32(), calendar="today's")}), Splits)
    assert isinstance(decide(days, {"/f": footer(pa.date32(), calendar="older")}), BySpark)


def test_names_that_differ_by_case_are_two_where_spark_says_so() -> None:
    found = decide(scan(case_sensitive=True), {"/f": footer(kinds={"x": X.kind, "X": pa.int8()})})

    assert isinstance(found, Splits)
    assert found.sentence == (
        "1 task reads 1 row group of 1 Parquet file itself; "
        "x is copied from its pages while its lists are equally long"
    )


def test_a_folders_value_needs_no_column_in_the_file() -> None:
    folder = Column(name="k", kind=pa.int32(), partition=0)

    assert isinstance(decide(scan(folder), {"/f": footer(name="y")}), Splits)


@given(rows=st.lists(st.integers(0, 9), min_size=1, max_size=12), tasks=st.integers(1, 4))
def test_dealing_loses_no_row_group_and_leaves_no_task_with_less_than_half(
    rows: list[int], tasks: int
) -> None:
    groups = tuple(Group(rows=count, middle=at, stored_bytes=1) for at, count in enumerate(rows))
    whole = decide(scan(), {"/f": replace(footer(), groups=groups)})

    found = dealt(whole, tasks)

    filled = [at for at, count in enumerate(rows) if count]
    if isinstance(found, Splits):
        hands = [[piece.group for piece in task] for task in found.tasks]
        assert sorted(group for hand in hands for group in hand) == filled
        assert all(hand == sorted(hand) for hand in hands)
        counts = [sum(piece.rows for piece in task) for task in found.tasks]
        assert len(counts) == tasks
        assert max(counts) <= 2 * min(counts)
    elif len(filled) < tasks:
        assert found.why == f"{len(filled)} row groups are too few for {tasks} tasks"
    else:
        assert "row groups would give the" in found.why
