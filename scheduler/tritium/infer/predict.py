"""``tritium.predict``: a model's answers as new columns of a DataFrame, each task on a device of its own."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tritium.assign import POLICIES
from tritium.errors import BadSpec
from tritium.infer.buckets import Padding
from tritium.infer.extend import ERROR
from tritium.infer.forms import FORMS, Form
from tritium.infer.identity import digest
from tritium.infer.kinds import KINDS, below, mistyped
from tritium.infer.packing import packed
from tritium.infer.replica import replica, unfit
from tritium.infer.report import Reporting
from tritium.infer.task import InferenceTask
from tritium.spark.profile import feeder_profile
from tritium.spark.scan import reading
from tritium.spark.splits import BySpark
from tritium.spark.splits_read import map_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

__all__ = ["predict"]


def predict(
    df: DataFrame,
    *,
    model: Callable[..., Any],
    input: Sequence[str] | None = None,  # noqa: A002  the word that predict_batch_udf's users know
    output: str = "prediction double",
    keep: Sequence[str] | None = None,
    splits: bool = True,
    batches: Form = "numpy",
    pad: Mapping[str, Any] | None = None,
    buckets: Sequence[int] = (),
    batch_size: int = 256,
    gpu: int = 1,
    share_mib: int | None = None,
    preprocess: Callable[..., Any] | None = None,
    on_error: Literal["fail", "quarantine"] = "fail",
    error: str = "error",
    ahead: int = 3,
    min_memory_mib: int = 0,
    product: str | None = None,
    policy: str = "packed",
    priority: int = 0,
    wait_s: float = 60.0,
    keep_s: float = 300.0,
    model_timeout_s: float = 3600.0,
    model_path: Path | Callable[[str, int], Path] | None = None,
    report: Path | None = None,
) -> DataFrame:
    """Add a model's predictions to a batch or a streaming DataFrame: its rows stay, in their order.

    The model is loaded once per device, by a process of its own that the executor's tasks feed and that
    outlives them: it calls ``model(device)`` once, or ``model(device, model_path)``, which returns a
    function from ``{column: array}`` to ``{output column: array}``, or to one array if there is one output
    column. Inside both CUDA sees that device only, as ``cuda:0``. Arrays are as ``tritium.columns``
    describes: numbers 1-D, lists of equal length 2-D; the function may change them in place, and they are
    valid until it returns; ``batches`` asks for torch tensors or an Arrow batch instead
    (``tritium.infer.forms``). An answer may be an array, a list, a tensor, on a device or not, or Arrow's,
    of as many rows. A batch that the device's memory does not hold is cut in half, and so are those after
    it.

    Args:
        df: the rows; its partitions become the tasks.
        model: loads the model onto a `Device`; onto a tuple of them if ``gpu`` is more than 1, and onto
            ``None`` if it is 0.
        input: columns that the model gets; ``None``: all.
        output: names and types of the new columns, e.g. ``"label int, scores array<float>"``.
        keep: columns that stay beside the new ones; ``None``: all. Others that are no input are not read.
        splits: let tasks read Parquet and Delta files themselves where the plan is a plain scan, as they are
            when this is called; `tritium.reading` says whether, and why not.
        batches: what the model gets: ``numpy`` arrays or ``torch`` tensors by column, or an ``arrow`` batch.
        pad: makes lists of different lengths as long as each other, with this value per column, e.g.
            ``{"tokens": 0}``; the model also gets ``tokens_length``, as int32. A batch is as wide as its
            longest row.
        buckets: or as one of these widths, ascending: rows of several batches that fit the same bucket are
            predicted together. A row that is longer than the last bucket is bad.
        batch_size: rows per call, across the batches that Spark delivers; the last call may have fewer.
        gpu: devices of one copy of the model; 0 runs it on the CPU, one copy for each task at a time.
        share_mib: MiB of a device's memory that one copy of the model needs: other models share the device
            as far as their shares fit on it. ``None``: the device is this model's alone. CUDA keeps nobody to
            it; the model finds it in TRITIUM_SHARE_MIB, to limit its framework by.
        preprocess: called in the tasks, on the CPU and ahead of the model, with the columns as arrays (with
            ``batches="arrow"`` as a batch): it returns those that the model gets instead, of as many rows.
            The arrays that it returns may be tensors; the model gets what ``batches`` says.
        on_error: ``quarantine`` finds the rows of a failing batch that are to blame; they get nulls, and
            what went wrong in one more column. Where a batch's lists differ in length, those that have not
            the most usual one are. A model that fails on everything fails the job anyhow.
        error: the name of that column, of type ``struct<step,type,message>``. If ``df`` has such a column,
            rows that have an error in it already go to no model: they get nulls, and keep their error.
        ahead: batches per task that may be on their way to the model and back.
        min_memory_mib: memory that a device must have.
        product: part of the product name that a device must carry, e.g. ``A100``.
        policy: how the assigner chooses: a name in ``tritium.assign.POLICIES``.
        priority: a gang (1 unless it says another) or a model of a higher one gets the device when it needs
            it, and the tasks that feed this one wait for another (``wait_s``, in each of Spark's attempts); a
            model that no task feeds gives way to any.
        wait_s: how long a task waits for a device that somebody still holds.
        keep_s: how long a model stays loaded when no task feeds it, and answers later queries that ask for
            the same ``model``. Files that it read are looked at again only at ``model_path``: one that was
            trained anew elsewhere needs another argument, as ``functools.partial(load, version=2)``.
        model_timeout_s: how long loading the model, or one call of it, may take. What takes longer fails,
            with the line that it hangs in, and its process is ended.
        model_path: where the model's files are, for every executor; or, for a streaming DataFrame, a function
            that tells a task where they are, by its query's id and its micro-batch's number. Each path is a
            model of its own, and is again when its files change (names, sizes or times of the first 1,000):
            ``model`` must write nothing there.
        report: a folder that driver and executors share, for `read_reports` after a run; it keeps the last
            100: each use of the result is one, and each micro-batch.

    Raises:
        BadSpec: an argument is wrong; all wrong ones are named. What goes wrong in tasks shows when the
            result is used: inside a block of `failures` it is one clear error.
    """
    from pyspark.sql.types import StructField, StructType

    if wrong := mistyped(
        KINDS,
        df=df, model=model, input=input, output=output, keep=keep, pad=pad, buckets=buckets, ahead=ahead,
        batch_size=batch_size, gpu=gpu, share_mib=share_mib, preprocess=preprocess, wait_s=wait_s,
        min_memory_mib=min_memory_mib, priority=priority, keep_s=keep_s, model_timeout_s=model_timeout_s,
        model_path=model_path, report=report,
    ):  # fmt: skip
        raise BadSpec("predict", wrong)
    errors = StructField(error, StructType.fromDDL(ERROR))
    failed = (
        error in df.columns and df.schema[error].dataType.simpleString() == errors.dataType.simpleString()
    )
    own = [name for name in df.columns if name != error or not failed]
    names = tuple(own if input is None else input)
    kept = tuple(own if keep is None else keep)
    added, problems = _fields(output)
    quarantine = on_error == "quarantine"
    new = StructType([*added.fields, *([errors] if quarantine or failed else [])])
    problems += _problems(df, {"input": names, "keep": kept}, new)
    problems += below({"batch_size": (batch_size, 1), "ahead": (ahead, 1)})
    problems += unfit(gpu=gpu, share_mib=share_mib)
    if callable(model_path) and not df.isStreaming:
        problems.append("model_path: a function is asked per micro-batch, and df is no stream; give a path")
    if not model_timeout_s > 0:
        problems.append(f"model_timeout_s: expected a number of seconds above 0, got {model_timeout_s!r}")
    problems += _choices(on_error, batches, policy)
    problems += _unpaddable(df, names, pad or {}, buckets, batches)
    if problems:
        raise BadSpec("predict", problems)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    load = packed((model, ()), call="predict", argument="model")
    typed = tuple((field.name, _arrow_type(df, field.dataType)) for field in new.fields)
    request = replica(
        gpu=gpu, share_mib=share_mib, priority=priority, min_memory_mib=min_memory_mib, product=product
    )
    needed = dict.fromkeys((*kept, *names, *([error] if failed else [])))
    rows = df if keep is None else df.select([_quoted(name) for name in needed])
    how = reading(rows) if splits else BySpark(why="splits=False")
    task = InferenceTask(
        load=load.data,
        model=digest(load.name, added.simpleString(), on_error, batches, request, keep_s, model_timeout_s),
        preprocess=preprocess,
        input=names,
        kept=kept,
        output=typed[: len(added.fields)],
        error=typed[-1] if quarantine or failed else None,
        failed=error if failed else None,
        quarantine=quarantine,
        form=batches,
        padding=Padding(fill=dict(pad), buckets=tuple(buckets)) if pad else None,
        batch_size=batch_size,
        ahead=ahead,
        request=request,
        policy=policy,
        wait_s=wait_s,
        keep_s=keep_s,
        limit_s=model_timeout_s,
        call=secrets.token_hex(4),
        report=Reporting(folder=report, reading=how.sentence) if report is not None else None,
        path=model_path,
    )
    schema = StructType([*(df.schema[name] for name in kept), *new.fields])
    profile = feeder_profile(df.sparkSession) if gpu else None
    return map_rows(rows, task, schema, reading=how, profile=profile)


def _quoted(name: str) -> str:
    escaped = name.replace("`", "``")
    return f"`{escaped}`"


def _fields(output: str) -> tuple[StructType, list[str]]:
    """The output columns, or what is wrong with their declaration."""
    from pyspark.errors import PySparkException
    from pyspark.sql.types import StructType

    try:
        fields = StructType.fromDDL(output)
    except PySparkException as err:
        first = str(err).strip().partition("\n")[0]
        return StructType([]), [f"output: {output!r} declares no columns: {first}"]
    if not isinstance(fields, StructType):
        return StructType([]), [f"output: {output!r} is a type without a name; say 'prediction {output}'"]
    return fields, [] if fields.fields else [f"output: {output!r} declares no columns"]


def _problems(df: DataFrame, named: Mapping[str, Sequence[str]], added: StructType) -> list[str]:
    known = ", ".join(df.columns)
    problems = [] if named["input"] else ["input: the model gets no columns; name at least one"]
    problems += [
        f"{argument}: there is no column {name!r}; there are {known}"
        for argument, names in named.items()
        for name in names
        if name not in df.columns
    ]
    problems += [
        f"output: there is a column {name!r} already; drop it or choose another name"
        for name in added.names
        if name in named["keep"]
    ]
    problems += [
        f"{argument}: {name!r} is there {count} times; choose other names"
        for argument, names in {**named, "output": added.names}.items()
        for name, count in Counter(names).items()
        if count > 1
    ]
    return problems


def _choices(on_error: str, batches: str, policy: str) -> list[str]:
    problems = []
    if batches not in FORMS:
        problems.append(f"batches: expected {', '.join(FORMS[:-1])} or {FORMS[-1]}, got {batches!r}")
    if policy not in POLICIES:
        problems.append(f"policy: {policy!r} is unknown; there are {', '.join(sorted(POLICIES))}")
    if on_error not in ("fail", "quarantine"):
        problems.append(f"on_error: expected fail or quarantine, got {on_error!r}")
    return problems


def _unpaddable(
    df: DataFrame, names: Sequence[str], pad: Mapping[str, Any], buckets: Sequence[int], batches: str
) -> list[str]:
    from pyspark.sql.types import ArrayType

    problems = []
    for name in pad:
        if name not in names:
            problems.append(f"pad: {name!r} is no input of the model; there are {', '.join(names)}")
        elif name in df.columns and not isinstance(df.schema[name].dataType, ArrayType):
            problems.append(
                f"pad: {name!r} is {df.schema[name].dataType.simpleString()}; only arrays differ in length"
            )
        elif f"{name}_length" in names:
            problems.append(
                f"pad: there is an input {name}_length already, which would be the length of {name}"
            )
    if pad and batches == "arrow":
        problems.append("pad: an Arrow batch has lists of different lengths as they are")
    if buckets and not pad:
        problems.append("buckets: they are of no use without pad")
    if any(later <= before for before, later in pairwise((0, *buckets))):
        problems.append(f"buckets: expected ascending integers >= 1, got {tuple(buckets)}")
    return problems


def _arrow_type(df: DataFrame, kind: Any) -> pa.DataType:
    """The exact Arrow type that Spark expects for a column (``ArrowUtils.toArrowType``)."""
    from pyspark.sql.pandas.types import to_arrow_type

    conf = df.sparkSession.conf
    large = conf.get("spark.sql.execution.arrow.useLargeVarTypes", "false") == "true"
    return to_arrow_type(kind, timezone=conf.get("spark.sql.session.timeZone"), prefers_large_types=large)
