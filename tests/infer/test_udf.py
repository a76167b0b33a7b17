"""``tritium.predict_udf`` beside ``predict_batch_udf``: the same arguments, the same answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark import SparkFiles, cloudpickle
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.functions import expr
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

import tritium
from tritium.errors import BadSpec, ModelFailed
from tritium.infer import failures

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PAIR = StructType([StructField("low", FloatType()), StructField("ends", ArrayType(FloatType()))])


def one_tensor() -> Any:
    return lambda x: x.reshape(len(x), -1).sum(axis=1)


def list_out() -> Any:
    return lambda x: x * 2


def two_numbers() -> Any:
    return lambda a, b: a + b


def columns_out() -> Any:
    return lambda x: {"low": x.min(axis=1), "ends": x[:, [0, -1]]}


def rows_out() -> Any:
    return lambda x: [{"low": row.min(), "ends": row[[0, -1]]} for row in x]


def rows_of_lengths() -> Any:
    return lambda x: [{"low": row.min(), "ends": row[: 1 + int(row[0]) % 3]} for row in x]


def rows_that_lack_fields() -> Any:
    return lambda x: [
        {"low": row.min(), "ends": row} if row[0] % 3 or not at else {"ends": row} for at, row in enumerate(x)
    ]


def in_place() -> Any:
    def predict(x: Any) -> Any:
        x /= 2
        return x.sum(axis=1)

    return predict


def one_number_a_row() -> Any:
    return lambda x: x[:, :1]


def without_nulls() -> Any:
    return lambda a, b: np.nan_to_num(a, nan=-7) + b


def texts() -> Any:
    return lambda s, b: np.array([0 if text is None else len(text) for text in s], np.float32) + b


def many_columns() -> Any:
    return lambda x: x.reshape(len(x), 2).max(axis=1)


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "one tensor": (one_tensor, {"return_type": FloatType(), "input_tensor_shapes": [[2, 2]]}, ("x",)),
    "a list": (list_out, {"return_type": ArrayType(FloatType()), "input_tensor_shapes": {0: [4]}}, ("x",)),
    "two numbers": (two_numbers, {"return_type": FloatType()}, ("a", "b")),
    "one number a row": (
        one_number_a_row,
        {"return_type": FloatType(), "input_tensor_shapes": [[4]]},
        ("x",),
    ),
    "nulls": (without_nulls, {"return_type": FloatType()}, ("if(a % 3 = 0, null, a)", "b")),
    "null integers": (
        without_nulls,
        {"return_type": FloatType()},
        ("if(a % 3 = 0, null, cast(a as int))", "cast(b as int)"),
    ),
    "null texts": (texts, {"return_type": FloatType()}, ("if(a % 3 = 0, null, cast(a as string))", "b")),
    "fields by parameter": (two_numbers, {"return_type": FloatType()}, ("struct(a, b)",)),
    "fields as one array": (many_columns, {"return_type": FloatType()}, ("struct(a, b)",)),
    "fields of a shape": (
        many_columns,
        {"return_type": FloatType(), "input_tensor_shapes": [[2]]},
        ("struct(a, b)",),
    ),
    "struct by columns": (columns_out, {"return_type": PAIR, "input_tensor_shapes": [[4]]}, ("x",)),
    "struct by rows": (rows_out, {"return_type": PAIR, "input_tensor_shapes": [[4]]}, ("x",)),
    "lists of lengths": (rows_of_lengths, {"return_type": PAIR, "input_tensor_shapes": [[4]]}, ("x",)),
    "fields left out": (rows_that_lack_fields, {"return_type": PAIR, "input_tensor_shapes": [[4]]}, ("x",)),
    "in place": (in_place, {"return_type": FloatType(), "input_tensor_shapes": [[4]]}, ("x",)),
}


@pytest.mark.parametrize(("make", "options", "columns"), CASES.values(), ids=CASES)
def test_one_line_is_changed_and_the_answers_are_the_same(
    spark: SparkSession, make: Any, options: Any, columns: Any
) -> None:
    rows = spark.range(0, 100, 1, 2).selectExpr(
        "float(id) as a", "float(-id) as b", "transform(array(1, 2, 3, 4), i -> float(i * id)) as x"
    )

    theirs = predict_batch_udf(make, batch_size=7, **options)
    ours = tritium.predict_udf(make, batch_size=7, **options)
    given = [expr(column) for column in columns]
    got = rows.select(theirs(*given).alias("theirs"), ours(*given).alias("ours"))

    assert got.schema["ours"].dataType == got.schema["theirs"].dataType
    found = got.collect()
    assert len(found) == 100
    assert all(row.ours == row.theirs for row in found)


def test_a_model_that_fails_is_one_sentence(spark: SparkSession) -> None:
    ours = tritium.predict_udf(two_numbers, return_type="double", batch_size=7)

    with pytest.raises(ModelFailed, match="the model expects 2 inputs, and there are 1 columns"), failures():
        spark.range(5).select(ours("id")).collect()


def test_wrong_arguments_are_named_together() -> None:
    with pytest.raises(BadSpec) as caught:
        tritium.predict_udf(one_tensor, return_type="flot", batch_size=0)

    assert "batch_size: expected an integer >= 1, got 0" in str(caught.value)
    assert "return_type: 'flot' is no type" in str(caught.value)


@pytest.mark.usefixtures("spark")
def test_a_struct_of_nothing_is_no_answer() -> None:
    with pytest.raises(BadSpec, match="return_type: it has no fields, so there is nothing to return"):
        tritium.predict_udf(one_tensor, return_type="", batch_size=1)


def test_batches_cross_those_of_arrow(spark: SparkSession) -> None:
    def make() -> Any:
        return lambda x: np.full(len(x), len(x))

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    try:
        ours = tritium.predict_udf(make, return_type="int", batch_size=10, gpu=0)
        sizes = [row.n for row in spark.range(0, 25, 1, 1).select(ours("id").alias("n")).collect()]
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")

    assert sizes == [10] * 20 + [5] * 5


def weighted() -> Any:
    weight = float(Path(SparkFiles.get("weight.txt")).read_text())
    return lambda x: x * weight


def test_a_model_finds_what_was_added_to_sparks_files(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "weight.txt").write_text("2.5")
    spark.sparkContext.addFile(str(tmp_path / "weight.txt"))
    rows = spark.range(0, 10, 1, 2)
    options: Any = {"return_type": FloatType(), "batch_size": 4}
    theirs, ours = predict_batch_udf(weighted, **options), tritium.predict_udf(weighted, **options)

    found = rows.select("id", theirs("id").alias("theirs"), ours("id").alias("ours")).collect()

    assert [row.ours for row in found] == [row.theirs for row in found] == [2.5 * n for n in range(10)]
