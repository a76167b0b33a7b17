"""Cutting a failing batch: smaller where memory ran out, and down to the guilty rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritium.infer.parts import Bad, Sizes, Trust, in_parts, of_the_device, out_of_memory, rows_left


def failing(*poison: int, calls: list[tuple[int, int]] | None = None) -> Callable[[int, int], list[int]]:
    def attempt(begin: int, end: int) -> list[int]:
        if calls is not None:
            calls.append((begin, end))
        for row in poison:
            if begin <= row < end:
                raise ValueError(f"row {row}")
        return list(range(begin, end))

    return attempt


def holding(most: int, calls: list[tuple[int, int]]) -> Callable[[int, int], list[int]]:
    def attempt(begin: int, end: int) -> list[int]:
        calls.append((begin, end))
        if end - begin > most:
            raise MemoryError
        return list(range(begin, end))

    return attempt


@given(st.integers(1, 200), st.data())
def test_exactly_the_guilty_rows_are_found_and_all_others_stay_in_order(rows: int, data: Any) -> None:
    poison = data.draw(st.sets(st.integers(0, rows - 1), max_size=20))
    trust = Trust()
    trust.succeeded()

    parts, bad = in_parts(rows, failing(*poison), sizes=Sizes(), trust=trust)

    assert [one.row for one in bad] == sorted(poison)
    assert [row for part in parts for row in part.value] == list(rows_left(rows, bad))
    assert all(
        one == Bad(row=one.row, step="predict", kind="ValueError", message=f"row {one.row}") for one in bad
    )


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_batch_that_memory_does_not_hold_is_cut_until_it_does(rows: int, most: int) -> None:
    sizes = Sizes()

    parts, bad = in_parts(rows, holding(most, []), sizes=sizes, trust=None)

    assert [row for part in parts for row in part.value] == list(range(rows))
    assert not bad
    assert sizes.most is None if rows <= most else (sizes.most or 0) <= most


def test_what_fitted_is_remembered() -> None:
    sizes, calls = Sizes(), list[tuple[int, int]]()
    in_parts(100, holding(30, calls), sizes=sizes, trust=None)
    calls.clear()

    in_parts(60, holding(30, calls), sizes=sizes, trust=None)

    assert calls == [(0, 25), (25, 50), (50, 60)]


def test_a_row_that_never_fits_does_not_make_later_batches_small() -> None:
    sizes, trust, calls = Sizes(), Trust(), list[tuple[int, int]]()
    trust.succeeded()

    def attempt(begin: int, end: int) -> None:
        if begin <= 100 < end:
            raise MemoryError("a huge image")

    _, bad = in_parts(256, attempt, sizes=sizes, trust=trust)
    in_parts(256, holding(256, calls), sizes=sizes, trust=trust)

    assert [(one.row, one.kind) for one in bad] == [(100, "MemoryError")]
    assert calls == [(0, 256)]


def test_memory_that_was_short_for_a_time_is_used_again() -> None:
    sizes, calls = Sizes(), list[tuple[int, int]]()
    in_parts(100, holding(30, []), sizes=sizes, trust=None)

    for _ in range(200):
        in_parts(100, holding(100, calls), sizes=sizes, trust=None)

    assert calls[:4] == [(0, 25), (25, 50), (50, 75), (75, 100)]
    assert calls[-1] == (0, 100)
    assert sizes.most == 100, "it grows no further than batches are large"


def test_memory_that_stays_short_is_seldom_tried_again() -> None:
    sizes, calls = Sizes(), list[tuple[int, int]]()
    in_parts(100, holding(30, []), sizes=sizes, trust=None)

    for _ in range(200):
        in_parts(100, holding(30, calls), sizes=sizes, trust=None)

    assert len(calls) <= 4 * 200 + 3
    assert sizes.most == 25


def test_one_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(MemoryError):
        in_parts(4, holding(0, []), sizes=Sizes(), trust=None)


def test_without_trust_the_first_failure_is_raised() -> None:
    calls = list[tuple[int, int]]()

    with pytest.raises(ValueError, match="row 7"):
        in_parts(10, failing(7, calls=calls), sizes=Sizes(), trust=None)

    assert calls == [(0, 10)]


def test_what_fails_on_everything_is_given_up_after_a_few_calls() -> None:
    calls = list[tuple[int, int]]()

    with pytest.raises(ValueError, match="row"):
        in_parts(10_000, failing(*range(10_000), calls=calls), sizes=Sizes(), trust=Trust())

    assert len(calls) <= 40


def test_small_batches_that_fail_whole_are_given_up_too() -> None:
    trust = Trust()
    for _ in range(10):
        in_parts(3, failing(0, 1, 2), sizes=Sizes(), trust=trust)

    with pytest.raises(ValueError, match="row"):
        in_parts(3, failing(0, 1, 2), sizes=Sizes(), trust=trust)


def test_a_first_batch_whose_beginning_is_bad_is_no_reason_to_give_up() -> None:
    parts, bad = in_parts(1000, failing(*range(900)), sizes=Sizes(), trust=Trust())

    assert [one.row for one in bad] == list(range(900))
    assert [row for part in parts for row in part.value] == list(range(900, 1000))


ORT = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node."


class OutOfMemoryError(RuntimeError):
    """As torch and CuPy have it."""


class ResourceExhaustedError(Exception):
    """As TensorFlow has it."""


@pytest.mark.parametrize(
    "err",
    [
        MemoryError(),
        # torch: on a device, of its libraries, in main memory
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("HIP error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        # JAX
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8.00GiB"),
        RuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        # TensorFlow
        ResourceExhaustedError("OOM when allocating tensor with shape[100,4096,32]"),
        RuntimeError("Failed copying input tensor to GPU:0: Dst tensor is not initialized. [Op:Equal]"),
        # CuPy
        OutOfMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 512 bytes)."),
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),
        # ONNX Runtime: its arena, and what it calls itself
        RuntimeError(f"{ORT} bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 643840"),
        RuntimeError(
            f"{ORT} BFCArena: Available memory of 5513472 is smaller than requested bytes of 20751872"
        ),
        RuntimeError(f"{ORT} CudaCall CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; line=175"),
        RuntimeError(f"{ORT} CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate"),
        RuntimeError(f"{ORT} std::bad_alloc"),
        # XGBoost, cuML
        RuntimeError("[12:00:00] Memory allocation error on worker 0: std::bad_alloc\n- Free memory: 1.0GB"),
        RuntimeError("std::bad_alloc: cudaErrorMemoryAllocation: out of memory"),
        MemoryError("std::bad_alloc: out_of_memory: CUDA error at: cuda_memory_resource.hpp:70"),
        # TensorRT
        RuntimeError(
            "[executionContext.cpp] Error Code 2: OutOfMemory (Requested size was 149635638784 bytes.)"
        ),
    ],
    ids=str,
)
def test_frameworks_have_many_names_for_too_little_memory_and_none_breaks_the_device(err: Exception) -> None:
    assert out_of_memory(err)
    assert not of_the_device(err)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
        "cudaErrorIllegalAddress: an illegal memory access was encountered",
        "CUDNN_STATUS_EXECUTION_FAILED",
        f"{ORT} CudaCall CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a",
    ],
)
def test_what_breaks_a_device_says_nothing_of_its_memory(text: str) -> None:
    assert of_the_device(RuntimeError(text))
    assert not out_of_memory(RuntimeError(text))


def test_other_errors_are_of_neither_kind() -> None:
    assert not out_of_memory(RuntimeError("shapes do not match"))
    assert not of_the_device(RuntimeError("shapes do not match"))


@given(said=st.text(st.characters(), max_size=3000))
def test_what_a_row_failed_with_is_text_of_a_bounded_length(said: str) -> None:
    bad = Bad.of(0, "predict", ValueError(said + "\udce9"))

    assert len(bad.message.encode()) <= 1024
    assert "\n" not in bad.message
    if len(said) < 90 and said.isascii():
        assert bad.message == (said + "\\udce9").partition("\n")[0]
