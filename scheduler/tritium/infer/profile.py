"""Decides what the reports of many tasks say together: where the time went, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from tritium.infer.report import TaskReport

__all__ = ["STEPS", "Profile", "as_data", "merged", "prometheus", "table"]

STEPS = ("load", "wait", "decode", "preprocess", "copy", "full", "predict", "encode", "write")
"""In the order in which a row meets them."""
_BUSY = 0.85
"""A device that predicts for this part of the time has no bottleneck but itself."""
_OWNER = attrgetter("host", "executor", "owner")
"""Executors in containers of one host may have owners of the same pid."""
_SHORT_S = 0.001
"""A call of the model that is shorter costs more than it does."""

_ADVICE: Mapping[str, str] = {
    "wait": "tasks waited {share} of their time for rows of Spark; more partitions or a faster source "
    "would help",
    "decode": "making arrays of columns took {share} of the tasks' time; more cores per device "
    "(spark.executor.cores), or columns of fixed-size lists or numbers, would help",
    "preprocess": "preprocess took {share} of the tasks' time; more cores per device (spark.executor.cores), "
    "or doing it on the device, would help",
    "copy": "copying batches took {share} of the tasks' time; fewer bytes per row, as by smaller types, "
    "would help",
    "encode": "making columns of the answers took {share} of the tasks' time; fewer or smaller outputs "
    "would help",
    "write": "Spark took the answers slowly, {share} of the tasks' time; a faster sink would help",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time of a run went, all tasks together."""

    tasks: int
    owners: int
    """Processes that had the model."""
    rows: int
    bad: int
    """Rows that failed."""
    batches: int
    mean_batch: float
    """Rows per call of the model."""
    largest_batch: int
    seconds: float
    """Of all tasks, from when they had an owner; more than the clock shows where they ran side by side."""
    load_s: float
    """The longest that a task waited for the model."""
    steps: Mapping[str, float]
    """Seconds of all tasks by step; what ran ahead of the model overlaps with ``load`` and ``predict``."""
    queued: float
    """Batches that waited at an owner when it began the next one, on average."""
    rows_per_s: float
    """From the first loaded model to the last row."""
    busy: Mapping[str, float]
    """By device, or ``CPU``: the part of the time, from its first answer to its last, that it predicted."""
    reading: str
    """Who read the rows, and why: one sentence, or several where calls of `predict` differ."""
    bottleneck: str
    """One sentence: what the run waited for, and what would help."""

    @property
    def busy_share(self) -> float:
        """Of all devices together."""
        return sum(self.busy.values()) / len(self.busy) if self.busy else 0.0


def merged(reports: Sequence[TaskReport]) -> Profile:
    """Merge what tasks reported."""
    seconds = sum(report.load_s + report.seconds for report in reports)
    steps = {step: sum(getattr(report, f"{step}_s") for report in reports) for step in STEPS}
    batches = sum(report.batches for report in reports)
    rows = sum(report.rows for report in reports)
    began = min((report.began + report.load_s for report in reports), default=0.0)
    ended = max((report.began + report.load_s + report.seconds for report in reports), default=0.0)
    busy = _busy(reports)
    longest_load = max((report.load_s for report in reports), default=0.0)
    return Profile(
        tasks=len(reports),
        owners=len({_OWNER(report) for report in reports}),
        rows=rows,
        bad=sum(report.bad for report in reports),
        batches=batches,
        mean_batch=rows / max(batches, 1),
        largest_batch=max((report.largest for report in reports), default=0),
        seconds=seconds,
        load_s=longest_load,
        steps=steps,
        queued=sum(report.queued * report.batches for report in reports) / max(batches, 1),
        rows_per_s=rows / max(ended - began, 1e-9),
        busy=busy,
        reading="; ".join(dict.fromkeys(report.reading for report in reports)),
        bottleneck=_bottleneck(
            steps, seconds=seconds, busy=busy, batches=batches, load_s=longest_load, wall_s=ended - began
        ),
    )


def _busy(reports: Sequence[TaskReport]) -> Mapping[str, float]:
    """How busy each device was; its owners' counters go up for all tasks at once."""
    times: dict[str, list[tuple[float, float]]] = {}
    for _, tasks in groupby(sorted(reports, key=_OWNER), key=_OWNER):
        known = [(report.device or "CPU", report.busy) for report in tasks if report.busy is not None]
        if known:
            first_at, first_s = min((busy[2], busy[0]) for _, busy in known)
            last_at, last_s = max((busy[3], busy[1]) for _, busy in known)
            times.setdefault(known[0][0], []).append((last_s - first_s, last_at - first_at))
    return {
        device: sum(busy for busy, _ in spans) / total if (total := sum(wall for _, wall in spans)) else 0.0
        for device, spans in times.items()
    }


