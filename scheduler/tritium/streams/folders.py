"""Edge to Spark's file systems: whether a folder of Parquet files is that of the stream that would write it.

Spark's own sink keeps a log of its batches in the folder: readers see what it names, and a batch that it has
is not written again. Where folder and checkpoint are of two streams, that loses rows without a word. The log
counts batches and does not say whose they are, so beside it is a mark of the query, an empty file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.spark.capability import on_connect
from tritium.spark.words import in_words
from tritium.streams.ends import Parquet, Sink

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

__all__ = ["foreign", "half_written", "mark", "of_another", "on_disk", "query_of"]

_LOG = "_spark_metadata"
_MARK = "_tritium-"
"""Begins the name of a query's mark; what begins with ``_`` no reader of Parquet takes for rows."""


def on_disk(folder: Path) -> str:
    """Name a folder for Spark, which takes a plain path for one of ``fs.defaultFS``, e.g. of HDFS.

    >>> on_disk(Path("/shared/a b"))
    'file:/shared/a b'
    """
    return f"file:{folder.absolute()}"


def query_of(checkpoint: Path) -> str:
    """Name the query of a checkpoint of Spark's, as its log and UI do: another one counts batches anew."""
    return str(json.loads((checkpoint / "metadata").read_text(encoding="utf-8"))["id"])


def foreign(spark: SparkSession, sink: Sink, dead: Sink | None, *, checkpoint: Path) -> list[str]:
    """Say which folders do not belong to the stream with this checkpoint, and what to do.

    A client of Spark Connect cannot look into folders of the server's, and says nothing.

    Raises:
        SparkFailed: Spark cannot look into one, e.g. has nothing that speaks its protocol.
    """
    if on_connect(spark):
        return []
    if dead is None:
        return _logged(spark, sink.path, checkpoint) if isinstance(sink, Parquet) else []
    return [
        f"{name}: {end.path} was written by a stream without dead_letters; take another folder"
        for name, end in (("sink", sink), ("dead_letters", dead))
        if isinstance(end, Parquet) and _names(spark, f"{end.path}/{_LOG}") is not None
    ]


def half_written(checkpoint: Path, columns: Sequence[str], dead: Sink | None) -> list[str]:
    """Say what keeps a call from going on with a batch that may be in one of two sinks only.

    What came of its rows lies in the checkpoint (`tritium.streams.write.Both`), and both sinks must get that.
    """
    rows = checkpoint / "rows"
    if not (rows / "metadata").exists():
        return []
    planned, committed = (
        _last(path.name for path in rows.glob(f"{log}/*")) for log in ("offsets", "commits")
    )
    folder = checkpoint / "decided" / query_of(rows) / str(planned)
    if planned == committed or not (folder / "_SUCCESS").exists():
        return []
    if dead is None:
        half = f"batch {planned} may be in one of two sinks and not in the other"
        return [f"dead_letters: {half}; give some, if need be others, and every_s=None, once more"]
    import pyarrow.parquet as pq

    there = pq.read_schema(next(folder.glob("*.parquet"))).names
    if there == list(columns):
        return []
    lies = f"batch {planned} was predicted and lies in {folder} with the columns {', '.join(there)}"
    return [f"output: {lies}; start once more as before, with every_s=None, and then change it"]


def mark(spark: SparkSession, sink: Sink, query: StreamingQuery) -> None:
    """Leave a query's mark in the folder of Spark's own sink, for `foreign`; without one the query ends.

    Raises:
        SparkFailed: the folder takes no file.
    """
    if on_connect(spark) or not isinstance(sink, Parquet):
        return
    try:
        files, path = _found(spark, f"{sink.path}/{_MARK}{query.id}")
        files.createNewFile(path)
    except Exception as err:
        query.stop()
        raise in_words(err, what=f"a mark in {sink.path}") from err


def _logged(spark: SparkSession, path: str, checkpoint: Path) -> list[str]:
    """Say what is wrong with the folder of Spark's own sink."""
    known = f"{on_disk(checkpoint)}/rows"
    log, planned, committed = (
        _last(_names(spark, folder)) for folder in (f"{path}/{_LOG}", f"{known}/offsets", f"{known}/commits")
    )
    if of_another(log=log, committed=committed, planned=planned):
        where = f"{path} has batches up to {_said(log)}, the checkpoint {checkpoint} up to {_said(committed)}"
        two = "they are of two streams; take the one that belongs to the other, or new ones"
        return [f"sink: {where}: {two}"]
    names = list(_names(spark, path) or ())
    query = query_of(checkpoint / "rows") if (checkpoint / "rows" / "metadata").exists() else None
    marks = {name.removeprefix(_MARK) for name in names if name.startswith(_MARK)}
    if others := marks - {query}:
        where = f"{path} is of the query {', '.join(sorted(others))}, the checkpoint {checkpoint} of"
        return [f"sink: {where} {query or 'none'}: take the one that belongs to the other, or new ones"]
    # From the first plan on files may be its own, of a batch that was never logged.
    beside = Path(path.removeprefix("file:")).absolute() == checkpoint.absolute().parent
    own = checkpoint.name if beside else ""
    visible = (name for name in names if not name.startswith(("_", ".")) and name != own)
    if planned is None and any(visible):
        hidden = "holds files that are in no stream's log, and the log of this one would hide them"
        return [f"sink: {path} {hidden}; take an empty folder"]
    return []


def of_another(*, log: int | None, committed: int | None, planned: int | None) -> bool:
    """Decide whether a folder's log and a checkpoint are of two streams, by the last batch of each.

    Spark plans a batch, writes its files, logs them, and commits it: whenever it is killed, the log ends
    with the batch that was committed last, or with the one that was planned after it.

    >>> of_another(log=3, committed=2, planned=3), of_another(log=0, committed=None, planned=None)
    (False, True)
    """
    return log not in {committed, planned}


def _names(spark: SparkSession, folder: str) -> Iterator[str] | None:
    """Name what is in a folder, wherever a writer would look for it; ``None`` if there is none."""
    try:
        files, path = _found(spark, folder)
        found = files.listStatus(path) if files.exists(path) else None
    except Exception as err:
        raise in_words(err, what=f"a look into {folder}") from err
    return None if found is None else (status.getPath().getName() for status in found)


def _found(spark: SparkSession, name: str) -> tuple[Any, Any]:
    """Return the file system of a path, and the path, as Java has them."""
    java: Any = spark
    path = java._jvm.org.apache.hadoop.fs.Path(name)  # noqa: SLF001  Spark has no other way to ask
    return path.getFileSystem(java._jsparkSession.sessionState().newHadoopConf()), path  # noqa: SLF001


def _last(names: Iterator[str] | None) -> int | None:
    """Return the last batch of a log, whose files are called ``7`` or ``9.compact``."""
    numbers = (name.partition(".")[0] for name in names or ())
    return max((int(number) for number in numbers if number.isdigit()), default=None)


def _said(batch: int | None) -> str:
    return "none" if batch is None else str(batch)
