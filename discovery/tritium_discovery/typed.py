"""Typed getters on a mapping from YAML; each failure names its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any, TypeVar

from tritium_discovery.errors import BadMachine

__all__ = ["Typed"]

_T = TypeVar("_T")


class Typed:
    """Typed getters on a mapping from YAML; what was not asked for by the end is an unknown key."""

    def __init__(self, data: object, *, at: str) -> None:
        if not isinstance(data, dict):
            raise BadMachine(f"{at}: expected a mapping, got {short(data)}".removeprefix(": "))
        self.data: dict[Any, Any] = data
        self.at = at
        self._seen: set[str] = set()

    def child(self, data: object, at: str) -> Typed:
        """A mapping inside, at its own place."""
        return Typed(data, at=at)

    def take(self, key: str, kind: type[_T], default: _T) -> _T:
        """A value of one type."""
        self._seen.add(key)
        found = self.data.get(key, default)
        if kind is str and type(found) in {int, float}:
            found = str(found)  # YAML reads 8.0 and 12.4 as numbers
        if type(found) is not kind:
            raise BadMachine(f"{self._path(key)}: expected {kind.__name__}, got {short(found)}")
        return found

    def count(self, key: str, default: int, *, most: int) -> int:
        """An integer from 0 to ``most``."""
        found = self.take(key, int, default)
        if not 0 <= found <= most:
            raise BadMachine(f"{self._path(key)}: expected an integer from 0 to {most}, got {found}")
        return found

    def sequence(self, key: str, default: Sequence[object]) -> Sequence[object]:
        """A list of anything."""
        return self.take(key, list, list(default))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A mapping of anything."""
        return self.take(key, dict, {})

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        items = self.sequence(key, ())
        return tuple(self.child({key: item}, self.at).take(key, str, "") for item in items)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of integers."""
        items = self.sequence(key, ())
        return tuple(self.child({key: item}, self.at).take(key, int, 0) for item in items)

    def codes(self, key: str) -> Mapping[str, int]:
        """Integers by name."""
        found = Typed(self.mapping(key), at=self._path(key))
        return {str(call): found.take(call, int, 0) for call in found.data}

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        unknown = sorted(str(key) for key in self.data if key not in self._seen)
        if unknown:
            raise BadMachine(
                f"{self._path(unknown[0])}: unknown key; known are {', '.join(sorted(self._seen))}"
            )

    def _path(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key
