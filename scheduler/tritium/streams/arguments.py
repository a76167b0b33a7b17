"""Decides what is wrong with a stream's arguments, before anything is started."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tritium.infer import predict
from tritium.infer.kinds import KINDS, Kinds, mistyped, nearest, number, or_none
from tritium.streams.decode import ERROR
from tritium.streams.ends import ORIGIN, Bytes, Decode, Delta, Kafka, KafkaSource, Parquet, Sink
from tritium.streams.versions import Versions

__all__ = ["unwritable", "wrong"]

_SINKS = "Kafka, Delta or Parquet"
_KINDS: Kinds = {
    "model": KINDS["model"],
    "source": (
        "KafkaSource or a streaming DataFrame",
        lambda value: isinstance(value, KafkaSource) or hasattr(value, "isStreaming"),
    ),
    "sink": (_SINKS, lambda value: isinstance(value, Sink)),
    "dead_letters": (_SINKS, or_none(lambda value: isinstance(value, Sink))),
    "checkpoint": ("a pathlib.Path", lambda value: isinstance(value, Path)),
    "decode": ("Json or Bytes", or_none(lambda value: isinstance(value, Decode))),
    "versions": ("Versions", or_none(lambda value: isinstance(value, Versions))),
    "check": ("a function of a path", or_none(callable)),
    "every_s": ("a number of seconds, or None", or_none(number)),
}
_MESSAGE = ("key", "headers", *ORIGIN)
"""What a message is made of besides its value."""
_URL = re.compile(r"[a-zA-Z][\w+.-]+:")
_ON_DISK = re.compile(r"^file:(//)?(?=/)")


def wrong(given: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with arguments: the ``given`` ones of a stream itself, and those of `predict`."""
    problems = [*mistyped(_KINDS, **given), *_unfit(given, options)]
    return problems or [*_checkpoint(given["checkpoint"]), *_tensors(given["decode"], options), *_ends(given)]


def unwritable(columns: Collection[str], sink: Sink, dead: Sink | None) -> list[str]:
    """Say which columns a topic lacks: the message that a row comes from, or what goes into its answer.

    >>> unwritable(["key", "value"], Kafka(servers="b:1", topic="t"), None)[0].partition("; ")[2]
    'there is no headers, topic, partition, offset'
    """
    problems = []
    needed = {"sink": (sink, _MESSAGE), "dead_letters": (dead, ("value", *_MESSAGE))}
    for name, (end, parts) in needed.items():
        if isinstance(end, Kafka) and (missing := [part for part in parts if part not in columns]):
            there = f"a topic takes messages of Kafka, with {', '.join(parts)}"
            problems.append(f"{name}: {there}; there is no {', '.join(missing)}")
    if isinstance(sink, Kafka) and sink.columns is not None:
        known = [name for name in columns if dead is None or name != ERROR]
        problems += [
            f"sink.columns: the rows have no column {name}; {nearest(name, known)}"
            for name in sink.columns
            if not _resolves(name, known)
        ]
    if isinstance(dead, Kafka) and dead.columns is not None:
        problems.append("dead_letters.columns: a dead letter keeps its value; only answers have columns")
    return problems


def _resolves(name: str, known: Collection[str]) -> bool:
    """Whether Spark finds a column, in large or small letters, or a field in it; it reads quotes itself."""
    return name.startswith("`") or name.partition(".")[0].lower() in {column.lower() for column in known}


def _unfit(given: Mapping[str, Any], options: Collection[str]) -> list[str]:
    """Say which options are no arguments of `predict` that a stream takes."""
    own = {"df", "error", *(() if given["versions"] is None else ("model_path",))}
    others = inspect.signature(predict).parameters.keys() - own
    known = others | given.keys()
    return [
        f"{name}: a stream sets it itself"
        if name in own
        else f"{name}: unknown argument; {nearest(name, known)}"
        for name in sorted(set(options) - others)
    ]


def _checkpoint(folder: Path) -> list[str]:
    # A Path has one slash left of the two that follow a URL's scheme: no file system would find it.
    if _URL.match(str(folder)) is None:
        return []
    return [f"checkpoint: {folder} is a URL; take a folder of a file system that driver and executors share"]


def _tensors(decode: Decode | None, options: Mapping[str, Any]) -> list[str]:
    if not isinstance(decode, Bytes) or decode.dtype is None:
        return []
    problems = []
    if options.get("batches") == "arrow":
        problems.append("decode: an Arrow batch has no tensors; give Bytes() and get the bytes")
    if "value" not in (options.get("input") or ("value",)):
        problems.append("input: the tensors of Bytes are in value, which is not among them")
    return problems


def _ends(given: Mapping[str, Any]) -> list[str]:
    """Say which two ends of a stream are one place."""
    source, sink, dead = given["source"], given["sink"], given["dead_letters"]
    problems = [
        f"{name}: its topic {end.topic} is the source's, and the stream would read what it writes for ever"
        for name, end in (("sink", sink), ("dead_letters", dead))
        if isinstance(source, KafkaSource) and isinstance(end, Kafka) and _same_topic(source, end)
    ]
    if isinstance(sink, Kafka) and isinstance(dead, Kafka) and _same_topic(sink, dead):
        problems.append(f"dead_letters: {dead.topic} is the sink's topic too; take another one")
    tables = Delta | Parquet
    if isinstance(sink, tables) and isinstance(dead, tables) and _overlap(sink.path, dead.path):
        problems.append(f"dead_letters: {dead.path} and the sink's {sink.path} overlap; take another folder")
    return problems


def _same_topic(one: KafkaSource | Kafka, other: Kafka) -> bool:
    servers = {server.strip() for server in one.servers.split(",")}
    topics = {topic.strip() for topic in one.topic.split(",")}
    return other.topic in topics and not servers.isdisjoint(
        server.strip() for server in other.servers.split(",")
    )


def _overlap(one: str, other: str) -> bool:
    """Whether who reads one folder finds the other in it; what begins with ``_`` or a dot no reader sees."""
    outer, inner = sorted((_parts(one), _parts(other)), key=len)
    beyond = inner[len(outer) :]
    return inner[: len(outer)] == outer and not (beyond and beyond[0].startswith(("_", ".")))


def _parts(place: str) -> Sequence[str]:
    path = _ON_DISK.sub("", place)
    return PurePosixPath(path if _URL.match(path) else Path(path).resolve()).parts
