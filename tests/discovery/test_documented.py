"""What NVIDIA's own ``nvml.h`` says of NVML, beside what we make of it: our emulator is no witness."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from machines import made
from rigs.nvml.ask import observed
from rigs.nvml.rig import SOURCES, header
from tritium_discovery import (
    emulate,
    failure,
    health,
    nvml,
    nvml_call,
    nvml_processes,
    nvml_wiring,
    observation,
)
from tritium_discovery.inventory import seen
from tritium_discovery.machine import parse
from tritium_discovery.observation import Memory
from tritium_discovery.settings import Settings

HEADER = header()
pytestmark = pytest.mark.skipif(HEADER is None, reason="nvml.h is not here; pip install nvidia-nvml-dev")
TEXT = "" if HEADER is None else HEADER.read_text(encoding="utf-8")

READERS = [Path(module.__file__ or "") for module in (nvml, nvml_call, nvml_processes, nvml_wiring)]
QUOTING = [*READERS, *(Path(module.__file__ or "") for module in (failure, health)), *SOURCES]
FOUND = (re.findall(r'"(nvml[A-Z]\w+)"', path.read_text()) for path in READERS if HEADER is not None)
CALLS = sorted({call for calls in FOUND for call in calls})


def number(name: str) -> int:
    """An enumerator or a macro of the header."""
    found = re.search(rf"\b{name}\s*=?\s+([0-9]+)\b", TEXT)
    assert found, name
    return int(found[1])


def documentation(call: str) -> str:
    """The comment above a call, in whichever version the header has it."""
    found = re.search(
        r"/\*\*((?:(?!\*/).)*)\*/\s*(?:/\*\* @\} \*/\s*)?(?:DEPRECATED\(\S+\)\s*)?nvmlReturn_t DECLDIR "
        rf"{call}(?:_v[0-9])?\(",
        TEXT,
        flags=re.DOTALL,
    )
    assert found, call
    return found[1]


def codes(call: str) -> set[str]:
    """The failures that a call may answer with."""
    return set(re.findall(r"NVML_ERROR_\w+", documentation(call)))


def plain(text: str) -> str:
    """Words only: no comment signs, marks of Doxygen or quotes."""
    return " ".join(re.sub(r'^\s*(?:\*|//|#)|\\(?:ref|a|p)\b|"', " ", text, flags=re.MULTILINE).split())


def test_failures_mean_what_their_numbers_mean() -> None:
    named = {
        "NOT_SUPPORTED": failure.NOT_SUPPORTED,
        "FUNCTION_NOT_FOUND": failure.UNKNOWN_TO_DRIVER,
        "NO_PERMISSION": failure.NO_PERMISSION,
        "UNKNOWN": failure.UNKNOWN,
    }
    assert {name: number(f"NVML_ERROR_{name}") for name in named} == named
    lost = ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND")
    assert {number(f"NVML_ERROR_{name}") for name in lost} == failure.LOST
    broken = ("TIMEOUT", "IRQ_ISSUE", "CORRUPTED_INFOROM", "UNKNOWN")
    assert {number(f"NVML_ERROR_{name}") for name in broken} == failure.BROKEN


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("NoDriver", "DRIVER_NOT_LOADED"),
        ("NoLibrary", "LIBRARY_NOT_FOUND"),
        ("DriverMismatch", "LIB_RM_VERSION_MISMATCH"),
        ("NoPermission", "NO_PERMISSION"),
        ("NoPermission", "OPERATING_SYSTEM"),
        ("NoDevice", "GPU_NOT_FOUND"),
        ("DriverError", "UNKNOWN"),
    ],
)
def test_a_start_that_fails_is_called_what_its_code_is_called(name: str, init: str) -> None:
    found = failure.startup_failure("nvmlInit", number(f"NVML_ERROR_{init}"), pci=())

    assert type(found).__name__ == name


def test_every_recovery_action_has_words() -> None:
    actions = {
        int(value) for value in re.findall(r"NVML_GPU_RECOVERY_ACTION_(?!NONE)\w+\s*=\s*([0-9]+)", TEXT)
    }

    assert set(health._RECOVERY) == actions
    assert number("NVML_FI_DEV_GET_GPU_RECOVERY_ACTION") == 230


def test_ancestors_are_those_of_the_header() -> None:
    ancestors = {level.name: int(level) for level in observation.Ancestor}

    assert {name: number(f"NVML_TOPOLOGY_{name}") for name in ancestors} == ancestors


COMMENTS = {".c": r"/\*.*?\*/", ".py": r'""".*?"""|(?:^[ ]*#[^\n]*\n)+'}


@pytest.mark.parametrize("path", QUOTING, ids=lambda path: path.name)
def test_what_is_quoted_is_in_the_header(path: Path) -> None:
    # In comments and docstrings, and of three words or more: fewer may be a name.
    text = path.read_text(encoding="utf-8")
    comments = re.findall(COMMENTS[path.suffix], text, flags=re.DOTALL | re.MULTILINE)
    header_said = plain(TEXT).lower()

    quotes = [quote for comment in comments for quote in re.findall(r'"([^"]+ [^"]+ [^"]+)"', bare(comment))]

    assert [quote for quote in quotes if plain(quote).strip(" .").lower() not in header_said] == []


def bare(comment: str) -> str:
    """A comment without the signs that its lines begin with."""
    return re.sub(r"^\s*(?:\*|#|>>>.*)", " ", comment.strip('"'), flags=re.MULTILINE)


def answers() -> Iterator[tuple[str, set[str]]]:
    """Each call that the library for tests exports, and the failures that it answers with, by macros too."""
    sources = [path.read_text(encoding="utf-8") for path in (*SOURCES, SOURCES[0].with_name("machine.h"))]
    macros = {
        name: set(re.findall(r"NVML_ERROR_\w+", body))
        for text in sources
        for name, body in re.findall(
            r"^#define (\w+)\([^)]*\) ((?:[^\n]*\\\n)*[^\n]*)", text, flags=re.MULTILINE
        )
    }
    for text in sources:
        for call, body in re.findall(
            r"^nvmlReturn_t (nvml\w+)\([^{;]*\{(.*?)(?=^(?:nvmlReturn_t|/\*|static|#)|\Z)",
            text,
            flags=re.DOTALL | re.MULTILINE,
        ):
            used = (macros[name] for name in macros if f"{name}(" in body)
            yield call, set(re.findall(r"NVML_ERROR_\w+", body)).union(*used)


def test_the_library_for_tests_answers_with_documented_failures_alone() -> None:
    # What the reference leaves out is said elsewhere in the header: of structs with a version, and of fields.
    version = {"NVML_ERROR_ARGUMENT_VERSION_MISMATCH"}
    elsewhere: Mapping[str, set[str]] = {
        "nvmlDeviceGetMemoryInfo_v2": version,
        "nvmlDeviceGetTemperatureV": version,
        "nvmlDeviceGetTemperature": codes("nvmlDeviceGetTemperatureV"),
        "nvmlDeviceGetFieldValues": {"NVML_ERROR_NOT_SUPPORTED"},
    }
    found = {call: said for call, said in answers() if said}

    assert len(found) > 10
    for call, said in found.items():
        assert said <= codes(re.sub(r"_v[0-9]$", "", call)) | elsewhere.get(call, set()), call


IDENTITY = {"nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo"}
JUDGED = {
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetTemperature",
}
PLACE = {"nvmlDeviceGetCpuAffinity", "nvmlDeviceGetMemoryAffinity", "nvmlDeviceGetTopologyCommonAncestor"}
"""What is only good to know: how near a card is."""


def ill(call: str, code: str) -> bool:
    """Whether a card of which one call fails so may not be used."""
    if call in PLACE:
        return False
    if call in IDENTITY or code == "GPU_IS_LOST":
        return True
    if call == "nvmlDeviceGetMemoryInfo":
        return code != "NOT_SUPPORTED"
    return call in JUDGED and code == "UNKNOWN"


FAULTS = [
    (call, code.removeprefix("NVML_ERROR_"))
    for call in CALLS
    if call.startswith("nvmlDevice") and "Mig" not in call.replace("MigMode", "") and "Instance" not in call
    if "NvLink" not in call and call not in {"nvmlDeviceGetCount", "nvmlDeviceGetTemperatureV"}
    for code in sorted(codes("nvmlDeviceGetTemperatureV" if call == "nvmlDeviceGetTemperature" else call))
]


@pytest.mark.parametrize(("call", "code"), FAULTS)
def test_a_documented_failure_is_a_fault_of_its_card_or_none(call: str, code: str) -> None:
    model = made(cards=3, first={"fail": {call: number(f"NVML_ERROR_{code}")}})

    found = emulate.observe(model, topology=True)

    devices = seen(found, Settings(), host=Memory(total_mib=1000, free_mib=500))
    if (call, code) == ("nvmlDeviceGetHandleByIndex", "NO_PERMISSION"):
        assert [device.uuid[-1] for device in devices] == ["1", "2"]
        return
    assert [bool(device.troubles) for device in devices] == [ill(call, code), False, False]


def test_there_are_documented_failures_to_try() -> None:
    assert len(FAULTS) > 60
    assert {call for call, _ in FAULTS} > IDENTITY | JUDGED | PLACE


@pytest.mark.nvml
@pytest.mark.parametrize("start", range(0, len(FAULTS), 16))
def test_read_through_pynvml_such_a_card_is_what_it_is_judged_by(start: int, tmp_path: Path) -> None:
    cards = [{"fail": {call: number(f"NVML_ERROR_{code}")}} for call, code in FAULTS[start : start + 16]]
    model = parse({"cards": cards}, name="documented")

    assert observed(model, tmp_path)._replace(origin="emulated", machine=model.name) == emulate.observe(
        model, topology=True
    )
