"""Reads an untyped document field by field; every mistake is noted with its path, not only the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tritium.infer.kinds import nearest

__all__ = ["Fields"]

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s?(?P<unit>[MGT]iB)")
_MIB = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}


class Fields:
    """One mapping of a document, where it stands, and the list into which its mistakes go.

    Every getter returns a value of its type even after a mistake, so that reading goes on; whoever
    finds ``problems`` filled throws the values away. A getter with a default makes its key optional.
    """

    def __init__(self, value: Mapping[object, object], *, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._value = value
        self._asked: list[str] = []

    def at(self, key: str) -> str:
        """Return the path of one key."""
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._value

    def wrong(self, key: str, sentence: str) -> None:
        """Note a mistake."""
        self.problems.append(f"{self.at(key)}: {sentence}")

    def expected(self, key: str, what: str, value: object) -> None:
        """Note that a value is not what it should be."""
        if value is not _MISSING:
            self.wrong(key, f"expected {what}, got {'nothing' if value is None else repr(value)}")

    def text(self, key: str, *, what: str = "a text", default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = self._get(key, what, default)
        if isinstance(value, str) and value:
            return value
        self.expected(key, what, value)
        return ""

    def fullmatch(self, key: str, pattern: str, *, what: str) -> str:
        """Return a text of one shape; the key is required."""
        before = len(self.problems)
        value = self.text(key, what=what)
        if len(self.problems) == before and not re.fullmatch(pattern, value):
            self.expected(key, what, value)
        return value

    def choice(self, key: str, known: Collection[str], *, default: str | None = None) -> str:
        """Return one of the known texts."""
        before = len(self.problems)
        value = self.text(key, what=_one_of(known), default=default)
        if len(self.problems) == before and value not in known:
            self.expected(key, _one_of(known), value)
        return value

    def whole(self, key: str, *, least: int | None = None, default: int | None = None) -> int:
        """Return a whole number."""
        what = "an integer" if least is None else f"an integer >= {least}"
        value = self._get(key, what, default)
        if isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least):
            return value
        self.expected(key, what, value)
        return least or 0

    def size_mib(self, key: str, *, least: int = 0, default: int) -> int:
        """Return a size of memory in MiB; it is written with its unit."""
        if key not in self._value:
            self._asked.append(key)
            return default
        value = self._get(key, "", None)
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        mib = float(found["number"]) * _MIB[found["unit"]] if found else 0.5
        if not mib.is_integer() or mib < least:
            self.expected(key, "a size of whole MiB such as 8GiB or 512MiB", value)
            return default
        return int(mib)

    def numbers(self, key: str) -> Mapping[str, float]:
        """Return names and numbers; none if the key is not there."""
        inner = self.inside(key, optional=True)
        if inner is None:
            return {}
        found: dict[str, float] = {}
        for name, value in inner.items().items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = float(value)
            else:
                inner.expected(name, "a number", value)
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, in which numbers may stand as they are; none if the key is not there."""
        value = self._get(key, "", ())
        plain = isinstance(value, (list, tuple)) and all(
            isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in value
        )
        if isinstance(value, (list, tuple)) and plain:
            return tuple(map(str, value))
        self.expected(key, "a list such as [--epochs, 3]", value)
        return ()

    def items(self) -> Mapping[str, object]:
        """Return all keys with their values as they are: whatever is there is allowed."""
        texts = {key: value for key, value in self._value.items() if isinstance(key, str)}
        self._asked += texts
        return texts

    def inside(self, key: str, *, optional: bool = False) -> Fields | None:
        """Go into a mapping; ``None`` if it is not there, or is none, which is noted unless optional."""
        if optional and key not in self._value:
            self._asked.append(key)
            return None
        value = self._get(key, "a mapping", None)
        if isinstance(value, Mapping):
            return Fields(value, path=self.at(key), problems=self.problems)
        self.expected(key, "a mapping", value)
        return None

    def done(self) -> None:
        """Note every key that no getter asked for."""
        for key in self._value:
            if key not in self._asked:
                self.wrong(str(key), f"unknown key; {nearest(str(key), self._asked)}")

    def _get(self, key: str, what: str, default: object) -> object:
        self._asked.append(key)
        if key in self._value:
            return self._value[key]
        if default is None:
            self.wrong(key, f"missing; expected {what}")
        return _MISSING if default is None else default


_MISSING = object()


def _one_of(known: Collection[str]) -> str:
    return " or ".join(known) if len(known) < 3 else f"one of {', '.join(known)}"  # noqa: PLR2004  grammar
