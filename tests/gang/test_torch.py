"""Real torch ranks on real Spark, gloo over loopback, emulated devices."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import tritium
from tritium.errors import RankFailed

pytestmark = [pytest.mark.spark, pytest.mark.torch, pytest.mark.usefixtures("spark")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def reduce_again_and_again() -> list[float]:
    """Rank 0 begins with a group of its own, then of each group of all another rank leaves it last."""
    import torch
    import torch.distributed as dist

    me = tritium.rank().rank
    if me == 0:
        dist.init_process_group("gloo", rank=0, world_size=1)
        dist.destroy_process_group()
    sums = []
    for last in (0, 1, 0):
        dist.init_process_group("gloo")
        number = torch.tensor([float(me + 1)])
        dist.all_reduce(number)
        sums.append(number.item())
        if me == last:
            time.sleep(0.5)
        dist.destroy_process_group()
    return sums


def test_plain_init_process_group_works_again_and_again_whichever_rank_is_the_last_to_leave() -> None:
    result = tritium.Gang(ranks=2, launch_timeout_s=400, timeout_s=120).run(reduce_again_and_again)

    assert result.values == ([3.0, 3.0, 3.0],) * 2
    assert [list(rank.start) for rank in result.ranks] == [["fork", "import", "rendezvous"]] * 2


def try_to_take_the_port() -> str:
    import socket

    port = int(os.environ["MASTER_PORT"])
    if tritium.rank().rank == 0:
        tritium.rank().barrier()
        return "held it"
    try:
        with socket.socket() as thief:
            thief.bind((os.environ["MASTER_ADDR"], port))
    except OSError:
        return "could not take it"
    else:
        return "stole it"
    finally:
        tritium.rank().barrier()


def test_the_master_port_is_held_from_before_the_ranks_start() -> None:
    assert tritium.Gang(ranks=2).run(try_to_take_the_port).values == ("held it", "could not take it")


def set_a_device_of_a_faked_cuda() -> str:
    import torch

    chosen: list[str] = []
    visible = os.environ["CUDA_VISIBLE_DEVICES"].split(",")

    def set_device(device: Any) -> None:
        chosen.append(visible[int(device)])

    torch.cuda.set_device = set_device
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    assert chosen[0] in {device.uuid for device in tritium.rank().devices}
    return chosen[0]


def test_set_device_of_local_rank_takes_a_device_of_ones_own() -> None:
    opened = tritium.Gang(ranks=2, gpus_per_rank=2).run(set_a_device_of_a_faked_cuda).values

    assert len(set(opened)) == 2


def train(shard: Any, *, epochs: int) -> tuple[float, int]:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    steps = 0
    for epoch in range(epochs):
        for batch in shard.torch(8, seed=1, epoch=epoch):
            x = batch["x"].float().unsqueeze(1)
            loss = (model(x) - 3 * x).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    weight = model.module.weight.item()
    dist.destroy_process_group()
    return weight, steps


def join(shard: Any) -> tuple[int, float]:
    """Train on exactly the rank's own rows, with torch's way of ending unevenly."""
    import torch
    import torch.distributed as dist
    from torch.distributed.algorithms.join import Join
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(1, 1))
    steps = 0
    with Join([model]):
        for batch in shard.torch(1, even=False):
            model(batch["id"].float().unsqueeze(1)).pow(2).mean().backward()
            steps += 1
    weight = model.module.weight.item()
    dist.destroy_process_group()
    return steps, weight


def test_ddp_does_not_hang_where_shards_are_uneven_and_empty(spark: SparkSession) -> None:
    gang = tritium.Gang(ranks=4, gpus_per_rank=0, timeout_s=240)
    three = spark.range(0, 3, 1, 1).selectExpr("id AS id", "id / 3 AS x")

    joined = gang.run(join, data=three).values
    even = gang.run(train, data=three, epochs=2).values

    assert sorted(steps for steps, _ in joined) == [0, 1, 1, 1]
    assert len(set(even)) == 1
    assert even[0][1] == 2, "one batch per epoch on every rank"


def test_ddp_learns_on_uneven_shards_without_hanging(spark: SparkSession) -> None:
    frame = spark.range(101).selectExpr("id / 100 AS x")

    (left, right) = tritium.Gang(ranks=2, timeout_s=120).run(train, data=frame, epochs=20).values

    assert left == right
    assert left[0] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("local_rank", [0, 1])
def test_the_demos_ranks_compute_each_on_its_own_device(
    local_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tritium.demo.digits import rank_device

    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)

    assert rank_device(local_rank) == torch.device("cuda", local_rank)
    assert chosen == [local_rank]


def break_off_slowly(how: str) -> None:
    """Rank 1 fails in the middle of a collective and leaves a child that is deaf to SIGTERM for a second."""
    import subprocess

    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    if tritium.rank().rank == 1:
        subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"], start_new_session=True)
        time.sleep(0.5)
        if how == "exit":
            os._exit(7)
        raise ValueError("the learning rate is negative")
    dist.all_reduce(torch.zeros(1))


@pytest.mark.parametrize(
    ("how", "cause"), [("raise", "ValueError: the learning rate is negative"), ("exit", "exited with code 7")]
)
def test_the_rank_that_failed_first_is_named_though_its_processes_take_longer_to_end(
    how: str, cause: str
) -> None:
    with pytest.raises(RankFailed) as caught:
        tritium.Gang(ranks=2, name="train", launch_timeout_s=400).run(break_off_slowly, how=how)

    assert str(caught.value).splitlines()[0] == f"train: rank 1 failed: {cause}"
    assert caught.value.victims == (0,)
