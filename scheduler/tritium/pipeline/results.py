"""What the stages of a pipeline leave: frozen records, and how they are kept as JSON."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tritium.infer.profile import Profile

__all__ = [
    "DeviceUse",
    "Failed",
    "Predicted",
    "RankRow",
    "Record",
    "StageName",
    "TaskRow",
    "Told",
    "Trained",
    "Unreadable",
    "Verified",
    "from_json",
    "to_json",
]

StageName = Literal["train", "verify", "infer"]
"""In the order in which they run."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """A device that something ran on."""

    uuid: str
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """Where one rank ran."""

    rank: int
    local_rank: int
    group_rank: int
    host: str
    executor: str
    devices: tuple[DeviceUse, ...]
    pid: int
    seconds: float
    """Lifetime of its process."""
    peak_mib: int | None = None
    """Most memory that it had on the host."""
    device_peak_mib: int | None = None
    """Most memory that it had on its devices, where its framework counts that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Numbers that a rank reported while it ran."""

    rank: int
    at: float
    """Seconds since the epoch, on the driver."""
    values: Mapping[str, float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training left beside the model."""

    metrics: Mapping[str, float]
    ranks: tuple[RankRow, ...]
    phases: Mapping[str, float]
    """Seconds of the gang's phases, in order: see `tritium.train.result.Result`."""
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the check measured."""

    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """Where one inference task ran and how much it did."""

    task: int
    host: str
    executor: str
    devices: tuple[DeviceUse, ...]
    """What it held."""
    rows: int
    began: float
    """Seconds since the epoch, when its device was held."""
    load_s: float
    """Seconds until the model was loaded."""
    seconds: float
    """From then to its last row."""

    @property
    def rows_per_s(self) -> float:
        """Speed once the model was there."""
        return self.rows / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What inference did."""

    rows: int
    tasks: tuple[TaskRow, ...]
    profile: Profile | None
    """Where the time went; ``None`` if there was nothing to predict."""

    @property
    def rows_per_s(self) -> float:
        """Speed of all tasks together, over the time in which one of them at least had its model."""
        busy, reached = 0.0, 0.0
        for task in sorted(self.tasks, key=lambda task: task.began + task.load_s):
            loaded = task.began + task.load_s
            ended = loaded + task.seconds
            busy += max(0.0, ended - max(loaded, reached))
            reached = max(reached, ended)
        return self.rows / max(busy, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt at a stage that failed and was tried again."""

    began: float
    ended: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A finished stage."""

    stage: StageName
    key: str
    """Hash of all that the stage depends on: it never runs again while this is the same."""
    began: float
    """Seconds since the epoch, of the attempt that succeeded."""
    ended: float
    failed: tuple[Failed, ...]
    output: str
    """The model's object for train, the name of the published version for infer, empty for verify."""
    trained: Trained | None = None
    verified: Verified | None = None
    predicted: Predicted | None = None

    @property
    def seconds(self) -> float:
        """How long the attempt that succeeded took."""
        return self.ended - self.began


class Unreadable(ValueError):
    """A text is not the JSON of the type that was expected."""


def to_json(value: Any) -> str:
    """Write a record as JSON."""
    return json.dumps(asdict(value), indent=1) + "\n"


def from_json(kind: type[_T], text: str) -> _T:
    """Read a record back.

    >>> device = DeviceUse(uuid="GPU-1", product="T4")
    >>> from_json(DeviceUse, to_json(device)) == device
    True

    Raises:
        Unreadable: the text is not what `to_json` writes for this type.
    """
    try:
        return _read(kind, json.loads(text))  # type: ignore[no-any-return]  # _read follows the type
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise Unreadable(f"this is not the record of a {kind.__name__}: {err!r}") from err


def _read(kind: Any, value: Any) -> Any:
    """Rebuild a value from JSON, led by its annotated type."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{field.name: _read(hints[field.name], value[field.name]) for field in fields(kind)})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_read(inner[0], item) for item in value)
    if origin is types.UnionType and type(None) in inner:
        return None if value is None else _read(inner[0], value)
    return value
