"""Reads handwritten digits with a small convolutional net: plain torch, and no word of Spark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import tritium

__all__ = ["check", "fit", "load", "rank_device"]

Predict = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def fit(data: tritium.Shard, epochs: int, batch: int, learningRate: float) -> dict[str, float]:  # noqa: N803  as the pipeline file says
    """Train on this rank's shard, in step with the other ranks; rank 0 leaves the model."""
    me = tritium.rank()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = rank_device(me.local_rank)
    torch.manual_seed(0)
    model = DistributedDataParallel(net().to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=learningRate)
    mean = 0.0
    for epoch in range(1, epochs + 1):
        losses = []
        for rows in data.torch(batch, seed=0, epoch=epoch):
            loss = functional.cross_entropy(
                model(rows["pixels"].to(device).float()), rows["label"].to(device).long()
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
            optimizer.step()
            losses.append(loss.item())
        mean = float(np.mean(losses))
        me.report(epoch=epoch, epochs=epochs, loss=mean)
    if me.rank == 0 and me.output is not None:
        torch.save(model.module.state_dict(), me.output / "model.pt")
    dist.destroy_process_group()
    return {"loss": mean}


def check(model: Path, data: tritium.Shard) -> dict[str, float]:
    """Measure the share of digits that the model reads right."""
    rows = data.numpy()
    answers = _read(_restored(model), rows["pixels"])
    return {"accuracy": float((answers["prediction"] == rows["label"]).mean())}


def load(device: Any, model: Path) -> Predict:
    """Load the model onto the one device that this process sees."""
    del device  # CUDA sees no other
    loaded = _restored(model)
    _read(loaded, np.zeros((1, 64), dtype="float32"))  # the first call sets up what the others use
    return lambda rows: _read(loaded, rows["pixels"])


def net() -> nn.Sequential:
    """Return the net, not yet trained: 64 pixels in, 10 scores out."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def rank_device(local_rank: int) -> torch.device:
    """Return a rank's own device: torch ranks see all devices of their gang in this place, in local order."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _device() -> torch.device:
    """Return the one device that inference sees."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def _restored(model: Path) -> nn.Sequential:
    restored = net()
    restored.load_state_dict(torch.load(model / "model.pt", map_location="cpu", weights_only=True))
    return restored.to(_device()).eval()


def _read(model: nn.Sequential, pixels: Any) -> dict[str, Any]:
    with torch.inference_mode():
        scores = model(torch.tensor(pixels, dtype=torch.float32, device=_device())).softmax(dim=1).cpu()
    best = scores.max(dim=1)
    return {"prediction": best.indices.int().numpy(), "confidence": best.values.numpy()}
