"""A model may get arrays, tensors or an Arrow batch of what Spark has, and answer in any of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession

import tritium
from tritium.errors import BadSpec, ModelFailed
from tritium.infer import failures

pytestmark = [pytest.mark.spark, pytest.mark.torch]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def rows(spark: SparkSession) -> DataFrame:
    return spark.range(0, 40, 1, 2).selectExpr(
        "id",
        "if(id % 5 = 0, null, concat('word ', id)) as word",
        "transform(sequence(1, id % 3 + 1), n -> cast(n as int)) as tokens",
        "named_struct('a', id, 'b', if(id = 7, null, 'b')) as pair",
    )


def test_an_arrow_batch_has_nulls_and_nested_values_and_so_may_the_answer(rows: DataFrame) -> None:
    def load(_: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        def predict(batch: pa.RecordBatch) -> pa.RecordBatch:
            assert batch.schema.names == ["word", "tokens", "pair"]
            if 13 in batch["pair"].field("a").to_pylist():
                raise ValueError("thirteen is unlucky")
            counts = pc.list_value_length(batch["tokens"])
            columns = [batch["tokens"], pc.utf8_length(batch["word"]), batch["pair"].field("b"), counts]
            return pa.RecordBatch.from_arrays(columns, names=["same", "letters", "b", "count"])

        return predict

    out = tritium.predict(
        rows,
        model=load,
        input=["word", "tokens", "pair"],
        output="same array<int>, letters int, b string, count int",
        batches="arrow",
        batch_size=7,
        on_error="quarantine",
    ).collect()

    for row in out:
        if row.id == 13:
            assert (row.same, row.letters, row.error.message) == (None, None, "thirteen is unlucky")
            continue
        assert row.same == row.tokens == list(range(1, row.id % 3 + 2))
        assert row.letters == (None if row.id % 5 == 0 else len(row.word))
        assert row.b == (None if row.id == 7 else "b")
        assert row["count"] == len(row.tokens)
        assert row.error is None
    assert [row.id for row in out] == list(range(40))


def test_tensors_may_be_changed_in_place_and_preprocess_has_arrays(spark: SparkSession) -> None:
    def preprocess(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        import numpy as np

        assert isinstance(batch["x"], np.ndarray)
        return {"x": batch["x"], "half": batch["x"] / 2}

    def load(_: Any) -> Any:
        import torch

        def predict(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            assert batch["x"].shape[1:] == (3,)
            assert batch["x"].dtype == torch.float32
            batch["x"].add_(1)
            if len(batch["x"]) > 3:
                raise torch.OutOfMemoryError
            return (batch["x"] + batch["half"]).sum(dim=1)

        return predict

    rows = spark.range(0, 20, 1, 2).selectExpr("id", "array(float(id), 0f, 0f) as x")
    out = tritium.predict(
        rows, model=load, input=["x"], batches="torch", preprocess=preprocess, batch_size=10
    ).collect()

    assert [row.prediction for row in out] == [1.5 * row.id + 3 for row in out]


def test_a_column_without_tensors_is_one_sentence(rows: DataFrame) -> None:
    words = rows.where("word is not null")

    with pytest.raises(ModelFailed, match="no tensor can hold the column word: TypeError"), failures():
        tritium.predict(words, model=lambda _: len, input=["word"], batches="torch").collect()


def test_an_unknown_form_is_refused(rows: DataFrame) -> None:
    with pytest.raises(BadSpec, match="batches: expected numpy, torch or arrow, got 'pandas'"):
        tritium.predict(rows, model=lambda _: len, batches="pandas")  # type: ignore[arg-type]  # that is it
