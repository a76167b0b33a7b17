"""Settings come from the environment alone, and all that is wrong is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium_discovery import BadSetting, Settings

VARIABLES = [
    "TRITIUM_MACHINE",
    "TRITIUM_PROBE",
    "TRITIUM_SYSFS",
    "TRITIUM_GPU_AMOUNT",
    "TRITIUM_TIMEOUT_S",
    "TRITIUM_DIR",
    "TRITIUM_PRODUCT",
    "TRITIUM_MIN_MEMORY_MIB",
    "TRITIUM_MIN_FREE_MIB",
    "TRITIUM_MIN_CAPABILITY",
    "TRITIUM_MIG_PROFILE",
    "TRITIUM_ALLOW",
    "TRITIUM_DENY",
    "TRITIUM_TAKE_BUSY",
    "TRITIUM_MAX_ECC_ERRORS",
    "TRITIUM_MAX_TEMPERATURE_C",
    "TRITIUM_QUARANTINE_S",
]
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


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0"))))
def test_no_value_makes_it_fail_in_another_way(environ: dict[str, str]) -> None:
    try:
        Settings.from_env(environ)
    except BadSetting as err:
        assert "expected" in str(err)  # noqa: PT017 - either outcome is right, and nothing else is


def test_the_readme_explains_every_variable() -> None:
    text = README.read_text(encoding="utf-8")

    assert [name for name in VARIABLES if f"`{name}`" not in text] == []
