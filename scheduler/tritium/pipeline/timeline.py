"""Decides where on a timeline each thing stands: one lane for the stages, one for every device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tritium.pipeline.results import DeviceUse, Failed, Record, StageName

__all__ = ["Axis", "Bar", "Lane", "Timeline", "timeline"]

Kind = StageName | Literal["failed"]
"""What a bar is about; it decides its colour."""

_LONGEST_GAP_S = 5.0
"""A run may be resumed days later: longer gaps between stages are cut down to this."""
_SHORTEST = 0.4
"""Percent of the axis that even the shortest bar takes, so that it can be seen."""
_MOST_TICKS = 6
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Something that took time."""

    label: str
    title: str
    """What a pointer resting on it says."""
    kind: Kind
    start: float
    """In percent of the axis."""
    length: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One line of a timeline."""

    label: str
    detail: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All lanes, and the seconds at which the axis is marked."""

    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    """Position in percent, and what stands there, e.g. ``10 s``."""
    cuts: tuple[tuple[float, str], ...]
    """Where time was cut out, and how much, e.g. ``3 h later``."""


class Axis:
    """Maps moments to percent, with the long gaps between busy spans cut out."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._busy = _merged(spans)
        self.cuts: list[tuple[float, float]] = []
        """Seconds on the axis, and seconds that were cut out there."""
        self._start = [0.0]
        for (_, ended), (began, _) in pairwise(self._busy):
            gap = began - ended
            position = self._start[-1] + ended - self._busy[len(self._start) - 1][0]
            if gap > _LONGEST_GAP_S:
                self.cuts.append((position + _LONGEST_GAP_S / 2, gap))
            self._start.append(position + min(gap, _LONGEST_GAP_S))
        began, ended = self._busy[-1]
        self.seconds = max(self._start[-1] + ended - began, 0.001)
        """Length of the axis."""

    def percent(self, moment: float) -> float:
        """Return where a moment stands; one outside every span stands at the nearest end of one."""
        for start, (began, ended) in zip(reversed(self._start), reversed(self._busy), strict=True):
            if moment >= began:
                return 100 * (start + min(moment, ended) - began) / self.seconds
        return 0.0


def timeline(records: Mapping[StageName, Record], failed: Mapping[StageName, tuple[Failed, ...]]) -> Timeline:
    """Lay out what ran when: stages and failed attempts above, then each device and who had it."""
    attempts = {stage: (*record.failed,) for stage, record in records.items()} | dict(failed)
    spans = [(record.began, record.ended) for record in records.values()]
    spans += [(attempt.began, attempt.ended) for each in attempts.values() for attempt in each]
    if not spans:
        return Timeline(lanes=(), ticks=(), cuts=())
    axis = Axis(spans)
    stages = [
        _bar(axis, stage, (record.began, record.ended), label=stage, title=f"{record.seconds:.1f} s")
        for stage, record in records.items()
    ]
    stages += [
        _bar(axis, "failed", (attempt.began, attempt.ended), label=f"{stage} failed", title=attempt.sentence)
        for stage, each in attempts.items()
        for attempt in each
    ]
    return Timeline(
        lanes=(
            Lane(label="stages", detail="", bars=tuple(stages)),
            *_gang_lane(axis, records),
            *_device_lanes(axis, records),
        ),
        ticks=tuple(_ticks(axis.seconds)),
        cuts=tuple((100 * at / axis.seconds, f"{_duration(gap)} later") for at, gap in axis.cuts),
    )


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans in order, those that touch as one."""
    merged: list[tuple[float, float]] = []
    for began, ended in sorted(spans):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((began, ended))
    return merged


def _bar(axis: Axis, kind: Kind, span: tuple[float, float], *, label: str, title: str) -> Bar:
    start = axis.percent(span[0])
    length = max(axis.percent(span[1]) - start, _SHORTEST)
    return Bar(label=label, title=title, kind=kind, start=start, length=length)


def _gang_lane(axis: Axis, records: Mapping[StageName, Record]) -> Iterator[Lane]:
    """What training did one after the other; its phases end with the stage."""
    record = records.get("train")
    if record is None or record.trained is None:
        return
    phases = record.trained.phases
    began = max(record.began, record.ended - sum(phases.values()))
    bars = []
    for phase, seconds in phases.items():
        span = (began, began + seconds)
        bars.append(_bar(axis, "train", span, label=phase, title=f"{seconds:.2f} s"))
        began += seconds
    detail = f"ran after {sum(phases.values()) - phases.get('run', 0.0):.1f} s"
    yield Lane(label="the gang", detail=detail, bars=tuple(bars))


def _device_lanes(axis: Axis, records: Mapping[StageName, Record]) -> Iterator[Lane]:
    lanes: dict[tuple[str, str, str], list[Bar]] = {}
    for executor, host, device, bar in _uses(axis, records):
        lanes.setdefault((host, executor, device.uuid), []).append(bar)
    for (host, executor, uuid), bars in sorted(lanes.items()):
        yield Lane(label=f"{executor} on {host}", detail=uuid, bars=tuple(bars))


def _uses(axis: Axis, records: Mapping[StageName, Record]) -> Iterator[tuple[str, str, DeviceUse, Bar]]:
    train = records.get("train")
    if train is not None and train.trained is not None:
        began = train.ended - train.trained.phases.get("run", train.seconds)
        for rank in train.trained.ranks:
            title = f"process {rank.pid}, {rank.seconds:.1f} s"
            span = (began, min(train.ended, began + rank.seconds))
            bar = _bar(axis, "train", span, label=f"rank {rank.rank}", title=title)
            yield from ((rank.executor, rank.host, device, bar) for device in rank.devices)
    infer = records.get("infer")
    if infer is not None and infer.predicted is not None:
        for task in infer.predicted.tasks:
            title = f"model loaded in {task.load_s:.2f} s, {task.rows:,} rows in {task.seconds:.2f} s"
            span = (task.began, task.began + task.load_s + task.seconds)
            bar = _bar(axis, "infer", span, label=f"task {task.task}", title=title)
            yield from ((task.executor, task.host, device, bar) for device in task.devices)


def _ticks(seconds: float) -> Iterator[tuple[float, str]]:
    """Yield at most seven marks at round numbers of seconds."""
    step = next((step for step in _STEPS_S if seconds / step <= _MOST_TICKS), 2 * _STEPS_S[-1])
    for number in range(int(seconds / step) + 1):
        yield 100 * number * step / seconds, _duration(number * step)


def _duration(seconds: float) -> str:
    """Say a length of time roughly.

    >>> _duration(0.5), _duration(90), _duration(7200)
    ('0.5 s', '1.5 min', '2 h')
    """
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