def _bottleneck(
    steps: Mapping[str, float],
    *,
    seconds: float,
    busy: Mapping[str, float],
    batches: int,
    load_s: float,
    wall_s: float,
) -> str:
    if not batches:
        return "there was nothing to predict"
    if not busy:
        return "no row got to the model: all were bad, and the column of errors says why"
    if load_s > wall_s:
        return (
            f"loading the model took {load_s:.1f} s, longer than using it; a larger run or keep_s would help"
        )
    share = sum(busy.values()) / len(busy)
    if share >= _BUSY:
        return (
            f"the model was busy {share:.0%} of the time, so nothing else held it up; more devices, "
            "a larger batch_size or a faster model would help"
        )
    if steps["predict"] / batches < _SHORT_S:
        return (
            f"a call of the model took {1000 * steps['predict'] / batches:.2f} ms, less than what is around "
            "it; a larger batch_size would help"
        )
    worst = max(_ADVICE, key=lambda step: (steps[step], step))
    part = f"{steps[worst] / max(seconds, 1e-9):.0%}"
    return f"{_ADVICE[worst].format(share=part)} (the model was busy {share:.0%} of the time)"


def table(profile: Profile) -> str:
    """Set a profile as a table for a terminal, with the sentence below it."""
    lines = [f"{'step':12}{'seconds':>10}{'of tasks':>10}"]
    for step in STEPS:
        seconds = profile.steps[step]
        lines.append(f"{step:12}{seconds:>10.2f}{seconds / max(profile.seconds, 1e-9):>10.0%}")
    facts = (
        f"{_counted(profile.rows, 'row')}, {profile.bad:,} bad, in "
        f"{_counted(profile.batches, 'batch', 'batches')} of {profile.mean_batch:.0f} by "
        f"{_counted(profile.tasks, 'task')} and {_counted(profile.owners, 'model')}; "
        f"{profile.rows_per_s:,.0f} rows/s, {profile.queued:.1f} batches queued, "
        f"busy {profile.busy_share:.0%}"
    )
    sentences = (profile.reading, profile.bottleneck)
    return "\n".join((*lines, facts, *(f"{said[0].upper()}{said[1:]}." for said in sentences if said)))


def as_data(profile: Profile) -> dict[str, Any]:
    """Return a profile as plain data, for programs."""
    return {**asdict(profile), "busy_share": profile.busy_share}


def prometheus(profile: Profile, *, job: str) -> str:
    """Write a profile in Prometheus' text format, as for a node exporter's textfile collector."""
    label = f'job="{_escaped(job)}"'
    lines = [
        "# HELP tritium_infer_rows_total Rows that went through the model.",
        "# TYPE tritium_infer_rows_total counter",
        f"tritium_infer_rows_total{{{label}}} {profile.rows}",
        "# HELP tritium_infer_bad_rows_total Rows that failed.",
        "# TYPE tritium_infer_bad_rows_total counter",
        f"tritium_infer_bad_rows_total{{{label}}} {profile.bad}",
        "# HELP tritium_infer_batches_total Calls of the model.",
        "# TYPE tritium_infer_batches_total counter",
        f"tritium_infer_batches_total{{{label}}} {profile.batches}",
        "# HELP tritium_infer_seconds_total Seconds of all tasks by step.",
        "# TYPE tritium_infer_seconds_total counter",
        *(
            f'tritium_infer_seconds_total{{{label},step="{step}"}} {seconds:.6f}'
            for step, seconds in profile.steps.items()
        ),
        "# HELP tritium_infer_busy_ratio Part of the time that a device predicted.",
        "# TYPE tritium_infer_busy_ratio gauge",
        *(
            f'tritium_infer_busy_ratio{{{label},UUID="{device}"}} {share:.4f}'
            for device, share in sorted(profile.busy.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def _counted(number: int, one: str, more: str = "") -> str:
    """Say how many.

    >>> _counted(1, "model"), _counted(2000, "batch", "batches")
    ('1 model', '2,000 batches')
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def _escaped(text: str) -> str:
    r"""Escape a label's value.

    >>> _escaped('a "b"')
    'a \\"b\\"'
    """
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
