"""Decides what an exception of Spark's means, in one sentence instead of a page."""

from __future__ import annotations

import re

from tritium.errors import CodeMissing, GangCancelled, SparkFailed, TritiumError

__all__ = ["in_words", "interrupted", "jvm_ended"]

_CANCELLED = re.compile(
    r"SPARK_JOB_CANCELLED|cancelled (because|as part)|part of cancelled job|OPERATION_CANCELED", re.IGNORECASE
)
_NO_TRITIUM = re.compile(r"No module named '(?:tritium|tritium_discovery)\b")
_JAVA = re.compile(r"^(?:: |Caused by: )?((?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error)\b.*)", re.MULTILINE)
_OF_JAVA = "py4j.protocol.Py4JJavaError"
"""What Python makes of Java's exception, which stands below it."""
_STACKS_OF_JAVA = "\n\nJVM stacktrace:"
"""Below it PySpark appends the exceptions of Java around what it has said, on Connect always."""
_PYTHON = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


def in_words(err: Exception, *, what: str) -> TritiumError:
    r"""Say in a sentence why ``what`` failed.

    >>> in_words(RuntimeError("Job 3 cancelled because SparkContext was shut down"), what="the job")
    GangCancelled('the job was cancelled')
    >>> in_words(RuntimeError("[SPARK_JOB_CANCELLED] Job 0 cancelled  SQLSTATE: XXKDA"), what="the job")
    GangCancelled('the job was cancelled')
    >>> in_words(RuntimeError("Aborted\nTraceback:\n  at x\nValueError: cancelled by a peer\n"), what="it")
    SparkFailed('it failed: ValueError: cancelled by a peer')
    >>> connect = "Aborted\nTraceback:\n  at x\nValueError: no\n\nJVM stacktrace:\na.XException\n\tat y\n"
    >>> in_words(RuntimeError(connect), what="it")
    SparkFailed('it failed: ValueError: no')
    >>> in_words(RuntimeError("An error\n: a.XError: aborted\n\tat y\nCaused by: b.IOError: died"), what="it")
    SparkFailed('it failed: b.IOError: died')
    >>> py4j = "Traceback:\n  at x\npy4j.protocol.Py4JJavaError: o1.save.\n: a.XError: aborted\n\tat y\n"
    >>> in_words(RuntimeError(py4j), what="it")
    SparkFailed('it failed: a.XError: aborted')
    >>> in_words(ConnectionRefusedError(111, "Connection refused"), what="the job")
    SparkFailed("the job failed: Spark's JVM has ended")

    Raises:
        KeyboardInterrupt: that is all that it means.
    """
    if interrupted(err):
        raise KeyboardInterrupt from err
    text = str(err)
    if jvm_ended(err):
        return SparkFailed(f"{what} failed: Spark's JVM has ended")
    if _NO_TRITIUM.search(text):
        # The task that cannot be read says so, and so does the daemon, which is not found (daemon.module).
        where = "where Spark's executors find it (spark.pyspark.python, PYSPARK_PYTHON)"
        return CodeMissing(
            f"{what} failed: the executors' Python has no Tritium: install the same one {where}"
        )
    if "Traceback" in text:
        thrown = _PYTHON.findall(text.partition("Traceback")[2].partition(_STACKS_OF_JAVA)[0])
        if not (thrown and thrown[-1].startswith(_OF_JAVA)):
            return SparkFailed(f"{what} failed: {thrown[-1] if thrown else 'a Python worker raised'}")
    if _CANCELLED.search(text):
        return GangCancelled(f"{what} was cancelled")
    if thrown := _JAVA.findall(text):
        return SparkFailed(f"{what} failed: {thrown[-1]}")
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(err).__name__)
    return SparkFailed(f"{what} failed: {first}")


def interrupted(err: Exception) -> bool:
    """Whether it only came of Ctrl-C: PySpark then tidies up through the connection that was broken off."""
    return jvm_ended(err) and isinstance(err.__context__, KeyboardInterrupt)


def jvm_ended(err: Exception) -> bool:
    """Tell the end of Spark's JVM from what a living one says."""
    return isinstance(err, ConnectionError) or type(err).__name__ == "Py4JNetworkError"
