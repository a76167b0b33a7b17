"""Edge to cloudpickle: a user's function as the bytes that executors get, and a name of what it does."""

from __future__ import annotations

import hashlib
import pickle
import re
import types
from collections import ChainMap
from dataclasses import dataclass
from typing import Any, ClassVar

from pyspark.cloudpickle import CloudPickler, dumps
from pyspark.cloudpickle.cloudpickle import _DYNAMIC_CLASS_TRACKER_BY_ID as _CLASSES

from tritium.errors import BadSpec

__all__ = ["Packed", "packed", "unpacked"]

_Pickler: Any = CloudPickler  # it has no types

_SHORT_TEXT = re.compile(rb"\x8c\x20([0-9a-f]{32})")
"""What cloudpickle's ids of classes look like in a pickle (SHORT_BINUNICODE), and others' texts as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A pickled value."""

    data: bytes
    name: str
    """The same in each process that runs the same code, so that sessions share what is made of it."""


def packed(value: object, *, call: str, argument: str) -> Packed:
    """Pickle what belongs to an argument of a call.

    The name is no hash of the pickle, in which each process has random ids for its own classes and the place
    of the code, such as a notebook's. A set of texts has an order in each process (``PYTHONHASHSEED``), so
    those who use one, also as ``word in {"a", "b"}``, have names of their own; so have scripts in different
    folders, which may look for files beside themselves (``__file__``).

    Raises:
        BadSpec: something that the function uses cannot be sent, as a lock or a connection.
    """
    try:
        alike = _Alike()
        _Placeless(alike).dump(value)
        data: bytes = dumps(value)
    except Exception as err:
        why = str(err).partition("\n")[0]
        raise BadSpec(call, [f"{argument}: it uses what cannot be sent to executors: {why}"]) from err
    return Packed(data=data, name=alike.hash.hexdigest())


def unpacked(data: bytes, *, files: str) -> Any:
    """Unpickle in a process of ours, in which ``SparkFiles`` finds from here on what it finds in a task."""
    from pyspark import SparkFiles

    SparkFiles._root_directory, SparkFiles._is_running_on_worker = files, True  # noqa: SLF001  as pyspark.worker
    return pickle.loads(data)  # noqa: S301  the user's own


class _Placeless(_Pickler):  # type: ignore[misc]  # see there
    """Pickles code without the name of its file, and nothing that only tasks can read."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {types.CodeType: lambda code: _Pickler.dispatch_table[types.CodeType](code.replace(co_filename=""))},
        _Pickler.dispatch_table,
    )

    def reducer_override(self, value: object) -> Any:
        """Refuse a broadcast variable, whose pickle is the number that a task knows it by."""
        if type(value).__module__ == "pyspark.core.broadcast":
            raise pickle.PicklingError("a broadcast variable; use its value, or SparkContext.addFile")
        return super().reducer_override(value)


class _Alike:
    """Hashes a pickle, with cloudpickle's own ids of classes replaced by their order."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._numbers: dict[str, int] = {}

    def write(self, data: Any) -> int:
        """Take what the pickler writes, which never cuts a short text in two."""
        whole = bytes(data)  # a large array comes as it lies in memory
        self.hash.update(_SHORT_TEXT.sub(self._numbered, whole))
        return len(whole)

    def _numbered(self, found: re.Match[bytes]) -> bytes:
        text = found[1].decode()
        if text not in _CLASSES:
            return found[0]
        return b"class %d" % self._numbers.setdefault(text, len(self._numbers))
