"""Decides whether tasks may read a DataFrame's files themselves instead of getting its rows through the JVM.

They may where Spark's plan is a plain scan: the columns of Parquet files, as they are stored, and no
operator that computes, filters or moves rows. What differs from that in any way is left to Spark, with
the reason. The tasks are Spark's own: the same ranges of the same files, in the same order.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from tritium.assign.reasons import counted
from tritium.spark.lists import Decoded, Leaf, lying
from tritium.spark.readable import dated, is_list, readable

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BySpark",
    "Calendar",
    "Column",
    "Footer",
    "Group",
    "Mark",
    "Part",
    "Piece",
    "Reading",
    "Scan",
    "Splits",
    "Value",
    "dealt",
    "decide",
]

Value: TypeAlias = str | int | float | bool | Decimal | None
"""A partition's value as Spark holds it: dates in days, timestamps in microseconds."""

Calendar: TypeAlias = Literal["older", "today's", "unknown"]
"""The one that Spark had before 3.0, or today's; ``unknown``: Spark's configuration says it."""

_CODECS = frozenset({"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the DataFrame."""

    name: str
    kind: pa.DataType
    """The type that Spark would deliver."""
    stored: str = ""
    """Its name in the files."""
    partition: int | None = None
    """It is the value of a folder: which one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A range of a file that one of Spark's tasks reads."""

    path: str
    start: int
    length: int
    values: tuple[Value, ...] = ()
    """Of the partition's columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A plain scan, as the plan shows it."""

    columns: tuple[Column, ...]
    tasks: tuple[tuple[Part, ...], ...]
    merged_to: int | None = None
    """``coalesce(n)`` above it."""
    case_sensitive: bool = False
    """Whether names that differ by case differ."""
    rebases: bool = False
    """Whether Spark moves old dates of files that do not name its version, or raises for them
    (``datetimeRebaseModeInRead``, ``int96RebaseModeInRead``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A row group of a file."""

    rows: int
    middle: int
    """Offset of its middle in the file: the range that holds it holds the group."""
    stored_bytes: int
    """Without compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What tells a file from one that took its place. No time of change: hosts may see different ones."""

    size_bytes: int
    foot: int
    """CRC-32 of its foot, which has the place, size, rows and statistics of every row group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a file says about itself."""

    kinds: Mapping[str, pa.DataType]
    """Type of each column as pyarrow reads it."""
    groups: tuple[Group, ...]
    mark: Mark
    codecs: frozenset[str] = frozenset()
    calendar: Calendar = "unknown"
    """In which its dates are."""
    leaves: Mapping[str, tuple[Leaf | None, ...]] = field(default_factory=dict)
    """What it says of each column of lists, by row group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A row group that a task reads."""

    path: str
    mark: Mark
    """Of the file as it was planned with."""
    group: int
    rows: int
    stored_bytes: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The tasks read these pieces themselves."""

    columns: tuple[Column, ...]
    tasks: tuple[tuple[Piece, ...], ...]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each column of lists why pyarrow decodes it; nothing if it is read from pages as they lie."""

    @property
    def sentence(self) -> str:
        """Say so, and how columns of lists are read."""
        pieces = [piece for task in self.tasks for piece in task]
        files = counted(len({piece.path for piece in pieces}), "Parquet file")
        read, themselves = ("task reads", "itself") if len(self.tasks) == 1 else ("tasks read", "themselves")
        told = [f"{len(self.tasks)} {read} {counted(len(pieces), 'row group')} of {files} {themselves}"]
        copied = "is copied from its pages while its lists are equally long"
        for name, whys in self.lists.items():
            told += [f"{name} is decoded by pyarrow ({', '.join(whys)})" if whys else f"{name} {copied}"]
        return "; ".join(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class BySpark:
    """Spark reads the rows and passes them on."""

    why: str

    @property
    def sentence(self) -> str:
        """Say so, with the reason."""
        return f"Spark reads the rows: {self.why}"


Reading: TypeAlias = Splits | BySpark


def decide(scan: Scan, footers: Mapping[str, Footer]) -> Reading:
    """Cut a scan into the row groups of its files, or say what keeps it from that."""
    if len({column.name for column in scan.columns}) < len(scan.columns):
        return BySpark(why="columns have the same name")
    for path, footer in footers.items():
        for column in scan.columns:
            if column.partition is None and (why := _unlike(column, footer, scan)):
                return BySpark(why=f"{path}: {why}")
        if unknown := footer.codecs - _CODECS:
            return BySpark(why=f"{path} is compressed by {', '.join(sorted(unknown))}")
    tasks = tuple(tuple(piece for part in task for piece in _pieces(part, footers)) for task in scan.tasks)
    if not any(tasks):
        return BySpark(why="there are no rows in its files")
    return Splits(columns=scan.columns, tasks=_merged(tasks, scan.merged_to), lists=_lists(scan, footers))


def dealt(reading: Reading, tasks: int) -> Reading:
    """Deal the pieces to another number of tasks: each next one to the task with the fewest rows.

    >>> dealt(BySpark(why="it filters rows"), 2).sentence
    'Spark reads the rows: it filters rows'
    """
    if isinstance(reading, BySpark):
        return reading
    pieces = [piece for task in reading.tasks for piece in task if piece.rows]
    if len(pieces) < tasks:
        return BySpark(why=f"{len(pieces)} row groups are too few for {tasks} tasks")
    hands: list[list[Piece]] = [[] for _ in range(tasks)]
    rows = [0] * tasks
    for piece in pieces:
        least = rows.index(min(rows))
        hands[least].append(piece)
        rows[least] += piece.rows
    if max(rows) > 2 * min(rows):
        return BySpark(why=f"its row groups would give the {tasks} tasks {min(rows)} to {max(rows)} rows")
    return replace(reading, tasks=tuple(map(tuple, hands)))


def _lists(scan: Scan, footers: Mapping[str, Footer]) -> Mapping[str, tuple[str, ...]]:
    """Say why columns of lists are decoded by pyarrow, each reason once."""
    return {
        column.name: tuple(
            dict.fromkeys(
                how.why
                for footer in footers.values()
                for found in footer.leaves.get(column.stored, ())
                if isinstance(how := lying(column.kind, found), Decoded)
            )
        )
        for column in scan.columns
        if column.partition is None and is_list(column.kind)
    }


def _unlike(column: Column, footer: Footer, scan: Scan) -> str:
    """Say why a file's column is not read as Spark reads it; empty if it is."""
    name = column.stored
    alike = [other for other in footer.kinds if other.lower() == name.lower()]
    if name not in footer.kinds or (len(alike) > 1 and not scan.case_sensitive):
        return f"there is no column {name}" if not alike else f"{name} is one of {', '.join(alike)}"
    stored = footer.kinds[name]
    if not readable(stored, column.kind):
        return f"{name} is stored as {stored}, and the table has {column.kind}"
    older = footer.calendar == "older" or (footer.calendar == "unknown" and scan.rebases)
    if older and dated(column.kind):
        return f"the dates of {name} may be of an older calendar"
    return ""


def _pieces(part: Part, footers: Mapping[str, Footer]) -> list[Piece]:
    """The row groups whose middle is in the range, as Parquet's own reader has it."""
    return [
        Piece(
            path=part.path,
            mark=footers[part.path].mark,
            group=at,
            rows=group.rows,
            stored_bytes=group.stored_bytes,
            values=part.values,
        )
        for at, group in enumerate(footers[part.path].groups)
        if part.start <= group.middle < part.start + part.length
    ]


def _merged(tasks: Sequence[tuple[Piece, ...]], number: int | None) -> tuple[tuple[Piece, ...], ...]:
    """Join neighbours, as Spark's ``coalesce`` does with tasks that prefer no host."""
    if number is None or number >= len(tasks):
        return tuple(tasks)
    ends = [at * len(tasks) // number for at in range(number + 1)]
    return tuple(
        tuple(piece for task in tasks[start:end] for piece in task) for start, end in itertools.pairwise(ends)
    )
