"""What a function is called is the same in every process that runs the same code, and in no other."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.core.broadcast import Broadcast

from tritium.errors import BadSpec
from tritium.infer.packing import packed

CODE = """
import enum, typing
from dataclasses import dataclass

T = typing.TypeVar("T")

class Colour(enum.Enum):
    RED = 1

class Net:
    weight = 2
    def predict(self, rows):
        return [self.weight * row for row in rows if Colour.RED]

@dataclass(frozen=True)
class Deep(Net, typing.Generic[T]):
    depth: int = 3

RUN = "0123456789abcdef0123456789abcdef"

def load(device):
    net = Deep()
    return lambda batch: (net.predict(batch), Net, RUN)
"""
PRINT = """
from tritium.infer.packing import packed
first, again = (packed((load, ()), call="predict", argument="model") for _ in range(2))
assert first == again
print(first.name)
"""


def named(*command: str) -> str:
    """Run a process with a hash seed of its own, and return what it printed."""
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def script(folder: Path, code: str = CODE) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(code + PRINT)
    return named(str(folder / "script.py"))


def cell(kernel: int, code: str = CODE) -> str:
    """Run it as a notebook does, whose cells are files of the kernel's process."""
    run = "import sys; exec(compile(sys.argv[1], sys.argv[2], 'exec'))"
    return named("-c", run, code + PRINT, f"/tmp/ipykernel_{kernel}/1.py")


def test_two_processes_with_the_same_classes_name_a_function_the_same(tmp_path: Path) -> None:
    assert script(tmp_path / "one") == script(tmp_path / "one")
    assert cell(1) == cell(2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("weight = 2", "weight = 4"),
        ("RED = 1", "RED = 2"),
        ("depth: int = 3", "depth: int = 4"),
        ("0123456789abcdef0123", "0123456789abcdef0124"),
        ("(net.predict(batch), Net", "(net.predict(batch), Deep"),
    ],
    ids=["a class", "an enum", "a dataclass", "a run's id", "which class"],
)
def test_what_does_something_else_has_another_name(old: str, new: str) -> None:
    assert CODE.count(old) == 1

    assert cell(1) != cell(1, CODE.replace(old, new))


def test_scripts_in_different_folders_are_two_since_they_may_look_beside_themselves(tmp_path: Path) -> None:
    assert script(tmp_path / "one") != script(tmp_path / "two")


def test_a_large_array_is_a_part_of_what_a_function_does() -> None:
    """A pickler hands it on as it lies in memory."""
    ones, twos = np.full(100_000, 1.0), np.full(100_000, 2.0)

    names = [
        packed(partial(sum, array), call="predict", argument="model").name
        for array in (ones, ones.copy(), twos, np.asfortranarray(ones.reshape(100, 1000)))
    ]

    assert names[0] == names[1]
    assert len({*names}) == 3


def test_a_broadcast_variable_is_refused_with_what_to_do() -> None:
    number: Any = Broadcast.__new__(Broadcast)

    with pytest.raises(BadSpec, match="a broadcast variable; use its value, or SparkContext"):
        packed(lambda _: number.value, call="predict", argument="model")
