"""Edge to Spark's plan: what a DataFrame reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tritium.spark.footers import footer
from tritium.spark.splits import BySpark, Column, Footer, Part, Reading, Scan, Value, decide

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["reading"]

_EXEC = "org.apache.spark.sql.execution."
_TRANSPARENT = (
    f"{_EXEC}WholeStageCodegenExec",
    f"{_EXEC}InputAdapter",
    f"{_EXEC}ColumnarToRowExec",
)
_PARQUET = "org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat"
_DELTA = "org.apache.spark.sql.delta.DeltaParquetFileFormat"
_OPTIONS = {"path", "paths", "basepath", "mergeschema", "recursivefilelookup", "pathglobfilter"}
"""Options that change which files are read, or nothing; Spark itself has heeded them."""
_MOST_FILES = 4096
"""More footers than these are not read in the driver."""
_GETTERS: dict[str, Callable[[Any], Value]] = {
    "string": lambda value: str(value.toString()),
    "boolean": bool,
    **dict.fromkeys(("byte", "short", "integer", "long", "date", "timestamp", "timestamp_ntz"), int),
    **dict.fromkeys(("float", "double"), float),
}
_WORDS = {
    "AdaptiveSparkPlanExec": "moves rows between tasks",
    "FilterExec": "filters rows",
    "InMemoryTableScanExec": "reads what is cached",
}
"""What an operator does, where its name does not say it."""
_THREADS = 8


class _Left(Exception):
    """Why the rows are left to Spark."""


def reading(df: DataFrame) -> Reading:
    """Say how tasks get the rows of a DataFrame: which files they read themselves, or why Spark does.

    The files are those that Spark's plan names now; reads their footers, no data.

    >>> print(reading(df.where("label = 3")).sentence)  # doctest: +SKIP
    Spark reads the rows: its plan filters rows (FilterExec)
    """
    if df.isStreaming:
        return BySpark(why="it is a stream")
    if not hasattr(df, "_jdf"):
        return BySpark(why="Spark Connect does not show its plan to clients")
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        scan = _scan(df)
        return decide(scan, _footers(scan))
    except _Left as err:
        return BySpark(why=str(err))
    except (Py4JError, PySparkException) as err:
        said = str(getattr(err, "java_exception", err)).partition("\n")[0]
        return BySpark(why=f"its plan does not show its files: {said}")


def _scan(df: DataFrame) -> Scan:
    spark = df.sparkSession
    _check_settings(spark)
    node, outputs, merged_to = df._jdf.queryExecution().executedPlan(), None, None  # noqa: SLF001  no public way
    while (name := node.getClass().getName()) != f"{_EXEC}FileSourceScanExec":
        if name == f"{_EXEC}ProjectExec":
            outputs = _sources(node, outputs)
        elif name == f"{_EXEC}CoalesceExec" and merged_to is None and outputs is None:
            merged_to = node.numPartitions()
        elif name not in _TRANSPARENT:
            operator = name.rpartition(".")[2]
            raise _Left(f"its plan {_WORDS.get(operator, 'is no plain scan')} ({operator})")
        node = node.child()
    relation = node.relation()
    _check_relation(node, relation)
    columns = _columns(df, node, outputs)
    return Scan(
        columns=columns,
        tasks=_tasks(node, relation.partitionSchema()),
        merged_to=merged_to,
        case_sensitive=spark.conf.get("spark.sql.caseSensitive") == "true",
        rebases=any(
            spark.conf.get(f"spark.sql.parquet.{mode}RebaseModeInRead") != "CORRECTED"
            for mode in ("datetime", "int96")
        ),
    )


def _check_settings(spark: SparkSession) -> None:
    for name in (
        "spark.sql.files.ignoreCorruptFiles",
        "spark.sql.files.ignoreMissingFiles",
        "spark.sql.parquet.int96TimestampConversion",
    ):
        if spark.conf.get(name) == "true":
            raise _Left(f"{name} is set")


def _sources(project: Any, above: list[int] | None) -> list[int]:
    """Which attributes of its child a projection's columns are, by ids that Spark gives expressions."""
    found: dict[int, int] = {}
    order = []
    for named in _each(project.projectList()):
        inner = named.child() if named.getClass().getSimpleName() == "Alias" else named
        if inner.getClass().getSimpleName() != "AttributeReference":
            raise _Left(f"it computes {named.name()}")
        found[named.exprId().id()] = inner.exprId().id()
        order.append(inner.exprId().id())
    return order if above is None else [found[number] for number in above]


