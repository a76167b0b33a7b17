"""The edge to the screen: progress bars on a terminal, plain lines everywhere else; always on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from tritium.pipeline.edges import Watcher
from tritium.pipeline.results import StageName, Told

__all__ = ["Bars", "Lines", "Screen", "screen", "words"]


def words(told: Told) -> str:
    """Say what a rank reported.

    >>> words(Told(rank=0, at=0.0, values={"epoch": 3, "epochs": 8, "loss": 0.071234}))
    'epoch 3/8, loss 0.0712'
    """
    values = dict(told.values)
    parts = []
    if "epoch" in values:
        epochs = values.pop("epochs", None)
        parts.append(f"epoch {values.pop('epoch')}" + (f"/{epochs}" if epochs is not None else ""))
    parts += [f"{name} {_short(value)}" for name, value in values.items()]
    return ", ".join(parts)


def _short(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Screen(Watcher, Protocol):
    """A watcher that also says what belongs to no stage."""

    def notes(self, sentence: str) -> None:
        """Say it."""


@contextmanager
def screen(stream: TextIO) -> Iterator[Screen]:
    """Return what suits a stream, for as long as a run lasts."""
    if not stream.isatty():
        yield Lines(stream)
        return
    progress = Progress(
        _Mark(finished_text="[green]✓"),
        TextColumn("{task.description:<7}"),
        BarColumn(bar_width=32, complete_style="cyan", finished_style="green", pulse_style="cyan"),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        console=Console(file=stream),
    )
    with progress:
        yield Bars(progress)


class _Mark(SpinnerColumn):
    """Turns while a stage runs, then says how it ended."""

    def render(self, task: Task) -> RenderableType:
        """See `SpinnerColumn.render`."""
        return Text("✗", style="red") if task.fields["failed"] else super().render(task)


class Lines:
    """One line for each thing that is said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def notes(self, sentence: str) -> None:
        """See `Screen.notes`."""
        self._stream.write(f"{sentence}\n")
        self._stream.flush()

    def begins(self, stage: StageName, *, attempt: int) -> None:
        """See `Watcher.begins`."""
        self._say(stage, "begins" if attempt == 0 else f"begins again, retry {attempt}")

    def hears(self, stage: StageName, told: Told) -> None:
        """See `Watcher.hears`."""
        self._say(stage, f"rank {told.rank}: {words(told)}")

    def advances(self, stage: StageName, *, done: int, total: int) -> None:
        """See `Watcher.advances`."""
        self._say(stage, f"{done} of {total} tasks")

    def ends(self, stage: StageName, sentence: str) -> None:
        """See `Watcher.ends`."""
        self._say(stage, sentence)

    def fails(self, stage: StageName, sentence: str) -> None:
        """See `Watcher.fails`."""
        self._say(stage, sentence)

    def _say(self, stage: StageName, sentence: str) -> None:
        self.notes(f"{stage}: {sentence}")


class Bars:
    """One bar for each stage; a rank's epochs, or the tasks done, fill it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[StageName, TaskID] = {}

    def notes(self, sentence: str) -> None:
        """See `Screen.notes`."""
        self._progress.console.print(sentence, highlight=False)

    def begins(self, stage: StageName, *, attempt: int) -> None:
        """See `Watcher.begins`."""
        said = "" if attempt == 0 else f"retry {attempt}"
        self._progress.reset(self._task(stage), total=None, completed=0, said=said, failed=False)

    def hears(self, stage: StageName, told: Told) -> None:
        """See `Watcher.hears`."""
        if told.rank == 0:
            done, total = _filled(told.values)
            self._progress.update(self._task(stage), said=words(told), completed=done, total=total)

    def advances(self, stage: StageName, *, done: int, total: int) -> None:
        """See `Watcher.advances`."""
        said = f"{done} of {total} tasks"
        self._progress.update(self._task(stage), completed=done, total=total, said=said)

    def ends(self, stage: StageName, sentence: str) -> None:
        """See `Watcher.ends`."""
        self._progress.update(self._task(stage), total=1, completed=1, said=sentence)
        self._progress.stop_task(self._task(stage))

    def fails(self, stage: StageName, sentence: str) -> None:
        """See `Watcher.fails`; the bar stays where it was."""
        self._progress.update(self._task(stage), said=sentence, failed=True)
        self._progress.stop_task(self._task(stage))

    def _task(self, stage: StageName) -> TaskID:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=None, said="", failed=False)
        return self._tasks[stage]


def _filled(values: Mapping[str, float | str]) -> tuple[float | None, float | None]:
    """Return how far a rank is, and how far it goes; ``None`` leaves the bar as it is."""
    epoch, epochs = values.get("epoch"), values.get("epochs")
    if isinstance(epoch, (int, float)) and isinstance(epochs, (int, float)):
        return epoch, epochs
    return None, None
