"""Real torch ranks that are killed go on where they were, and learn the same as if nothing had happened."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from tritium.errors import RankFailed, StaleAttempt, TritiumError
from tritium.train import checkpoints as kept
from tritium.train import gang

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("spark"), pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

STEPS = 12


def train(shard: Any, *, killed_at: int | None) -> dict[str, Any]:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    me = tritium.rank()
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    first = 0
    if (found := tritium.checkpoint.latest()) is not None:
        state = torch.load(found.path / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = found.step
    ddp = DistributedDataParallel(model)
    batches = [batch for epoch in range(STEPS) for batch in shard.torch(8, seed=1, epoch=epoch)]
    for step in range(first, STEPS):
        x = batches[step]["x"].float().unsqueeze(1)
        loss = (ddp(x) - x.sin()).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        if step == killed_at and me.attempt == 0 and me.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        if me.rank == 0 and (step + 1) % 3 == 0:
            buffer = io.BytesIO()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
            tritium.checkpoint.save(step + 1, {"state.pt": buffer.getvalue()})
            tritium.checkpoint.prune(keep=2)
    dist.destroy_process_group()
    weights = [value for tensor in model.state_dict().values() for value in tensor.flatten().tolist()]
    return {"attempt": me.attempt, "first": first, "weights": weights}


@pytest.mark.torch
def test_a_killed_ddp_gang_resumes_and_ends_as_an_undisturbed_one(
    spark: SparkSession, tmp_path: Path
) -> None:
    frame = spark.range(40).selectExpr("id / 10 AS x")
    heard: list[TritiumError] = []
    gang = tritium.Gang(ranks=2, retries=1, name="train", launch_timeout_s=400)

    calm = gang.run(train, data=frame, checkpoints=tmp_path / "calm", killed_at=None)
    killed = gang.run(train, data=frame, checkpoints=tmp_path / "killed", killed_at=7, on_retry=heard.append)

    assert [value["first"] for value in calm.values] == [0, 0]
    assert calm.failed == ()
    assert [(value["attempt"], value["first"]) for value in killed.values] == [(1, 6), (1, 6)]
    assert [value["weights"] for value in killed.values] == [value["weights"] for value in calm.values]
    assert [str(error) for error in heard] == ["train: rank 1 failed: killed by SIGKILL"]
    assert killed.failed == tuple(heard)
    assert not list(tmp_path.glob("*/incoming/*"))


def test_a_gang_that_ended_well_goes_on_from_its_checkpoint_when_run_again(tmp_path: Path) -> None:
    def count() -> int:
        found = tritium.checkpoint.latest()
        step = found.step if found is not None else 0
        tritium.checkpoint.save(step + 1, {"state": b"%d" % tritium.rank().rank}, together=True)
        after = tritium.checkpoint.latest()
        assert after is not None
        assert [(folder / "state").read_text() for folder in after.folders] == ["0", "1"]
        return after.step

    gang = tritium.Gang(ranks=2, launch_timeout_s=400)

    assert gang.run(count, checkpoints=tmp_path).values == (1, 1)
    assert gang.run(count, checkpoints=tmp_path).values == (2, 2)


def test_a_bug_is_not_tried_again_and_a_kill_only_as_often_as_allowed(tmp_path: Path) -> None:
    def fail(*, bug: bool) -> None:
        (tmp_path / f"{bug}-{tritium.rank().attempt}").touch()
        if bug:
            raise ValueError("a bug")
        os.kill(os.getpid(), signal.SIGKILL)

    for bug, attempts in ((True, ["True-0"]), (False, ["False-0", "False-1", "False-2"])):
        with pytest.raises(RankFailed):
            tritium.Gang(ranks=1, retries=2, launch_timeout_s=400).run(fail, bug=bug)

        assert sorted(path.name for path in tmp_path.glob(f"{bug}-*")) == attempts


def test_output_is_what_the_attempt_that_succeeded_left(tmp_path: Path) -> None:
    def leave() -> None:
        me = tritium.rank()
        assert me.output is not None
        (me.output / f"from attempt {me.attempt}").touch()
        if me.attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    tritium.Gang(ranks=1, retries=1, launch_timeout_s=400).run(leave, output=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["from attempt 1"]


def test_a_rank_whose_gang_began_anew_is_told_so(tmp_path: Path) -> None:
    """Here by a second gang on the same checkpoints; a rank cut off from its driver is in the same place."""

    def wait_and_save(*, path: str) -> str:
        import time

        Path(path, "waits").touch()
        while not Path(path, "begun").exists():
            time.sleep(0.05)
        try:
            tritium.checkpoint.save(7, {"state": b"late"})
        except StaleAttempt as err:
            return str(err)
        return "saved"

    def begun(rank: int, line: str) -> None:
        raise AssertionError(f"rank {rank}: {line}")

    from concurrent.futures import ThreadPoolExecutor

    from tritium.train.checkpoints import begin

    where = tmp_path / "kept"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            tritium.Gang(ranks=1, launch_timeout_s=400).run,
            wait_and_save,
            checkpoints=where,
            on_line=begun,
            path=str(tmp_path),
        )
        while not (tmp_path / "waits").exists() and not first.done():
            pass
        begin(str(where))
        (tmp_path / "begun").touch()

        assert first.result(120).values == (
            "attempt 1 may not write checkpoints any more: attempt 2 has begun",
        )


def test_reading_the_last_checkpoint_takes_nothing_of_the_time_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, begin, assembly = [], kept.begin, gang._Work._assembly

    def read(where: str) -> Any:
        found = begin(where)
        done.append("read")
        return found

    def started(work: Any) -> Any:
        done.append("the clock runs")
        return assembly(work)

    monkeypatch.setattr(kept, "begin", read)
    monkeypatch.setattr(gang._Work, "_assembly", started)

    assert tritium.Gang(ranks=1).run(int, checkpoints=tmp_path / "kept").values == (0,)
    assert done == ["read", "the clock runs"]
