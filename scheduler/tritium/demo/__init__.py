"""The demo: a pipeline that ships in the wheel, on data that scikit-learn ships."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritium.pipeline.report import Story
from tritium.pipeline.results import RankRow, TaskRow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["prepare", "say_what_happened"]

_PARTS: Mapping[str, tuple[int, int]] = {"train": (0, 1000), "holdout": (1000, 1300), "rest": (1300, 1797)}
"""Which of the 1,797 digits go where, in the order in which scikit-learn has them."""
_FILES = 4
"""Files per part, so that Spark reads it with several tasks."""


def prepare(folder: Path, *, say: Callable[[str], None]) -> tuple[Path, bool]:
    """Put pipeline, code and data into a folder; returns the pipeline file, and whether to begin anew.

    What is there already stays, changes of the user's too; so a demo that was stopped goes on, and one
    that is complete is shown again from its beginning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pipeline.yaml", "digits.py"):
        if not (folder / name).exists():
            with as_file(files(__package__).joinpath(name)) as shipped:
                shutil.copyfile(shipped, folder / name)
    if not (folder / "data").exists():
        say("demo: writing scikit-learn's handwritten digits as Parquet")
        _write_data(folder / "data")
    complete = (folder / ".tritium/digits/stages/infer.json").exists()
    return folder / "pipeline.yaml", complete


def _write_data(folder: Path) -> None:
    """Write all parts under another name first: half of the data must not look like all of it."""
    import pyarrow.parquet as pq

    digits = _digits()
    partial = folder.with_name(".data.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part, (first, last) in _PARTS.items():
        (partial / part).mkdir(parents=True)
        size = -(-(last - first) // _FILES)
        for number, start in enumerate(range(first, last, size)):
            rows = digits.slice(start, min(size, last - start))
            pq.write_table(rows, partial / part / f"part-{number}.parquet")
    partial.rename(folder)


def _digits() -> pa.Table:
    """Return the digits, shuffled: 64 pixels from 0 to 1, and the digit that they show.

    They come writer by writer; each part shall have something of everybody's hand.
    """
    import numpy as np
    import pyarrow as pa
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = [(pixels[row] / 16).astype("float32") for row in order]
    columns = (
        pa.array(order, pa.int32()),
        pa.array(images, pa.list_(pa.float32())),
        pa.array(labels[order], pa.int32()),
    )
    return pa.table(columns, names=["id", "pixels", "label"])


def say_what_happened(
    story: Story, folder: Path, *, say: Callable[[str], None], show: Callable[[str], None]
) -> None:
    """Show how good the predictions are, and say what was special about this run."""
    right, rows = _score(folder / "predictions")
    show(f"accuracy            {right / rows:.4g}  ({right} of {rows} digits that no rank had seen)")
    used: dict[str, set[str]] = {}
    for executor, uuid in _uses(story):
        used.setdefault(executor, set()).add(uuid)
    say("")
    say(f"Both Workers ran on this one host, on the emulated machine {story.machine}.")
    say("Spark's stock discovery script would have told both of them of the same cards;")
    say("gpu-discover's claims kept their devices apart:")
    for executor, uuids in sorted(used.items()):
        say(f"  {executor} used {', '.join(sorted(uuids))}")
    say(f"Change something in {folder}/pipeline.yaml and: tritium run {folder}/pipeline.yaml")


def _score(predictions: Path) -> tuple[int, int]:
    import pyarrow.parquet as pq

    table: Any = pq.read_table(predictions, columns=["label", "prediction"])
    pairs = zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
    return sum(label == prediction for label, prediction in pairs), table.num_rows


def _uses(story: Story) -> list[tuple[str, str]]:
    rows: list[RankRow | TaskRow] = []
    for record in story.run.records.values():
        rows += record.trained.ranks if record.trained is not None else ()
        rows += record.predicted.tasks if record.predicted is not None else ()
    return [(row.executor, device.uuid) for row in rows for device in row.devices]
