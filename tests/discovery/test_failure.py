"""What NVML's codes mean: each cause its own class, with what to do and what the kernel lists."""

from __future__ import annotations

import pytest

from tritium_discovery.errors import (
    DiscoveryError,
    DriverError,
    DriverMismatch,
    NoDevice,
    NoDriver,
    NoLibrary,
    NoPermission,
    UnseenDevice,
)
from tritium_discovery.failure import error_text, no_cards, startup_failure

BUSES = ("00000000:07:00.0", "00000000:0F:00.0")


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (12, NoLibrary, "install the NVIDIA driver, or start the container with the NVIDIA runtime"),
        (9, NoDriver, "modprobe nvidia"),
        (18, DriverMismatch, "reboot, or reload the driver, after an upgrade"),
        (4, NoPermission, "nvmlInit: Insufficient Permissions"),
        (17, NoPermission, "check the rights on /dev/nvidiactl"),
        (
            999,
            DriverError,
            "Unknown Error (NVML error 999), with no NVIDIA GPU on the PCI bus; in a container",
        ),
        (15, DriverError, "nvmlInit failed: GPU is lost (NVML error 15), with no NVIDIA GPU on the PCI bus"),
        (28, NoDevice, "this host has no NVIDIA GPU"),
        (77, DriverError, "nvmlInit failed: Unknown Error (NVML error 77)"),
    ],
)
def test_each_cause_of_a_failed_start_has_its_class_and_its_remedy(
    code: int, error: type[DiscoveryError], words: str
) -> None:
    found = startup_failure("nvmlInit", code, pci=())

    assert type(found) is error
    assert words in str(found)


@pytest.mark.parametrize("code", [9, 12, 15])
def test_a_driver_missing_where_a_gpu_is_names_that_gpu(code: int) -> None:
    said = str(startup_failure("nvmlInit", code, pci=BUSES))

    assert "with 2 NVIDIA GPU(s) on the PCI bus (00000000:07:00.0, 00000000:0F:00.0)" in said


def test_a_driver_without_cards_is_a_fault_where_the_kernel_lists_some() -> None:
    assert type(startup_failure("nvmlInit", 28, pci=BUSES)) is UnseenDevice
    assert type(no_cards(pci=())) is NoDevice
    assert type(no_cards(pci=BUSES)) is UnseenDevice
    assert "NVML lists no GPU, with 2 on the PCI bus (00000000:07:00.0" in str(no_cards(pci=BUSES))


@pytest.mark.parametrize(
    ("code", "words"), [(15, "GPU is lost"), (3, "Not Supported"), (-1, "Unknown Error")]
)
def test_codes_have_nvmls_own_words(code: int, words: str) -> None:
    assert error_text(code) == words
