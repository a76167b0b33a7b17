"""Which tasks share a model: those with the same code and the same files of the model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tritium.infer.identity import lying_at, shared_by


def test_code_is_read_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "environment" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    read = list[Path]()
    whole = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    first = shared_by("m", job_tags="", files=tmp_path)

    assert shared_by("m", job_tags="", files=tmp_path) == first
    assert read == [module]

    module.write_text("x = 10\n")
    assert shared_by("m", job_tags="", files=tmp_path) != first
    assert read == [module, module]


CHANGES: dict[str, Callable[[Path], object]] = {
    "another size": lambda model: (model / "w").write_text("22"),
    "another time": lambda model: os.utime(model / "w", (1, 1)),
    "one more": lambda model: (model / "deep" / "more").touch(),
    "one less": lambda model: (model / "deep" / "v").unlink(),
    "another name": lambda model: (model / "w").rename(model / "u"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_with_other_files_is_another_model(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("w", "deep/v"):
        (tmp_path / name).write_text("1")
    before = lying_at(tmp_path)
    assert lying_at(tmp_path) == before

    change(tmp_path)

    assert lying_at(tmp_path) != before


def test_a_model_of_one_file_changes_with_it(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("1")
    (tmp_path / "beside").write_text("1")
    before = lying_at(tmp_path / "w")

    (tmp_path / "beside").write_text("22")
    assert lying_at(tmp_path / "w") == before

    (tmp_path / "w").write_text("22")
    assert lying_at(tmp_path / "w") != before


def test_a_link_that_leads_elsewhere_is_another_model(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "w").write_text("1")
        os.utime(tmp_path / version / "w", (1, 1))
    (tmp_path / "now").symlink_to("v1")
    before = lying_at(tmp_path / "now")

    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("v2")

    assert lying_at(tmp_path / "now") != before


def test_a_link_inside_a_model_that_leads_elsewhere_is_another_model(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "w").write_text(version * 2 if version == "v2" else version)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "now").symlink_to("../v1")
    (tmp_path / "model" / "itself").symlink_to(".")
    before = lying_at(tmp_path / "model")

    (tmp_path / "model" / "now").unlink()
    (tmp_path / "model" / "now").symlink_to("../v2")

    assert lying_at(tmp_path / "model") != before


def test_what_python_makes_of_the_code_beside_a_model_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "net.py").touch()
    before = lying_at(tmp_path)

    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "net.pyc").touch()

    assert lying_at(tmp_path) == before


def test_no_task_looks_at_more_than_the_first_files_and_a_broken_link_is_one(tmp_path: Path) -> None:
    (tmp_path / "0").symlink_to("nowhere")
    for number in range(1, 1100):
        (tmp_path / f"{number:04}").touch()

    _, first, *others = lying_at(tmp_path)

    assert first == ("0", 0, 0)
    assert len(others) == 999
    assert len(lying_at(tmp_path / "absent")) == 1
