"""``tritium.stream``: from Kafka or a streaming DataFrame through a model into a sink, until stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tritium.errors import BadSpec, TooSlow, TritiumError
from tritium.infer import failures, predict
from tritium.infer.failure import first_line
from tritium.spark.words import in_words
from tritium.streams.arguments import unwritable, wrong
from tritium.streams.decode import decoded, inputs
from tritium.streams.ends import Bytes, Decode, KafkaSource, Sink
from tritium.streams.folders import foreign, half_written, mark, on_disk
from tritium.streams.load import CheckDied, Tensors, checked
from tritium.streams.progress import Progress, behind
from tritium.streams.read import rows_of
from tritium.streams.start import started
from tritium.streams.versions import Versions
from tritium.streams.write import Both, writer

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

__all__ = ["Stream", "stream"]

_LOOK_S = 1.0
_LONGEST_PAUSE_S = 10.0
_DEATHS = 3
_POLL_S = 0.1
_LAST_LOOK_S = 5.0


def stream(
    source: KafkaSource | DataFrame,
    *,
    model: Callable[..., Any],
    sink: Sink,
    checkpoint: Path,
    decode: Decode | None = None,
    dead_letters: Sink | None = None,
    versions: Versions | None = None,
    check: Callable[[Path], object] | None = None,
    every_s: float | None = 1.0,
    output: str = "prediction double",
    **options: Any,
) -> Stream:
    """Start a stream of predictions; killed, it goes on from ``checkpoint`` when it is started again.

    How often a row may then be in a sink: `guarantee`. A message that does not decode goes on without a
    prediction and with its ``error``. With ``on_error="quarantine"`` so does one that the model fails on;
    otherwise it ends the stream, now and whenever it is started again. With ``dead_letters`` both go there
    alone, and ``on_error`` is ``quarantine`` unless it is given.

    Args:
        source: a topic, or a streaming DataFrame.
        model: as in `predict`; with ``versions`` it is called ``model(device, path)``.
        sink: where rows go.
        checkpoint: a folder of a file system that driver and executors share.
        decode: what is in the messages; ``None``: the model gets the rows as they are. It gets every field,
            or column, if ``input`` does not name some: one that is null is an error, unless
            ``batches="arrow"``.
        dead_letters: another sink, for messages with an error. Each micro-batch is predicted once and
            written to both sinks.
        versions: the model may change: each micro-batch is predicted by one version, and again by it if
            it is repeated.
        check: called with a new version's path before it serves. It rejects it by raising, or by returning
            what is not true, numpy's or Python's; ``None`` lets it pass.
        every_s: how often to look for new rows; ``None``: read what is there now, then end.
        output: names and types of the new columns.
        options: more arguments of `predict`.

    Raises:
        BadSpec: an argument is wrong, or a folder of Parquet files is not this stream's.
        VerifyFailed: the version that the pointer names was rejected, and none served before.
        SparkFailed: Spark would not start it, e.g. has no connector for the sink, or the check of the first
            version ended its process.
    """
    given = {
        "source": source, "model": model, "sink": sink, "checkpoint": checkpoint, "decode": decode,
        "dead_letters": dead_letters, "versions": versions, "check": check, "every_s": every_s,
    }  # fmt: skip
    if problems := wrong(given, options):
        raise BadSpec("stream", problems)
    if isinstance(decode, Bytes) and decode.dtype is not None:
        options["preprocess"] = Tensors(decode=decode, then=options.get("preprocess"))
    if versions is not None:
        options["model_path"] = versions.path_of_batch
    if dead_letters is not None:
        options.setdefault("on_error", "quarantine")
    rows = rows_of(source)
    names = options.pop("input", None)
    if names is None:
        names = inputs(decode, rows.columns)
    messages = decoded(rows, decode)
    frame = predict(messages, model=model, input=names, output=output, **options)
    spark = frame.sparkSession
    problems = unwritable(frame.columns, sink, dead_letters)
    problems = problems or foreign(spark, sink, dead_letters, checkpoint=checkpoint)
    if problems := problems or half_written(checkpoint, frame.columns, dead_letters):
        raise BadSpec("stream", problems)
    watch = _watch(spark, versions, check) if versions is not None else None
    added = tuple(name for name in frame.columns if name not in messages.columns)
    folder = checkpoint.absolute() / "rows"
    if dead_letters is None:
        writing = writer(frame, sink, names=added, checkpoint=folder)
    else:
        both = Both(rows=sink, dead=dead_letters, names=added, checkpoint=folder)
        writing = frame.writeStream.foreachBatch(both)
    when = {"availableNow": True} if every_s is None else {"processingTime": f"{every_s} seconds"}
    query = started(writing.option("checkpointLocation", on_disk(folder)).trigger(**when).start)
    if dead_letters is None:
        mark(spark, sink, query)
    return Stream(query, watch)


def _watch(spark: SparkSession, versions: Versions, check: Callable[[Path], object] | None) -> Watch:
    watch = Watch(versions, checked(spark, check) if check is not None else _no_check)
    watch.first()
    return watch


class Stream:
    """A stream at work; leaving its block stops it."""

    def __init__(self, query: StreamingQuery, watch: Watch | None) -> None:
        self._query = query
        self._watch = watch
        if watch is not None:
            watch.begin(while_=lambda: bool(query.isActive))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def rejected(self) -> tuple[str, ...]:
        """Sentences about versions of the model that did not pass."""
        return tuple(self._watch.rejected) if self._watch is not None else ()

    @property
    def trouble(self) -> str | None:
        """Why the pointer could not be looked at, or what it names not be checked, the last time."""
        return self._watch.trouble if self._watch is not None else None

    def progress(self) -> Progress | None:
        """Say what the last micro-batch did; ``None`` before the first."""
        last = self._query.lastProgress
        if last is None:
            return None
        waiting = [
            behind(end=source.endOffset, latest=source.latestOffset, rows=int(source.numInputRows))
            for source in last.sources
        ]
        known = [number for number in waiting if number is not None]
        return Progress(
            batch=int(last.batchId),
            rows=int(last.numInputRows),
            rows_per_s=float(last.processedRowsPerSecond or 0.0),
            behind=sum(known) if known else None,
        )

    def wait(self, limit_s: float | None = None) -> None:
        """Wait until the stream has ended: it failed, was stopped, or has read all with ``every_s=None``.

        Raises:
            TooSlow: it still runs after ``limit_s``.
            TritiumError: what failed in it, in a sentence.
        """
        give_up_at = None if limit_s is None else time.monotonic() + limit_s
        while not _ended(self._query):
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TooSlow(f"the stream has not ended within {limit_s} s")

    def stop(self) -> None:
        """Stop it; a micro-batch at work is given up, and done again by whoever starts the stream again."""
        self._query.stop()
        if self._watch is not None:
            self._watch.stop()


def _ended(query: StreamingQuery) -> bool:
    """Wait a little; raises what failed in it, in a sentence."""
    try:
        with failures():
            # Its stubs do not know that it takes fractions of a second.
            return bool(query.awaitTermination(_POLL_S))  # type: ignore[arg-type]
    except TritiumError:
        raise
    except Exception as err:
        raise in_words(err, what="the stream") from err


class Watch(threading.Thread):
    """Looks at the pointer again and again, and checks what is new."""

    def __init__(self, versions: Versions, check: Callable[[Path], str | None]) -> None:
        super().__init__(name="tritium-versions", daemon=True)
        self._versions, self._check = versions, check
        self._over = threading.Event()
        self._while: Callable[[], bool] = lambda: True
        self._deaths: list[Path] = []
        self.rejected: list[str] = []
        self.trouble: str | None = None

    def first(self) -> None:
        """Check before the stream starts, which needs no look that succeeds where a version serves already.

        Raises:
            VerifyFailed: there is no version that may serve.
            SparkFailed: nor can that be known, e.g. the check of the first one ended its process.
        """
        try:
            self._look()
        except Exception as err:
            if self._versions.serving() is None:
                raise
            self.trouble = _sentence(err)
        if self._versions.serving() is None:
            self._versions.current()  # says why there is none

    def begin(self, *, while_: Callable[[], bool]) -> None:
        """Start the thread; it ends with the stream, which may end without being stopped."""
        self._while = while_
        self.start()

    def run(self) -> None:
        """Be the thread."""
        pause_s = _LOOK_S
        while not self._over.wait(pause_s):
            try:
                if not self._while():
                    return
                self._look()
                self.trouble, pause_s = None, _LOOK_S
            except Exception as err:  # noqa: BLE001  a lost executor, a shared folder that is away: next time
                self.trouble, pause_s = _sentence(err), min(2 * pause_s, _LONGEST_PAUSE_S)

    def stop(self) -> None:
        """End it; a check at work may take its time, and nobody waits for its verdict."""
        self._over.set()
        self.join(_LAST_LOOK_S)

    def _look(self) -> None:
        sentence = self._versions.look(self._ask)
        # The pointer stays at what was rejected where nothing else serves.
        if sentence is not None and sentence not in self.rejected:
            self.rejected.append(sentence)

    def _ask(self, path: Path) -> str | None:
        """Check a version; one whose check only ever ends its process is not checked for ever."""
        try:
            why = self._check(path)
        except CheckDied as err:
            self._deaths = [*(version for version in self._deaths if version == path), path]
            if len(self._deaths) < _DEATHS:
                raise
            why = f"its check ended its process {_DEATHS} times: {err.how}"
        self._deaths = []
        return why


def _sentence(err: Exception) -> str:
    return f"{type(err).__name__}: {first_line(err)}"


def _no_check(_: Path) -> None:
    """Let every version pass."""
