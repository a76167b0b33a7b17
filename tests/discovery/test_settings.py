"""Settings come from the environment alone, and all that is wrong is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium_discovery import BadSetting, Settings
from tritium_discovery.settings import VARIABLES

README = Path(__file__).parents[2] / "discovery" / "README.md"


def test_an_unset_and_an_empty_list_of_visible_devices_are_opposites() -> None:
    assert Settings.from_env({}).visible is None
    assert Settings.from_env({"CUDA_VISIBLE_DEVICES": ""}).visible == ""


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(BadSetting) as caught:
        Settings.from_env({"TRITIUM_GPU_AMOUNT": "-1", "TRITIUM_DIR": "here", "TRITIUM_TAKE_BUSY": "yes"})

    assert str(caught.value) == (
        "TRITIUM_GPU_AMOUNT: expected an integer >= 0, got '-1'; "
        "TRITIUM_DIR: expected an absolute path, got 'here'; "
        "TRITIUM_TAKE_BUSY: expected true or false, got 'yes'"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("TRITIUM_MACHINE", " dgx-a100 ", "machine", "dgx-a100"),
        ("TRITIUM_PROBE", "nvml", "probe", "nvml"),
        ("TRITIUM_PROBE", "sysfs", "probe", "sysfs"),
        ("TRITIUM_SYSFS", "/host/sys", "sysfs", Path("/host/sys")),
        ("TRITIUM_GPU_AMOUNT", "0", "amount", 0),
        ("TRITIUM_TIMEOUT_S", "0.5", "timeout_s", 0.5),
        ("TRITIUM_DIR", "/run/x", "directory", Path("/run/x")),
        ("TRITIUM_MIN_CAPABILITY", "9", "min_capability", (9, 0)),
        ("TRITIUM_MIN_CAPABILITY", "8.6", "min_capability", (8, 6)),
        ("TRITIUM_ALLOW", "0, GPU-1", "allow", ("0", "GPU-1")),
        ("TRITIUM_DENY", "07:00.0", "deny", ("07:00.0",)),
        ("TRITIUM_TAKE_BUSY", "true", "take_busy", True),
        ("TRITIUM_TAKE_BUSY", "false", "take_busy", False),
    ],
)
def test_a_value_means_what_the_table_says(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TRITIUM_PROBE", "amd"),
        ("TRITIUM_SYSFS", "sys"),
        ("TRITIUM_GPU_AMOUNT", "\u0661"),
        ("TRITIUM_TIMEOUT_S", "0"),
        ("TRITIUM_TIMEOUT_S", "nan"),
        ("TRITIUM_TIMEOUT_S", "inf"),
        ("TRITIUM_TIMEOUT_S", "soon"),
        ("TRITIUM_MIN_CAPABILITY", "8.x"),
        ("TRITIUM_MIN_CAPABILITY", "x.0"),
        ("TRITIUM_DENY", "0,,1"),
        ("TRITIUM_TAKE_BUSY", "1"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_and_quoted(variable: str, text: str) -> None:
    with pytest.raises(BadSetting, match=f"{variable}: expected .*, got {text!r}"):
        Settings.from_env({variable: text})


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0"))))
def test_no_value_makes_it_fail_in_another_way(environ: dict[str, str]) -> None:
    try:
        Settings.from_env(environ)
    except BadSetting as err:
        assert "expected" in str(err)  # noqa: PT017 - either outcome is right, and nothing else is


class Recording(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, name: str, default: object = None) -> Any:
        self.asked.append(name)
        return super().get(name, default)


def test_every_variable_that_is_read_is_listed() -> None:
    environ = Recording()
    Settings.from_env(environ)

    assert sorted(environ.asked) == sorted(VARIABLES)


def test_the_readme_explains_every_variable() -> None:
    text = README.read_text(encoding="utf-8")

    assert [name for name in VARIABLES if f"`{name}`" not in text] == []
