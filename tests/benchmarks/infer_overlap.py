"""How busy a device is while the CPU preprocesses for it, beside predict_batch_udf.

Rows are tensors, JPEG files and texts. The device is emulated: it takes 30 ms for a batch. A loop that does
one thing after the other keeps it busy half of the time where the CPU preprocesses as long; how long that is
depends on the machine, so tensors are preprocessed in less and in more rounds.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import FloatType

import tritium
from benchmarks.inference.measure import WIDTH, profiled, started, tensors, written

_DEVICE_S = 0.03
_TENSORS, _TENSOR_BATCH = 480_000, 2048
_SHARPENED = (6, 12, 18)
"""Rounds of preprocessing; six were the first measure of all, on a CPU half as fast as the latest."""
_PICTURES, _PICTURE_BATCH, _SIDE = 15_000, 64, 64
_TEXTS, _TEXT_BATCH, _WORDS = 245_760, 1024, 64
_VOCABULARY = 4096


class Sharpened:
    """Tensors after some rounds of arithmetic."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def __call__(self, x: Any) -> Any:
        x = (x - 0.5) / 0.25
        for _ in range(self.rounds):
            x = np.sqrt(x * x + 1.0)
        return x


def decoded(files: Sequence[bytes]) -> Any:
    """JPEG files as small pictures."""
    from PIL import Image

    pictures = (Image.open(io.BytesIO(file)).resize((_SIDE, _SIDE)) for file in files)
    return np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])


class Words:
    """Texts as the numbers of their first words, as scikit-learn's tokenizer parts them."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.known, self.parts = vocabulary, CountVectorizer().build_analyzer()

    def __call__(self, texts: Sequence[str]) -> Any:
        numbers = np.zeros((len(texts), _WORDS), dtype=np.int32)
        for row, text in zip(numbers, texts, strict=True):
            found = [self.known.get(word, 0) for word in self.parts(text)[:_WORDS]]
            row[: len(found)] = found
        return numbers


class Emulated:
    """The model: one number for each row."""

    def __init__(self, prepared: Callable[[Any], Any] | None = None) -> None:
        self.prepared = prepared

    def __call__(self, x: Any) -> Any:
        x = x if self.prepared is None else self.prepared(x)
        time.sleep(_DEVICE_S)
        return x.reshape(len(x), -1)[:, :WIDTH].sum(axis=1, dtype=np.float32)


def load(_: Any) -> Any:
    model = Emulated()
    return lambda columns: model(columns["x"])


def main() -> str:
    """Measure, and return a Markdown table."""
    with started() as (spark, folder):
        lines = [*_tensors(spark, folder), _pictures(spark, folder), _texts(spark, folder)]
    return f"""### Inference: {1000 * _DEVICE_S:.0f} ms of a device after the CPU's part, one slot
| rows | CPU, ms a batch | predict_batch_udf, rows/s | tritium.predict, rows/s | times as fast \
| device busy | by ours |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Busy is the part of the whole job's time, its start included, that the device predicts; in brackets from our
first answer to our last. The device is emulated, the CPU's work is real: where it is short beside the
device's, a loop loses little."""


def _tensors(spark: SparkSession, folder: Path) -> Iterator[str]:
    rows = tensors(spark, folder / "tensors", rows=_TENSORS, width=WIDTH, group=20_480)
    for rounds in _SHARPENED:
        what = f"{_TENSORS:,} tensors of {WIDTH} float32, {_TENSOR_BATCH} a batch, {rounds} rounds"
        sharpened = Sharpened(rounds)
        yield _compared(
            what,
            rows,
            sharpened,
            batch_size=_TENSOR_BATCH,
            shapes=[[WIDTH]],
            report=folder / f"sharpened-{rounds}",
        )


def _pictures(spark: SparkSession, folder: Path) -> str:
    from PIL import Image

    random = np.random.default_rng(3)
    files = []
    for _ in range(100):
        file = io.BytesIO()
        rough = Image.fromarray(random.integers(0, 255, (14, 14, 3), dtype=np.uint8))
        rough.resize((112, 112)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    rows = written(spark, folder / "pictures", pa.array(files * (_PICTURES // 100)), group=600)
    what = f"{_PICTURES:,} JPEG files, decoded and resized to {_SIDE} x {_SIDE}, {_PICTURE_BATCH} a batch"
    return _compared(what, rows, decoded, batch_size=_PICTURE_BATCH, shapes=None, report=folder / "decoded")


def _texts(spark: SparkSession, folder: Path) -> str:
    random = np.random.default_rng(4)
    words = ["".join(map(chr, random.integers(97, 123, random.integers(2, 10)))) for _ in range(_VOCABULARY)]
    texts = [" ".join(random.choice(words, _WORDS)) for _ in range(_TEXTS // 80)]
    rows = written(spark, folder / "texts", pa.array(texts * 80), group=6144)
    numbers = Words({word: at for at, word in enumerate(words)})
    what = f"{_TEXTS:,} texts of {_WORDS} words through scikit-learn's tokenizer, {_TEXT_BATCH} a batch"
    return _compared(what, rows, numbers, batch_size=_TEXT_BATCH, shapes=None, report=folder / "parted")


def _compared(
    what: str,
    rows: DataFrame,
    prepared: Callable[[Any], Any],
    *,
    batch_size: int,
    shapes: list[list[int] | None] | None,
    report: Path,
) -> str:
    count = rows.count()
    udf = predict_batch_udf(
        lambda: Emulated(prepared), return_type=FloatType(), batch_size=batch_size, input_tensor_shapes=shapes
    )
    ours = tritium.predict(
        rows,
        model=load,
        preprocess=lambda columns: {"x": prepared(columns["x"])},
        keep=[],
        output="y float",
        batch_size=batch_size,
        report=report,
    )
    taken, profile = profiled(rows.select(udf("x")), ours, report)
    theirs_s, ours_s = (one.wall_s for one in taken)
    device_s = _DEVICE_S * -(-count // batch_size)
    cpu_ms = 1000 * profile.steps["preprocess"] / profile.batches
    return (
        f"| {what} | {cpu_ms:.0f} | {count / theirs_s:,.0f} | {count / ours_s:,.0f} "
        f"| {theirs_s / ours_s:.2f} | {device_s / theirs_s:.0%} | {device_s / ours_s:.0%} "
        f"({profile.busy_share:.0%}) |"
    )


if __name__ == "__main__":
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    print(main())
