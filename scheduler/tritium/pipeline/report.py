"""Writes what a run led to as one page of HTML that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

from tritium.errors import ModelFailed, RankFailed, TooSlow
from tritium.pipeline.charts import curve, meter, timeline_svg
from tritium.pipeline.plan import Plan, why
from tritium.pipeline.results import DeviceUse, Predicted, Trained
from tritium.pipeline.run import Run
from tritium.pipeline.spec import Pipeline
from tritium.pipeline.timeline import timeline

__all__ = ["Story", "render"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that a report tells."""

    pipeline: Pipeline
    run: Run
    plan: Plan | None
    """``None`` where the driver could not look at the devices beforehand."""
    machine: str | None
    """The emulated machine, ``None`` on real hardware."""
    facts: Mapping[str, str]
    """The environment, e.g. ``{"Spark": "4.2.0"}``."""


def render(story: Story) -> str:
    """Return the page."""
    sections = (
        _head(story),
        _timeline(story),
        _training(story.run),
        _inference(story.run),
        _decisions(story.plan),
        _environment(story),
    )
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{story.pipeline.name}: Tritium run"), body="\n".join(part for part in sections if part)
    )


def _head(story: Story) -> str:
    run = story.run
    name = escape(story.pipeline.name)
    when = max((record.ended for record in run.records.values()), default=None)
    date = f", {_utc(when)}" if when is not None else ""
    lines = [f'<header><div class="kicker"><b>Tritium</b> &nbsp;pipeline {name}{date}</div>']
    if run.error is None:
        lines.append(f"<h1>{_outcome(run)}</h1>")
    else:
        lines.append('<h1 class="failed">The run <em>stopped</em> before it was done.</h1>')
        lines.append(f'<div class="lead"><pre>{escape(str(run.error))}</pre></div>')
        # The user's own code failed: here, unlike on the screen, is room for its own traceback.
        if isinstance(run.error, (RankFailed, ModelFailed, TooSlow)) and run.error.trace:
            lines.append(
                f"<details><summary>traceback</summary><pre>{escape(run.error.trace)}</pre></details>"
            )
    lines.append(_figures(run))
    if story.machine is not None:
        machine = f"<code>{escape(story.machine)}</code>"
        lines.append(
            f'<p class="note">The devices are <b>emulated</b>: machine {machine}. Spark, the processes, the '
            "data, the training and the locks are real; computation ran on the CPU.</p>"
        )
    return "".join(lines) + "</header>"


def _outcome(run: Run) -> str:
    did = []
    if (train := run.records.get("train")) is not None and train.trained is not None:
        did.append(f"trained by {_count(len(train.trained.ranks), 'rank')}")
    if "verify" in run.records:
        did.append("<em>verified</em>")
    if (infer := run.records.get("infer")) is not None and infer.predicted is not None:
        did.append(f"used on {_count(infer.predicted.rows, 'row')}")
    said = ", ".join(did[:-1]) + f" and {did[-1]}" if len(did) > 1 else did[0]
    return f"The model was {said}."


def _figures(run: Run) -> str:
    shown: list[tuple[str, str]] = []
    if (verify := run.records.get("verify")) is not None and verify.verified is not None:
        shown += [(name, f"{value:.4g}") for name, value in list(verify.verified.metrics.items())[:3]]
    if (infer := run.records.get("infer")) is not None and infer.predicted is not None:
        shown.append(("inference", f"{infer.predicted.rows_per_s:,.0f} <small>rows/s</small>"))
    if run.records:
        seconds = sum(record.seconds for record in run.records.values())
        shown.append(("stages together", f"{seconds:.1f} <small>s</small>"))
        used = {device.uuid for device in _used(run)}
        shown.append(("devices used", str(len(used)) if used else "none"))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in shown)
    return f'<dl class="figures">{cells}</dl>' if cells else ""


def _used(run: Run) -> Iterator[DeviceUse]:
    for record in run.records.values():
        if record.trained is not None:
            yield from (device for rank in record.trained.ranks for device in rank.devices)
        if record.predicted is not None:
            yield from (device for task in record.predicted.tasks for device in task.devices)


def _timeline(story: Story) -> str:
    drawn = timeline(story.run.records, story.run.failed)
    if not drawn.lanes:
        return ""
    earlier = [stage for stage in story.run.records if stage not in story.run.done_now]
    again = f" Finished by an earlier run and not run again: {', '.join(earlier)}." if earlier else ""
    said = f"Stages, and below them every device with the process that held it.{again}"
    return _section("Timeline", said, timeline_svg(drawn))


