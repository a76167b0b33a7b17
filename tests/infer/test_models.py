"""Real models behind the call: what people predict with, loaded by an owner and fed by tasks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rigs.owners import Executor, by_value

pytestmark = [pytest.mark.process, pytest.mark.torch]
by_value(__name__)

SAID = {
    "en": "The committee will publish its report before the end of the month.",
    "de": "Der Ausschuss wird seinen Bericht noch vor Ende des Monats vorlegen.",
    "fr": "La commission publiera son rapport avant la fin du mois prochain.",
    "es": "El comité publicará su informe antes de que termine el mes.",
    "fi": "Valiokunta julkaisee mietintönsä ennen kuukauden loppua.",
}
WRITTEN = {
    "python": "import os\n\n\ndef main():\n    for name in os.listdir():\n        print(name)\n" * 3,
    "json": '{"name": "first", "sizes": [1, 2, 3], "inner": {"deep": true, "none": null}}\n',
    "html": "<!DOCTYPE html><html><head><title>A page</title></head><body><p>Text</p></body></html>\n" * 2,
    "shell": '#!/bin/bash\nset -euo pipefail\nfor file in "$@"; do\n  echo "$file" | tr a-z A-Z\ndone\n' * 2,
}


def as_batches(column: pa.Array, size: int) -> list[pa.RecordBatch]:
    return pa.table({"x": column}).to_batches(max_chunksize=size)  # type: ignore[no-any-return]  # no stubs


def digits() -> tuple[Any, Any]:
    """Handwritten digits, which ship with scikit-learn: pictures of 8 x 8 and what they show."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images.astype(np.float32), found.target


def jpeg(picture: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((picture * 15).astype(np.uint8)).resize((64, 64)).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoded(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """JPEG files as pictures of 8 x 8."""
    from PIL import Image

    files = (Image.open(io.BytesIO(file)).resize((8, 8)) for file in batch["x"])
    return {"x": np.stack([np.asarray(file, dtype=np.float32) / 15 for file in files])}


def net() -> Any:
    import torch

    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8)), torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(144, 10),
    )  # fmt: skip


def trained(pictures: Any, labels: Any) -> dict[str, Any]:
    """Train a net for a second; returns its weights."""
    import torch

    torch.manual_seed(5)
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(pictures)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        optimizer.step()
    return dict(model.state_dict())


def test_a_vision_net_of_torch_reads_jpeg_files(one_gpu: Executor, tmp_path: Path) -> None:
    import torch

    pictures, labels = digits()
    torch.save(trained(pictures[:1200], labels[:1200]), tmp_path / "net.pt")
    files = [jpeg(picture) for picture in pictures[1200:1400]]

    def load(_: Any) -> Any:
        import torch

        model = net()
        model.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
        model.eval()

        def predict(rows: Any) -> Any:
            with torch.inference_mode():
                return model(torch.tensor(rows["x"])).argmax(dim=1)

        return predict

    got = one_gpu.predicted(load, as_batches(pa.array(files), 48), preprocess=decoded)

    assert got == load(None)(decoded({"x": files})).tolist()
    assert (np.array(got) == labels[1200:1400]).mean() > 0.8


def test_a_text_model_out_of_a_package_tells_languages(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        import py3langid

        return lambda rows: [py3langid.classify(text)[0] for text in rows["x"]]

    texts = list(SAID.values()) * 20

    got = one_gpu.predicted(load, as_batches(pa.array(texts), 16))

    assert got == list(SAID) * 20


def tokens(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Texts as the bytes of their beginnings and their ends, as the net of Magika reads them."""
    rows = np.full((len(batch["x"]), 2048), 256, dtype=np.int32)
    for row, text in zip(rows, batch["x"], strict=True):
        found = np.frombuffer(text.strip().encode(), dtype=np.uint8)
        head, tail = found[:1024], found[-1024:]
        row[: len(head)], row[2048 - len(tail) :] = head, tail
    return {"x": rows}


def test_a_net_of_onnx_runtime_reads_tokens(one_gpu: Executor) -> None:
    def load(_: Any) -> Any:
        import json

        import magika
        import onnxruntime

        model = Path(magika.__file__).parent / "models" / "standard_v3_3"
        labels = json.loads((model / "config.min.json").read_text())["target_labels_space"]
        session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda rows: [
            labels[at] for at in session.run(["target_label"], {"bytes": rows["x"]})[0].argmax(axis=1)
        ]

    texts = list(WRITTEN.values()) * 10

    got = one_gpu.predicted(load, as_batches(pa.array(texts), 16), preprocess=tokens)

    assert got == list(WRITTEN) * 10


def test_trees_of_xgboost_answer_with_probabilities(one_gpu: Executor, tmp_path: Path) -> None:
    import xgboost

    pictures, labels = digits()
    rows = pictures.reshape(len(pictures), -1)
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 10, "max_depth": 3, "nthread": 1},
        xgboost.DMatrix(rows[:1200], label=labels[:1200]),
        num_boost_round=8,
    )
    booster.save_model(tmp_path / "model.ubj")

    def load(_: Any) -> Any:
        import xgboost

        model = xgboost.Booster(model_file=str(tmp_path / "model.ubj"))
        return lambda batch: model.inplace_predict(batch["x"])

    column = pa.FixedSizeListArray.from_arrays(pa.array(rows[1200:1500].ravel()), 64)
    got = one_gpu.predicted(load, as_batches(column, 100))

    assert np.array_equal(np.array(got, dtype=np.float32), booster.predict(xgboost.DMatrix(rows[1200:1500])))
    assert (np.array(got).argmax(axis=1) == labels[1200:1500]).mean() > 0.8


def test_a_forest_of_scikit_learn_answers_as_it_does_without_us(one_gpu: Executor) -> None:
    from sklearn.ensemble import RandomForestClassifier

    pictures, labels = digits()
    rows = pictures.reshape(len(pictures), -1)[:300]
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(rows, labels[:300])

    def load(_: Any) -> Any:
        return lambda batch: forest.predict(batch["x"])

    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 64)

    assert one_gpu.predicted(load, as_batches(column, 64), gpu=0) == forest.predict(rows).tolist()
