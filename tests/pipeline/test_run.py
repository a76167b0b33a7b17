"""The stages run in order, each once; failures are retried, refused or told as the file says."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.documents import write
from pipeline.fakes import Ears, FakeEngine, Killed, KillingDisk, edges, read
from tritium.errors import (
    AlreadyRunning,
    CannotPublish,
    GangLost,
    RankFailed,
    TritiumError,
    Unplaceable,
    VerifyFailed,
)
from tritium.pipeline.bar import shortfalls
from tritium.pipeline.load import load
from tritium.pipeline.results import to_json
from tritium.pipeline.run import root_of, run
from tritium.pipeline.spec import Pipeline
from tritium.pipeline.state import State, alone
from tritium.store.disk import LocalDisk
from tritium.store.objects import ObjectId, Store


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load(write(tmp_path))


def pointed(pipeline: Pipeline) -> ObjectId | None:
    return Store(root_of(pipeline), disk=LocalDisk()).target("model")


def test_a_run_trains_verifies_and_infers_in_this_order(pipeline: Pipeline, tmp_path: Path) -> None:
    engine, ears = FakeEngine(), Ears()

    done = run(pipeline, edges=edges(engine, ears=ears))

    assert done.error is None
    assert done.done_now == ("train", "verify", "infer") == tuple(engine.ran)
    assert ears.said == [
        "train begins (0)",
        "train finished in 4.0 s",
        "verify begins (0)",
        "verify finished in 1.0 s",
        "infer begins (0)",
        "infer 1/2",
        "infer finished in 1.0 s",
    ]
    assert read(tmp_path / "out/predictions") == {
        "part-0.parquet": "weights 0",
        "part-1.parquet": "weights 1",
    }
    assert pointed(pipeline) == done.records["train"].output


def test_what_ranks_report_is_heard_at_once_and_kept(pipeline: Pipeline) -> None:
    ears = Ears()

    done = run(pipeline, edges=edges(FakeEngine(), ears=ears))

    trained = done.records["train"].trained
    assert trained is not None
    assert trained.told == tuple(ears.told)
    assert [(told.rank, told.values.get("loss")) for told in ears.told] == [(0, None), (0, 0.5), (1, 0.7)]


def test_what_ranks_reported_in_an_attempt_that_failed_is_not_kept(pipeline: Pipeline) -> None:
    ears = Ears()

    done = run(pipeline, edges=edges(FakeEngine(fails={"train": [GangLost("lost")]}), ears=ears))

    trained = done.records["train"].trained
    assert trained is not None
    assert trained.told == tuple(ears.told[1:])


def test_finished_stages_never_run_again(pipeline: Pipeline) -> None:
    first = run(pipeline, edges=edges(FakeEngine()))
    engine, ears = FakeEngine(), Ears()

    second = run(pipeline, edges=edges(engine, ears=ears))

    assert engine.ran == []
    assert second.done_now == ()
    assert second.records == first.records
    assert ears.said == [f"{stage} finished before, not run again" for stage in ("train", "verify", "infer")]


def test_a_run_that_is_wanted_fresh_runs_everything(pipeline: Pipeline) -> None:
    run(pipeline, edges=edges(FakeEngine()))
    engine = FakeEngine()

    run(pipeline, edges=edges(engine), fresh=True)

    assert engine.ran == ["train", "verify", "infer"]


def test_a_change_of_code_runs_everything_that_uses_it(pipeline: Pipeline) -> None:
    run(pipeline, edges=edges(FakeEngine()))
    (pipeline.code / "helper.py").write_text("x = 1\n")
    engine = FakeEngine()

    run(pipeline, edges=edges(engine))

    assert engine.ran == ["train", "verify", "infer"]
    assert engine.seen_code["helper.py"] == "x = 1\n"


def test_a_change_of_the_last_source_runs_only_the_last_stage(pipeline: Pipeline) -> None:
    assert pipeline.infer is not None
    run(pipeline, edges=edges(FakeEngine()))
    (pipeline.infer.source.path / "part-1.parquet").write_bytes(b"PAR1")
    engine = FakeEngine()

    run(pipeline, edges=edges(engine))

    assert engine.ran == ["infer"]


def test_a_change_of_retries_or_priorities_runs_nothing(pipeline: Pipeline) -> None:
    assert pipeline.infer is not None
    run(pipeline, edges=edges(FakeEngine()))
    engine = FakeEngine()

    train = replace(pipeline.train, retries=9, gpu=replace(pipeline.train.gpu, priority=9))
    infer = replace(pipeline.infer, gpu=replace(pipeline.infer.gpu, priority=9))
    run(replace(pipeline, train=train, infer=infer), edges=edges(engine))

    assert engine.ran == []


def test_a_change_of_the_share_runs_the_stage_that_has_it(pipeline: Pipeline) -> None:
    assert pipeline.infer is not None
    run(pipeline, edges=edges(FakeEngine()))
    engine = FakeEngine()

    infer = replace(pipeline.infer, gpu=replace(pipeline.infer.gpu, share_mib=1_000))
    run(replace(pipeline, infer=infer), edges=edges(engine))

    assert engine.ran == ["infer"]


def test_another_model_is_verified_and_used_anew(pipeline: Pipeline, tmp_path: Path) -> None:
    run(pipeline, edges=edges(FakeEngine()))
    engine = FakeEngine(model="other")

    run(replace(pipeline, train=replace(pipeline.train, params={"epochs": 9})), edges=edges(engine))

    assert engine.ran == ["train", "verify", "infer"]
    assert read(tmp_path / "out/predictions")["part-0.parquet"] == "other 0"


def test_a_damaged_model_is_trained_again(pipeline: Pipeline) -> None:
    first = run(pipeline, edges=edges(FakeEngine()))
    model = Store(root_of(pipeline), disk=LocalDisk()).path(ObjectId(first.records["train"].output))
    (model / "model.txt").write_text("hal")
    engine = FakeEngine()

    run(pipeline, edges=edges(engine))

    assert engine.ran == ["train"]
    assert (model / "model.txt").read_text() == "weights"


def test_predictions_that_somebody_removed_are_made_again(pipeline: Pipeline, tmp_path: Path) -> None:
    run(pipeline, edges=edges(FakeEngine()))
    version = (tmp_path / "out/predictions").resolve()
    for file in version.iterdir():
        file.unlink()
    version.rmdir()
    engine = FakeEngine()

    run(pipeline, edges=edges(engine))

    assert engine.ran == ["infer"]
    assert len(read(tmp_path / "out/predictions")) == 2


def test_a_gang_that_failed_is_tried_again_as_often_as_the_file_says(pipeline: Pipeline) -> None:
    failures: list[TritiumError] = [
        GangLost("executor 1 was lost"),
        RankFailed(gang="train", rank=1, cause="killed by SIGKILL", by_machine=True),
    ]
    engine, ears = FakeEngine(fails={"train": failures}), Ears()

    done = run(pipeline, edges=edges(engine, ears=ears))

    assert engine.ran == ["train", "train", "train", "verify", "infer"]
    assert [failed.sentence for failed in done.records["train"].failed] == [
        "executor 1 was lost",
        "train: rank 1 failed: killed by SIGKILL",
    ]
    assert "train executor 1 was lost; retry 1 of 2" in ears.said
    assert "train begins (2)" in ears.said
    assert done.failed == {}


def test_after_the_last_retry_the_run_ends_with_the_last_error(pipeline: Pipeline) -> None:
    errors: list[TritiumError] = [GangLost(f"loss {number}") for number in range(3)]
    engine = FakeEngine(fails={"train": [*errors]})

    done = run(pipeline, edges=edges(engine))

    assert done.error is errors[-1]
    assert engine.ran == ["train"] * 3
    assert [failed.sentence for failed in done.failed["train"]] == ["loss 0", "loss 1", "loss 2"]
    assert pointed(pipeline) is None


def test_a_refusal_is_not_tried_again(pipeline: Pipeline) -> None:
    engine = FakeEngine(fails={"train": [Unplaceable("no room", ["node-7: 8 devices"])]})

    done = run(pipeline, edges=edges(engine))

    assert isinstance(done.error, Unplaceable)
    assert engine.ran == ["train"]


def test_a_bug_in_the_users_code_is_not_tried_again(pipeline: Pipeline) -> None:
    engine = FakeEngine(fails={"train": [RankFailed(gang="train", rank=0, cause="ValueError: no")]})

    done = run(pipeline, edges=edges(engine))

    assert isinstance(done.error, RankFailed)
    assert engine.ran == ["train"]


def test_checkpoints_outlive_a_killed_run_and_nothing_else(pipeline: Pipeline) -> None:
    changed = replace(pipeline, train=replace(pipeline.train, params={"epochs": 9}))
    for stage, wanted, fresh, seen in (
        ("train", pipeline, False, False),
        ("train", pipeline, False, True),
        ("train", pipeline, True, False),
        ("train", changed, False, False),
        ("verify", changed, False, True),
        (None, changed, True, False),
    ):
        engine = FakeEngine(killed_in=stage)  # type: ignore[arg-type]  # the list's str

        with contextlib.suppress(Killed):
            run(wanted, edges=edges(engine), fresh=fresh)

        assert engine.seen_checkpoints == seen
    assert not (root_of(pipeline) / "checkpoints").exists()


def test_a_model_below_the_bar_is_not_used(pipeline: Pipeline, tmp_path: Path) -> None:
    done = run(pipeline, edges=edges(FakeEngine(accuracy=0.9)))

    assert isinstance(done.error, VerifyFailed)
    assert str(done.error) == (
        "verify: the model is not used, digits:check measured accuracy 0.9, at least 0.95 needed"
    )
    assert done.done_now == ("train",)
    assert pointed(pipeline) is None
    assert not (tmp_path / "out/predictions").exists()


def test_every_bar_that_is_missed_is_named() -> None:
    metrics = {"accuracy": 0.9, "loss": 2.0, "nan": float("nan")}

    missed = shortfalls(
        metrics, at_least={"accuracy": 0.95, "nan": 0.1}, at_most={"loss": 1.0, "nan": 0.9, "f1": 1}
    )

    assert [*missed] == [
        "accuracy 0.9, at least 0.95 needed",
        "nan nan, at least 0.1 needed",
        "nan nan, at most 0.9 allowed",
        "loss 2, at most 1 allowed",
        "no f1, only accuracy, loss, nan",
    ]


def test_the_pointer_stays_on_the_good_model_when_a_new_one_is_below_the_bar(pipeline: Pipeline) -> None:
    good = run(pipeline, edges=edges(FakeEngine())).records["train"].output
    changed = replace(pipeline, train=replace(pipeline.train, params={"epochs": 1}))

    run(changed, edges=edges(FakeEngine(model="bad", accuracy=0.5)))

    assert pointed(pipeline) == good


def test_training_that_leaves_no_file_is_an_error_and_no_model(pipeline: Pipeline) -> None:
    done = run(pipeline, edges=edges(FakeEngine(leaves_model=False)))

    sentence = "train: digits:fit left no file in tritium.rank().output: there is no model"
    assert isinstance(done.error, CannotPublish)
    assert str(done.error) == sentence


def test_a_pipeline_may_end_after_training(pipeline: Pipeline) -> None:
    done = run(replace(pipeline, verify=None, infer=None), edges=edges(FakeEngine()))

    assert done.done_now == ("train",)
    assert pointed(pipeline) == done.records["train"].output


def test_a_sink_that_cannot_be_published_is_refused_before_training(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "out/predictions").mkdir(parents=True)
    engine = FakeEngine()

    done = run(pipeline, edges=edges(engine))

    assert isinstance(done.error, CannotPublish)
    assert engine.ran == []


def test_a_disk_that_refuses_is_a_sentence(pipeline: Pipeline) -> None:
    class FullDisk(LocalDisk):
        def write(self, path: Path, content: bytes) -> None:
            raise OSError(28, f"No space left on device for {len(content)} bytes", str(path))

    done = run(pipeline, edges=edges(FakeEngine(), disk=FullDisk()))

    assert isinstance(done.error, CannotPublish)
    assert "No space left on device" in str(done.error)


def test_a_second_run_of_the_same_pipeline_is_refused_with_the_pid_of_the_first(pipeline: Pipeline) -> None:
    engine = FakeEngine()
    with (
        alone(root_of(pipeline), what="the first"),
        pytest.raises(
            AlreadyRunning, match=rf"pipeline digits is in use by another run \(pid {os.getpid()}\)"
        ),
    ):
        run(pipeline, edges=edges(engine))

    assert engine.ran == []
    assert run(pipeline, edges=edges(engine)).error is None


def test_two_pipelines_never_write_one_sink_at_once(pipeline: Pipeline, tmp_path: Path) -> None:
    with (
        alone(tmp_path / "out/.predictions.versions", what="the other"),
        pytest.raises(AlreadyRunning, match=r"the sink .*/out/predictions is in use by another run"),
    ):
        run(pipeline, edges=edges(FakeEngine()))


def test_a_record_of_another_layout_counts_as_none(pipeline: Pipeline) -> None:
    done = run(pipeline, edges=edges(FakeEngine()))
    state = State(root_of(pipeline), disk=LocalDisk())
    (root_of(pipeline) / "stages/verify.json").write_text('{"stage": "verify"}')

    assert state.record("verify") is None
    assert state.record("train") == done.records["train"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_run_killed_at_any_durable_write_is_completed_by_the_next(
    pipeline: Pipeline, tmp_path: Path, at: int, moment: str
) -> None:
    killed, resumed = FakeEngine(), FakeEngine()
    disk = KillingDisk(at=at, after=moment == "after")
    with pytest.raises(Killed):
        run(pipeline, edges=edges(killed, disk=disk))
    finished = tuple(State(root_of(pipeline), disk=LocalDisk()).records())
    seen = read(tmp_path / "out/predictions") if (tmp_path / "out/predictions").exists() else None

    done = run(pipeline, edges=edges(resumed))

    assert seen in (None, {"part-0.parquet": "weights 0", "part-1.parquet": "weights 1"})
    assert done.error is None
    assert (*finished, *resumed.ran) == ("train", "verify", "infer")
    assert len(read(tmp_path / "out/predictions")) == 2
    assert pointed(pipeline) == done.records["train"].output
    assert not any(
        path for left in ("incoming", "attempts") for path in (root_of(pipeline) / left).rglob("*")
    )
    versions = (tmp_path / "out/.predictions.versions").glob("*")
    assert [path.name for path in versions if path.name.startswith(".")] == []


def test_the_kills_above_cover_every_durable_write_of_a_run(pipeline: Pipeline) -> None:
    disk = KillingDisk()

    run(pipeline, edges=edges(FakeEngine(), disk=disk))

    assert disk.writes == 8


@pytest.mark.parametrize("stage", ["train", "verify", "infer"])
def test_a_run_killed_within_a_stage_does_that_stage_again_and_no_earlier_one(
    pipeline: Pipeline, tmp_path: Path, stage: str
) -> None:
    killed, resumed = FakeEngine(killed_in=stage), FakeEngine()  # type: ignore[arg-type]  # parametrize's str
    with pytest.raises(Killed):
        run(pipeline, edges=edges(killed))

    done = run(pipeline, edges=edges(resumed))

    stages = ["train", "verify", "infer"]
    assert resumed.ran == stages[stages.index(stage) :]
    assert done.error is None
    assert len(read(tmp_path / "out/predictions")) == 2
    assert "hal" not in read(tmp_path / "out/predictions").values()


def test_records_are_json_that_people_can_read(pipeline: Pipeline) -> None:
    done = run(pipeline, edges=edges(FakeEngine()))

    text = (root_of(pipeline) / "stages/train.json").read_text()

    assert text == to_json(done.records["train"])
    assert '"uuid": "GPU-0"' in text
