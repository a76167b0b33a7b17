"""Puts snapshots, requests and decisions into JSON and back, by the annotations of their types.

Objects become objects, tuples lists, links a list of ``[[one, two], link]`` (JSON has no pairs as
keys), and what a document leaves out has its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["Malformed", "from_json", "to_json"]

T = TypeVar("T")


class Malformed(ValueError):
    """A document does not have the form of the type; ``path`` is where."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}")


def to_json(value: object) -> Any:
    """Return a snapshot, request, decision or drain as data for ``json.dumps``.

    >>> from tritium.assign.types import Wait
    >>> from tritium_discovery.device import HostId, Uuid
    >>> to_json(Wait(host=HostId("node-7"), device=Uuid("GPU-8f6d"), holder="gang 7c1e"))
    {'host': 'node-7', 'device': 'GPU-8f6d', 'holder': 'gang 7c1e'}
    """
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, Mapping):
        if any(isinstance(key, tuple) for key in value):
            return [[list(key), to_json(item)] for key, item in value.items()]
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Any, path: str = "$") -> T:
    """Return the snapshot or request that a document describes.

    >>> from tritium.assign.types import Request
    >>> from_json(Request, {"members": "two"})
    Traceback (most recent call last):
    ...
    tritium.assign.wire.Malformed: $.members: expected int, got 'two'

    Raises:
        Malformed: if the document does not fit the type, with the place.
        BadRequest: if it is a request that contradicts itself.
    """
    read: T = _read(kind, data, path)
    return read


def _read(kind: Any, data: Any, path: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, NewType):
        return _read(kind.__supertype__, data, path)
    if origin in (Union, UnionType):
        return (
            None if data is None else _read(next(part for part in parts if part is not NoneType), data, path)
        )
    if origin is Literal:
        if not isinstance(data, str | None) or data not in parts:
            raise Malformed(path, f"expected one of {', '.join(map(repr, parts))}, got {data!r}")
        return data
    if origin is Mapping:
        return _read_mapping(parts[0], parts[1], data, path)
    if origin in (tuple, Sequence):
        return _read_tuple(parts, data, path)
    if is_dataclass(kind):
        return _read_object(kind, _checked(dict, data, path), path)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        if not isinstance(data, str) or data not in kind.__members__:
            raise Malformed(path, f"expected one of {', '.join(kind.__members__)}, got {data!r}")
        return kind[data]
    return data if kind is Any else _checked(kind, data, path)


def _read_object(kind: Any, data: dict[str, Any], path: str) -> Any:
    types = get_type_hints(kind)
    unknown = sorted(data.keys() - types.keys())
    if unknown:
        raise Malformed(path, f"unknown field {unknown[0]}")
    values = {}
    for field in fields(kind):
        if field.name in data:
            values[field.name] = _read(types[field.name], data[field.name], f"{path}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Malformed(path, f"{field.name} is missing")
    return kind(**values)


def _read_mapping(key: Any, value: Any, data: Any, path: str) -> dict[Any, Any]:
    if get_origin(key) is tuple:
        pairs = [_read_tuple((list, Any), pair, path) for pair in _checked(list, data or [], path)]
        return {_read(key, one, path): _read(value, two, f"{path}[{one}]") for one, two in pairs}
    return {one: _read(value, two, f"{path}.{one}") for one, two in _checked(dict, data, path).items()}


def _read_tuple(parts: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    _checked(list, data, path)
    kinds = parts if len(parts) > 1 and parts[1] is not Ellipsis else parts[:1] * len(data)
    if len(kinds) != len(data):
        raise Malformed(path, f"expected {len(kinds)} entries, got {len(data)}")
    return tuple(
        _read(kind, item, f"{path}[{number}]")
        for number, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )


def _checked(kind: type[Any], data: Any, path: str) -> Any:
    if isinstance(data, bool) != (kind is bool) or not isinstance(
        data, (int, float) if kind is float else kind
    ):
        raise Malformed(path, f"expected {kind.__name__}, got {data!r}")
    return data
