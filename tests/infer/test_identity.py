"""Which tasks share a model: those with the same code, which is not read again for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritium.infer.identity import shared_by


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
