"""The edge to Spark: runs the stages with the same gangs and the same inference that notebooks use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tritium.errors import BadSpec
from tritium.infer import failures, predict, read_reports
from tritium.infer.profile import merged
from tritium.pipeline.edges import Advanced, Heard, Retried
from tritium.pipeline.remote import Check, Fit, Load
from tritium.pipeline.results import DeviceUse, Predicted, RankRow, TaskRow, Trained, Verified
from tritium.pipeline.spec import Infer, Pipeline, Script, Source, Train, Verify
from tritium.spark.words import in_words
from tritium.train.gang import Gang
from tritium.train.result import RankInfo

if TYPE_CHECKING:
    from pyspark import SparkStageInfo, StatusTracker
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["SparkEngine"]

_POLL_S = 0.5


class SparkEngine:
    """Runs stages in one Spark session."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def check(self, pipeline: Pipeline) -> None:
        """See `Engine.check`."""
        sources = pipeline.sources()
        problems = [
            f"{path.removesuffix('.path')}.schema: {str(err).strip().splitlines()[0]}"
            for path, source in sources.items()
            if (err := self._wrong_schema(source)) is not None
        ]
        infer = pipeline.infer
        # Types that Spark would infer from a CSV file cost a reading of it.
        if infer is not None and not problems and (infer.source.format != "csv" or infer.source.schema):
            try:
                self._predicted(infer, code=pipeline.code, model=pipeline.storage, report=None)
            except BadSpec as err:
                problems += [f"spec.infer.{problem}" for problem in err.problems]
        if problems:
            raise BadSpec(f"pipeline {pipeline.name}", problems)

    def train(
        self, stage: Train, *, code: Path, output: Path, checkpoints: Path, heard: Heard, retried: Retried
    ) -> Trained:
        """See `Engine.train`."""
        gang = Gang(
            name="train",
            ranks=stage.ranks,
            gpus_per_rank=stage.gpu.per_rank,
            min_memory_mib=stage.gpu.min_memory_mib,
            priority=stage.gpu.priority,
            framework=stage.framework,
            retries=stage.retries,
        )
        run, args = stage.run, stage.run.args if isinstance(stage.run, Script) else ()
        fit = (
            code / run.path if isinstance(run, Script) else Fit(folder=code, target=run, params=stage.params)
        )
        with _in_words("train"):
            result = gang.run(
                fit,
                data=self._read(stage.source),
                args=args,
                output=output,
                checkpoints=checkpoints,
                on_report=heard,
                on_retry=retried,
            )
        return Trained(
            metrics=result.values[0] or {},  # a script returns nothing
            ranks=tuple(_rank_row(rank) for rank in result.ranks),
            phases=dict(result.phases),
            told=(),
        )

    def verify(self, stage: Verify, *, code: Path, model: Path) -> Verified:
        """See `Engine.verify`."""
        check = Check(folder=code, target=stage.run, model=model)
        with _in_words("verify"):
            result = Gang(name="verify", ranks=1, gpus_per_rank=0).run(check, data=self._read(stage.source))
        return Verified(metrics=result.values[0])

    def infer(self, stage: Infer, *, code: Path, model: Path, into: Path, advanced: Advanced) -> Predicted:
        """See `Engine.infer`."""
        with TemporaryDirectory(dir=into.parent, prefix=".report-") as folder, _in_words("infer"), failures():
            predicted = self._predicted(stage, code=code, model=model, report=Path(folder))
            with _watched(self._spark, advanced):
                predicted.write.parquet(str(into))
            reports = read_reports(Path(folder))
        tasks = tuple(
            TaskRow(
                task=report.task,
                host=report.host,
                executor=report.executor,
                devices=()
                if report.device is None
                else (DeviceUse(uuid=report.device, product=report.product),),
                rows=report.rows,
                began=report.began,
                load_s=report.load_s,
                seconds=report.seconds,
            )
            for report in reports
        )
        profile = merged(reports) if reports else None
        return Predicted(rows=sum(task.rows for task in tasks), tasks=tasks, profile=profile)

    def _predicted(self, stage: Infer, *, code: Path, model: Path, report: Path | None) -> DataFrame:
        return predict(
            self._read(stage.source),
            model=Load(folder=code, target=stage.run),
            output=stage.output,
            batch_size=stage.batch,
            share_mib=stage.gpu.share_mib,
            min_memory_mib=stage.gpu.min_memory_mib,
            priority=stage.gpu.priority,
            model_path=model,
            report=report,
        )

    def _wrong_schema(self, source: Source) -> Exception | None:
        """Let Spark read a schema as it will read it later."""
        from pyspark.errors import PySparkException

        if source.schema is not None:
            try:
                self._read(source)
            except PySparkException as err:
                return err
        return None

    def _read(self, source: Source) -> DataFrame:
        if source.format == "parquet":
            return self._spark.read.parquet(str(source.path))
        return self._spark.read.csv(
            str(source.path), header=True, schema=source.schema, inferSchema=source.schema is None
        )


def _rank_row(rank: RankInfo) -> RankRow:
    return RankRow(
        rank=rank.rank,
        local_rank=rank.local_rank,
        group_rank=rank.group_rank,
        # Gangs tell localities apart, people hosts: node-7/3fd2a1 is on node-7.
        host=rank.host.partition("/")[0],
        executor=rank.executor,
        devices=tuple(DeviceUse(uuid=device.uuid, product=device.product) for device in rank.devices),
        pid=rank.pid,
        seconds=rank.seconds,
        peak_mib=rank.peak_mib,
        device_peak_mib=rank.device_peak_mib,
    )


@contextmanager
def _in_words(stage: str) -> Iterator[None]:
    """Turn Spark's own failures, which are pages long, into one sentence.

    Raises:
        SparkFailed: Spark could not read, run or write, or its JVM ended.
        GangCancelled: somebody cancelled the job.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as err:
        raise in_words(err, what=f"{stage}: Spark") from err


@contextmanager
def _watched(spark: SparkSession, advanced: Advanced) -> Iterator[None]:
    """Tell how many tasks of the running job are done, whenever that changes."""
    tracker = spark.sparkContext.statusTracker()
    over = threading.Event()

    seen = (0, 0)

    def watch() -> None:
        nonlocal seen
        # The job itself tells when Spark is gone; this only looks on.
        while not over.wait(_POLL_S) and (stages := _running(tracker)) is not None:
            done = sum(stage.numCompletedTasks for stage in stages)
            total = sum(stage.numTasks for stage in stages)
            if total and (done, total) != seen:
                seen = (done, total)
                advanced(done, total)

    watcher = threading.Thread(target=watch, name="tritium-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    done, total = seen
    if done < total:  # the last ones ended between two looks
        advanced(total, total)


def _running(tracker: StatusTracker) -> list[SparkStageInfo] | None:
    try:
        found = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
    except Exception:  # noqa: BLE001  py4j has many ways to say that the JVM is gone
        return None
    return [stage for stage in found if stage is not None]
