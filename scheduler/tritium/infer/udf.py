"""``tritium.predict_udf``: the column expression of ``predict_batch_udf``, with a model that many tasks feed.

What is changed is the one line that makes the expression::

    total = tritium.predict_udf(
        make_predict_fn, return_type="float", batch_size=1024, input_tensor_shapes=[[784]]
    )
    predictions = df.withColumn("y", total("x"))
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tritium.assign.types import Request
from tritium.errors import BadSpec
from tritium.infer.identity import digest
from tritium.infer.kinds import KINDS, below, mistyped
from tritium.infer.packing import packed
from tritium.infer.replica import replica, unfit
from tritium.infer.task import InferenceTask

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import DataType

__all__ = ["predict_udf"]

_ONLY = "y"
"""What the output is called where there is one."""
_FIELD = "field"
"""So the columns are called that are fields of the only one, a struct."""


def predict_udf(
    make_predict_fn: Callable[[], Callable[..., Any]],
    *,
    return_type: DataType | str,
    batch_size: int,
    input_tensor_shapes: Sequence[Sequence[int] | None] | Mapping[int, Sequence[int]] | None = None,
    gpu: int = 1,
    share_mib: int | None = None,
    ahead: int = 3,
    priority: int = 0,
    wait_s: float = 60.0,
    keep_s: float = 300.0,
    model_timeout_s: float = 3600.0,
) -> Callable[..., Any]:
    """Make a column expression of a model, from the arguments that ``predict_batch_udf`` takes.

    ``make_predict_fn()`` returns ``predict``: each of its parameters is a column of the expression as an
    array, 1-D for numbers, ``(rows, *shape)`` for lists; a struct is its fields, as columns or as the only
    parameter's second dimension. It may change them in place. Nulls among numbers are NaN. It returns an
    array, or for a struct a mapping or a list of mappings. It runs where `tritium.predict` runs a model:
    once per device, for all tasks.

    Args:
        make_predict_fn: loads the model; CUDA sees one device, as ``cuda:0``.
        return_type: of the column: a number, a string, a list of numbers, or a struct of those.
        batch_size: rows per call, across the batches that Spark delivers.
        input_tensor_shapes: shapes of the columns that are lists, by position; ``None`` for numbers.
        gpu: devices of one copy of the model; 0 runs it on the CPU.
        share_mib: MiB of a device's memory that one copy of the model needs, as `tritium.predict` has it.
        ahead: batches per task that may be on their way to the model and back.
        priority: who gets the device when others need it, as `tritium.predict` has it.
        wait_s: how long a task waits for a device that somebody still holds.
        keep_s: how long a model stays loaded when no task feeds it, and answers later queries. The files that
            it read are not looked at again, where ``predict_batch_udf`` loads per call: a model that was
            trained anew needs another argument, as ``functools.partial(make_predict_fn, version=2)``.
        model_timeout_s: how long loading the model, or one call of it, may take.

    Raises:
        BadSpec: ``return_type`` cannot be read, a number is out of range, or Spark is older than 4.1.
    """
    try:
        from pyspark.sql.pandas.functions import ArrowUDFType, arrow_udf
    except ImportError as err:
        raise BadSpec("predict_udf", ["it needs Spark 4.1 or newer; tritium.predict does not"]) from err
    from pyspark.sql.pandas.types import to_arrow_type
    from pyspark.sql.types import StructType

    if wrong := mistyped(
        KINDS,
        make_predict_fn=make_predict_fn,
        batch_size=batch_size,
        gpu=gpu,
        share_mib=share_mib,
        ahead=ahead,
        priority=priority,
        wait_s=wait_s,
        keep_s=keep_s,
        model_timeout_s=model_timeout_s,
    ):
        raise BadSpec("predict_udf", wrong)
    problems = below({"batch_size": (batch_size, 1), "ahead": (ahead, 1)})
    declared = _declared(return_type, [*problems, *unfit(gpu=gpu, share_mib=share_mib)])
    fields = declared.fields if isinstance(declared, StructType) else None
    output = (
        ((_ONLY, to_arrow_type(declared)),)
        if fields is None
        else tuple((field.name, to_arrow_type(field.dataType)) for field in fields)
    )
    shapes = input_tensor_shapes
    by_position = dict(shapes if isinstance(shapes, Mapping) else enumerate(shapes or ()))
    model = _Positional(make_predict_fn, by_position)
    load = packed((model, ()), call="predict_udf", argument="make_predict_fn")
    request = replica(gpu=gpu, share_mib=share_mib, priority=priority)
    task = _Expression(
        load=load.data, output=output,
        model=digest(load.name, declared.simpleString(), request, keep_s, model_timeout_s),
        is_struct=fields is not None, batch_size=batch_size, ahead=ahead, request=request, wait_s=wait_s,
        keep_s=keep_s, limit_s=model_timeout_s,
    )  # fmt: skip
    make: Any = arrow_udf  # its stubs know fewer types than it does
    with warnings.catch_warnings():
        # Spark would rather see annotations, which cannot say how many columns there will be.
        warnings.simplefilter("ignore", UserWarning)
        expression: Callable[..., Any] = make(task.answers, declared, ArrowUDFType.SCALAR_ITER)
    return expression


def _declared(return_type: DataType | str, problems: list[str]) -> DataType:
    """Return the type of the column, unless it, or something before it, is wrong."""
    from pyspark.errors import PySparkException
    from pyspark.sql.types import DataType, StructType

    if not isinstance(return_type, DataType):
        try:
            return_type = DataType.fromDDL(return_type)
        except PySparkException as err:
            first = str(err).strip().partition("\n")[0]
            problems.append(f"return_type: {return_type!r} is no type: {first}")
    if isinstance(return_type, StructType) and not return_type.fields:
        problems.append("return_type: it has no fields, so there is nothing to return")
    if problems:
        raise BadSpec("predict_udf", problems)
    assert isinstance(return_type, DataType)  # noqa: S101  else there was a problem
    return return_type


@dataclass(frozen=True)
class _Positional:
    """Loads a model whose function takes arrays by position, as `tritium.predict` calls one."""

    make: Callable[[], Callable[..., Any]]
    shapes: Mapping[int, Sequence[int] | None]

    def __call__(self, _: Any) -> Callable[[Mapping[str, Any]], Any]:
        predict = self.make()
        expected = len(inspect.signature(predict).parameters)

        def answer(columns: Mapping[str, Any]) -> Any:
            arrays = list(columns.values())
            if expected == 1 and all(name.startswith(_FIELD) for name in columns):
                arrays = [np.stack(arrays, axis=1)]
            arrays = [self._shaped(at, array) for at, array in enumerate(arrays)]
            if len(arrays) != expected:
                raise ValueError(f"the model expects {expected} inputs, and there are {len(arrays)} columns")
            return _named(predict(*arrays))

        return answer

    def _shaped(self, at: int, array: Any) -> Any:
        shape = self.shapes.get(at)
        if shape is None:
            return array
        return array.reshape(len(array), *shape)


@dataclass(frozen=True, kw_only=True)
class _Expression:
    """The task behind a column expression."""

    load: bytes
    model: str
    output: tuple[tuple[str, Any], ...]
    is_struct: bool
    batch_size: int
    ahead: int
    request: Request | None
    wait_s: float
    keep_s: float
    limit_s: float

    def answers(self, batches: Iterator[Any]) -> Iterator[pa.Array]:
        """Answer what Spark delivers: arrays of one column, or tuples of several."""
        import pyarrow as pa

        def as_batches() -> Iterator[pa.RecordBatch]:
            for found in batches:
                given = found if isinstance(found, tuple) else (found,)
                name = _FIELD if len(given) == 1 and pa.types.is_struct(given[0].type) else "c"
                arrays = [
                    array
                    for one in given
                    for array in (one.flatten() if pa.types.is_struct(one.type) else (one,))
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=[f"{name}{at}" for at in range(len(arrays))])

        for answered in self._task()(as_batches()):
            columns = [answered.column(name) for name, _ in self.output]
            if not self.is_struct:
                yield columns[0]
            else:
                yield pa.StructArray.from_arrays(columns, names=[name for name, _ in self.output])

    def _task(self) -> InferenceTask:
        return InferenceTask(
            load=self.load,
            model=self.model,
            preprocess=None,
            input=None,
            kept=(),
            output=self.output,
            error=None,
            failed=None,
            quarantine=False,
            nulls=True,
            form="numpy",
            padding=None,
            batch_size=self.batch_size,
            ahead=self.ahead,
            request=self.request,
            policy="packed",
            wait_s=self.wait_s,
            keep_s=self.keep_s,
            limit_s=self.limit_s,
            call=self.model,
            report=None,
        )


def _named(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return answer
    if isinstance(answer, list) and answer and isinstance(answer[0], Mapping):
        # As pandas makes a frame of them: each list has its own length, and what a row lacks is null.
        return {name: [row.get(name) for row in answer] for name in answer[0]}
    return answer
