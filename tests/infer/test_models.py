"""Real models behind the call: what people predict with, loaded by an owner and fed by tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rigs.owners import Executor, by_value, executor

pytestmark = [pytest.mark.process, pytest.mark.torch]
by_value(__name__)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    with executor(monkeypatch, machine="one-gpu") as found:
        yield found


def pictures(count: int) -> Any:
    return np.random.default_rng(3).random((count, 3 * 16 * 16), dtype=np.float32)


def as_batches(rows: Any, size: int) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_arrays(
            [pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), rows.shape[1])], names=["x"]
        )
        for part in (rows[at : at + size] for at in range(0, len(rows), size))
    ]


def vision_net() -> Any:
    import torch

    torch.manual_seed(5)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 10),
    ).eval()  # fmt: skip


def test_a_convolutional_net_of_torch_answers_as_it_does_without_us(one_gpu: Executor) -> None:
    import torch

    def load(_: Any) -> Any:
        import torch

        net = vision_net()

        def predict(rows: Any) -> Any:
            with torch.no_grad():
                return net(torch.tensor(rows["x"]).reshape(-1, 3, 16, 16)).argmax(dim=1)

        return predict

    rows = pictures(50)
    with torch.no_grad():
        expected = vision_net()(torch.tensor(rows).reshape(-1, 3, 16, 16)).argmax(dim=1)

    assert one_gpu.predicted(load, as_batches(rows, 16)) == expected.tolist()


def test_a_forest_of_scikit_learn_answers_as_it_does_without_us(one_gpu: Executor) -> None:
    from sklearn.ensemble import RandomForestClassifier

    rows = pictures(60)
    labels = (rows.mean(axis=1) > 0.5).astype(int)
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(rows, labels)

    def load(_: Any) -> Any:
        return lambda batch: forest.predict(batch["x"])

    assert one_gpu.predicted(load, as_batches(rows, 25), gpu=0) == forest.predict(rows).tolist()
