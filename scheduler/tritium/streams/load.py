"""Edge in tasks of a stream: the tensors in its messages, and the check of a model."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.errors import SparkFailed, TritiumError
from tritium.spark.words import in_words
from tritium.streams.ends import Bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__ = ["CheckDied", "Tensors", "checked", "what_failed"]

_DIED = re.compile(
    r"Python worker exited unexpectedly[^.\n]*"
    r"|ExecutorLostFailure \(executor \S+ exited caused by one of the running tasks\)[^\n]*"
)
"""How Spark says it; executors that are lost for other reasons ``exited unrelated to the running tasks``."""


class CheckDied(SparkFailed):
    """The check of a model ended the process that it ran in; ``how`` is what Spark says of that."""

    def __init__(self, *, version: str, how: str) -> None:
        self.how = how
        super().__init__(f"the check of version {version} of the model ended its process: {how}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """``preprocess`` that makes of ``value`` the tensor whose memory it is, before the user's own."""

    decode: Bytes
    then: Callable[[Any], Any] | None

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        """Decode one batch."""
        import numpy as np

        joined = b"".join(batch["value"])
        tensors = np.frombuffer(joined, self.decode.dtype).reshape(-1, *self.decode.shape)
        made = {**batch, "value": tensors}
        return made if self.then is None else self.then(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckTask:
    check: Callable[[Path], object]
    path: Path

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"why": pa.array([self._why()], pa.string())})

    def _why(self) -> str | None:
        try:
            verdict = self.check(self.path)
            fails = verdict is not None and not verdict
        except Exception as err:  # noqa: BLE001  the user's code may raise anything
            return traceback.format_exception_only(err)[-1].strip()
        return f"its check returned {verdict!r}" if fails else None


def checked(spark: SparkSession, check: Callable[[Path], object]) -> Callable[[Path], str | None]:
    """Return what asks ``check`` about a model, in a Spark task: the user's code never runs in the driver.

    What it returns raises `CheckDied` where there is no verdict, or what else Spark failed with, in words.
    """

    def ask(path: Path) -> str | None:
        frame = spark.range(0, 1, 1, 1).mapInArrow(_CheckTask(check=check, path=path), "why string")
        try:
            why: str | None = frame.collect()[0].why
        except Exception as err:
            raise what_failed(err, version=path.name) from err
        return why

    return ask


def what_failed(err: Exception, *, version: str) -> TritiumError:
    """Say why the Spark job of a check failed.

    >>> what_failed(RuntimeError("X: Python worker exited unexpectedly (crashed). Set"), version="5e").how
    'Python worker exited unexpectedly (crashed)'
    >>> what_failed(ConnectionRefusedError(111, "Connection refused"), version="5e")
    SparkFailed("the check of version 5e of the model failed: Spark's JVM has ended")
    """
    if died := _DIED.search(str(err)):
        return CheckDied(version=version, how=died[0])
    return in_words(err, what=f"the check of version {version} of the model")
