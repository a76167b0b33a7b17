"""The user's functions are imported where they run, from the code of their own run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritium.pipeline.remote import Check, Fit, Load
from tritium.pipeline.spec import Target


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    path = [*sys.path]
    yield
    sys.path[:] = path
    for name in ("mine", "mine_helper"):
        sys.modules.pop(name, None)


def code(folder: Path, body: str, *, helper: str = "") -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(body)
    (folder / "mine_helper.py").write_text(helper)
    return folder


def target(function: str) -> Target:
    return Target(module="mine", function=function)


def test_fit_gets_the_data_and_the_parameters_of_the_file(tmp_path: Path) -> None:
    folder = code(tmp_path / "a", "def fit(data, factor): return {'rows': len(data) * factor}")

    assert Fit(folder=folder, target=target("fit"), params={"factor": 2})([1, 2, 3]) == {"rows": 6.0}


def test_fit_may_return_nothing(tmp_path: Path) -> None:
    folder = code(tmp_path / "a", "def fit(data): pass")

    assert Fit(folder=folder, target=target("fit"))([]) == {}


@pytest.mark.parametrize("returned", ["[1, 2]", "'good'", "{'loss': 'small'}", "{'loss': [1]}"])
def test_anything_but_a_dictionary_of_numbers_is_refused_in_words(tmp_path: Path, returned: str) -> None:
    folder = code(tmp_path / "a", f"def fit(data): return {returned}")

    with pytest.raises(TypeError, match=r"mine:fit returned .*, expected a dictionary of numbers"):
        Fit(folder=folder, target=target("fit"))([])


def test_a_check_must_return_numbers(tmp_path: Path) -> None:
    folder = code(
        tmp_path / "a", "def check(model, data): return {'name': len(model.name)} if data else None"
    )
    check = Check(folder=folder, target=target("check"), model=Path("/models/abc"))

    assert check([1]) == {"name": 3.0}
    with pytest.raises(TypeError, match="returned None"):
        check([])


def test_load_gets_the_device_and_the_model(tmp_path: Path) -> None:
    folder = code(tmp_path / "a", "def load(device, model): return lambda rows: (device, model, rows)")

    predict = Load(folder=folder, target=target("load"))("gpu", Path("/models/abc"))

    assert predict("rows") == ("gpu", Path("/models/abc"), "rows")


def test_a_worker_that_served_another_version_forgets_its_modules(tmp_path: Path) -> None:
    body = "import mine_helper\ndef fit(data): return {'version': mine_helper.VERSION}"
    old = Fit(folder=code(tmp_path / "old", body, helper="VERSION = 1"), target=target("fit"))
    new = Fit(folder=code(tmp_path / "new", body, helper="VERSION = 2"), target=target("fit"))

    assert [old([]), new([]), new([]), old([])] == [{"version": version} for version in (1.0, 2.0, 2.0, 1.0)]
    assert sys.path.count(str(tmp_path / "old")) == 1
    assert str(tmp_path / "new") not in sys.path