def _check_relation(node: Any, relation: Any) -> None:
    kind = relation.fileFormat().getClass().getName()
    if kind not in (_PARQUET, _DELTA):
        raise _Left(f"its files are {relation.fileFormat().toString()}")
    if kind == _DELTA and (mode := relation.fileFormat().columnMappingMode().name()) != "none":
        raise _Left(f"the Delta table maps its columns by {mode}")
    options = [name for name in relation.options().keys().mkString("\n").split("\n") if name]
    if unknown := [name for name in options if name.lower() not in _OPTIONS]:
        raise _Left(f"it is read with the option {unknown[0]}")
    if not node.dataFilters().isEmpty():
        raise _Left("it filters rows")
    if "parquet.field.id" in node.requiredSchema().json():
        raise _Left("its columns are found by numbers (parquet.field.id)")


def _columns(df: DataFrame, node: Any, outputs: list[int] | None) -> tuple[Column, ...]:
    """The DataFrame's columns in order, each from a column of the files or from a folder's name."""
    from pyspark.sql.types import StructType, UserDefinedType

    attributes = list(_each(node.output()))
    stored = list(node.requiredSchema().fieldNames())
    folders = {name.lower(): at for at, name in enumerate(node.relation().partitionSchema().fieldNames())}
    by_id: dict[int, Column] = {}
    for at, attribute in enumerate(attributes):
        name = stored[at] if at < len(stored) else attribute.name()
        if at >= len(stored) and name.lower() not in folders:
            raise _Left(f"{name} is no column of its files")
        if at < len(stored) and "." in name:
            raise _Left(f"the name {name} has a dot")
        where = {"stored": name} if at < len(stored) else {"partition": folders[name.lower()]}
        by_id[attribute.exprId().id()] = Column(name="", kind=None, **where)
    order = list(by_id) if outputs is None else outputs
    if not order or len(order) != len(df.columns):
        raise _Left("the plan does not show its columns")
    assert isinstance(df.schema, StructType)  # noqa: S101  as every DataFrame's
    for field in df.schema.fields:
        if isinstance(field.dataType, UserDefinedType):
            raise _Left(f"{field.name} has a type of a user's own")
    kinds = _arrow_types(df)
    return tuple(
        Column(name=name, kind=kind, stored=by_id[number].stored, partition=by_id[number].partition)
        for name, kind, number in zip(df.columns, kinds, order, strict=True)
    )


def _arrow_types(df: DataFrame) -> list[pa.DataType]:
    """The types in which Spark would deliver the columns to Python (``ArrowUtils.toArrowSchema``)."""
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    conf = df.sparkSession.conf
    large = conf.get("spark.sql.execution.arrow.useLargeVarTypes") == "true"
    zone = conf.get("spark.sql.session.timeZone")
    try:
        return [
            to_arrow_type(field.dataType, timezone=zone, prefers_large_types=large)
            for field in df.schema.fields
        ]
    except PySparkException as err:
        raise _Left(f"a column has a type without an Arrow form: {err}") from err


def _tasks(node: Any, folders: Any) -> tuple[tuple[Part, ...], ...]:
    """Spark's own tasks: the ranges of files that each would read."""
    kinds = [(field.dataType(), field.dataType().typeName()) for field in folders.fields()]
    return tuple(
        tuple(_part(file, kinds) for file in task.files()) for task in _each(node.inputRDD().filePartitions())
    )


def _part(file: Any, kinds: list[tuple[Any, str]]) -> Part:
    uri = file.filePath().toUri()
    if uri.getScheme() != "file":
        raise _Left(f"its files are on {uri.getScheme()}://, not on file:")
    if not file.otherConstantMetadataColumnValues().isEmpty():
        raise _Left("its files have rows deleted or metadata of their own")
    row = file.partitionValues()
    values = tuple(
        None if row.isNullAt(at) else _value(row.get(at, kind), name) for at, (kind, name) in enumerate(kinds)
    )
    return Part(path=uri.getPath(), start=file.start(), length=file.length(), values=values)


def _value(value: Any, kind: str) -> Value:
    if kind.startswith("decimal"):
        return Decimal(str(value.toString()))
    if kind not in _GETTERS:
        raise _Left(f"folders are named by a {kind}")
    return _GETTERS[kind](value)


def _each(sequence: Any) -> Iterator[Any]:
    """The elements of a Scala sequence."""
    for at in range(sequence.size()):
        yield sequence.apply(at)


def _footers(scan: Scan) -> dict[str, Footer]:
    paths = sorted({part.path for task in scan.tasks for part in task})
    if len(paths) > _MOST_FILES:
        raise _Left(f"its {len(paths)} files are more than {_MOST_FILES}")
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(_footer_or_why, paths), strict=True))


def _footer_or_why(path: str) -> Footer:
    import pyarrow as pa

    try:
        return footer(path)
    except (OSError, pa.ArrowException, NotImplementedError) as err:
        raise _Left(f"{path}: {str(err).partition(chr(10))[0]}") from err
