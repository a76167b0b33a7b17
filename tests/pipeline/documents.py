"""Pipeline documents for tests: a good one, and copies of it with something changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CODE", "changed", "full", "write"]

CODE = """
def fit(data, **params):
    return {"loss": 0.1}

def check(model, data):
    return {"accuracy": 0.97}

def load(device, model):
    return lambda batch: batch["x"]
"""


def full() -> dict[str, Any]:
    """A pipeline that uses every key there is."""
    return {
        "apiVersion": "tritium.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "digits"},
        "spec": {
            "train": {
                "source": {"format": "parquet", "path": "data/train"},
                "run": "digits:fit",
                "framework": "torch",
                "ranks": 2,
                "gpu": {"perRank": 1, "minMemory": "8GiB", "priority": 3},
                "retries": 2,
                "params": {"epochs": 3},
            },
            "code": {"path": "."},
            "storage": "kept",
            "verify": {
                "run": "digits:check",
                "source": {"format": "csv", "path": "data/holdout.csv", "schema": "x double"},
                "atLeast": {"accuracy": 0.95},
                "atMost": {"loss": 1},
            },
            "infer": {
                "source": {"format": "parquet", "path": "data/rest"},
                "run": "digits:load",
                "gpu": {"minMemory": "512MiB", "share": "4GiB", "priority": 2},
                "batch": 64,
                "output": "prediction double",
                "sink": {"format": "parquet", "path": "out/predictions"},
            },
        },
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The full document with values put in at dotted paths; ``...`` removes what is there."""
    document = copy.deepcopy(full())
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = document
        for parent in parents:
            inner = inner[parent]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return document


def write(folder: Path, document: object = None) -> Path:
    """Write the document, its code and its data; returns the pipeline file."""
    (folder / "digits.py").write_text(CODE)
    for name in ("train", "rest"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "part-0.parquet").write_bytes(b"PAR1")
    (folder / "data" / "holdout.csv").write_text("x\n1.0\n")
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(full() if document is None else document))
    return file