def _training(run: Run) -> str:
    record = run.records.get("train")
    if record is None or record.trained is None:
        return ""
    rows = [
        (
            str(rank.rank),
            rank.executor,
            rank.host,
            _devices(rank.devices),
            str(rank.pid),
            f"{rank.seconds:.1f}",
            _mib(rank.peak_mib),
            _mib(rank.device_peak_mib),
        )
        for rank in record.trained.ranks
    ]
    head = ("rank", "executor", "host", "device", "process", "seconds", "peak MiB", "peak MiB on device")
    table = _table(head, rows, numbers=(0, 4, 5, 6, 7))
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in record.trained.phases.items())
    retried = "".join(f" An earlier attempt failed: {escape(failed.sentence)}." for failed in record.failed)
    return _section("Training", f"{escape(phases)}.{retried}", _curves(record.trained) + table)


def _curves(trained: Trained) -> str:
    """Draw every number that ranks reported more than once, over the epoch if they said one."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    seen: dict[int, int] = {}
    for told in trained.told:
        seen[told.rank] = seen.get(told.rank, 0) + 1
        x = told.values.get("epoch", seen[told.rank])
        for name, y in told.values.items():
            if (
                name not in ("epoch", "epochs")
                and isinstance(y, (int, float))
                and isinstance(x, (int, float))
            ):
                lines.setdefault(name, {}).setdefault(f"rank {told.rank}", []).append((float(x), float(y)))
    across = "epoch" if any("epoch" in told.values for told in trained.told) else "report"
    drawn = [
        curve(name, dict(sorted(ranks.items())), across=across)
        for name, ranks in lines.items()
        if max(map(len, ranks.values())) > 1
    ]
    return f'<div class="curves">{"".join(drawn)}</div>' if drawn else ""


def _inference(run: Run) -> str:
    record = run.records.get("infer")
    if record is None or record.predicted is None:
        return ""
    tasks = record.predicted.tasks
    fastest = max((task.rows_per_s for task in tasks), default=1.0)
    rows = [
        (
            str(task.task),
            task.executor,
            task.host,
            _devices(task.devices),
            f"{task.rows:,}",
            f"{task.load_s:.1f}",
            f"{task.rows_per_s:,.0f}",
            meter(task.rows_per_s / fastest),
        )
        for task in tasks
    ]
    head = ("task", "executor", "host", "device", "rows", "load s", "rows/s", "")
    done = f"{record.predicted.rows:,} rows in {_count(len(tasks), 'task')}"
    said = f"{done}; the speeds are those once a model was loaded."
    return _section("Inference", said, _table(head, rows, numbers=(0, 4, 5, 6)) + _profile(record.predicted))


def _profile(predicted: Predicted) -> str:
    """Draw where the time of the tasks went, and say what held them up."""
    if (profile := predicted.profile) is None:
        return ""
    shares = {step: seconds / max(profile.seconds, 1e-9) for step, seconds in profile.steps.items()}
    rows = [
        (step, f"{profile.steps[step]:.2f}", f"{share:.0%}", meter(min(share, 1.0)))
        for step, share in shares.items()
    ]
    busy = ", ".join(f"<code>{escape(device)}</code> {share:.0%}" for device, share in profile.busy.items())
    said = (
        f"{_count(profile.batches, 'call')} of the model, {profile.mean_batch:.0f} rows each on average; "
        f"it was busy: {busy}. The rows: {escape(profile.reading)}. "
        f"The bottleneck: {escape(profile.bottleneck)}."
    )
    head = ("step", "seconds of all tasks", "of their time", "")
    return f"<h3>Where the time went</h3><p>{said}</p>{_table(head, rows, numbers=(1, 2))}"


def _decisions(plan: Plan | None) -> str:
    if plan is None:
        return ""
    parts = []
    for stage in plan.stages:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in why(plan, stage))
        parts.append(f"<h3>{escape(stage.stage)}: {escape(stage.asks)}</h3><ul class='why'>{reasons}</ul>")
    said = "What the assigner was asked before the run, what it saw, and what spoke for its answer."
    return _section("Decisions", said, "".join(parts))


def _environment(story: Story) -> str:
    machine = "real hardware" if story.machine is None else f"emulated machine {story.machine}"
    facts = {"devices": machine, **story.facts}
    if (train := story.run.records.get("train")) is not None:
        facts["model"] = f"object {train.output}"
    cells = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts.items()
    )
    return _section("Environment", "", f'<dl class="facts">{cells}</dl>')


def _section(title: str, said: str, content: str) -> str:
    words = f"<p>{said}</p>" if said else ""
    return f"<section><h2>{title}</h2>{words}{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int]) -> str:
    """Set cells, which are HTML already, in a table; ``numbers`` are the columns that stand at the right."""

    def cells(kind: str, row: Sequence[str]) -> str:
        marks = [' class="n"' if at in numbers else "" for at in range(len(row))]
        return "".join(f"<{kind}{mark}>{cell}</{kind}>" for mark, cell in zip(marks, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _devices(devices: Sequence[DeviceUse]) -> str:
    if not devices:
        return "CPU"
    return "".join(
        f"<code>{escape(device.uuid)}</code><small>{escape(device.product)}</small>" for device in devices
    )


def _mib(amount: int | None) -> str:
    return f"{amount:,}" if amount is not None else "not counted"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%-d %B %Y, %H:%M UTC")
