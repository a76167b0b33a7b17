"""Selection: exactly as many as asked for, only what may be used, and a reason for each one left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import machine, made
from tritium_discovery import NotEnough, Settings, Uuid
from tritium_discovery.emulate import observe
from tritium_discovery.inventory import Seen, seen
from tritium_discovery.machine import Machine
from tritium_discovery.observation import Memory
from tritium_discovery.selection import choose, idle_words, judge


def inventory(model: Machine) -> tuple[Seen, ...]:
    return seen(observe(model, topology=False), Settings(), host=Memory(1, 1))


DGX = inventory(machine("dgx-a100"))
MIG = inventory(machine("mig-1g"))


def reasons(of: tuple[Seen, ...], **environ: str) -> list[tuple[str, ...]]:
    return [verdict.reasons for verdict in judge(of, Settings.from_env(environ), claimed={}, held={})]


def left_out(environ: dict[str, str], **first: Any) -> str:
    """The only reason against the first of two cards; the second is kept."""
    one, other = reasons(inventory(made(first=first)), **environ)
    assert other == ()
    return "; ".join(one)


@pytest.mark.parametrize(
    ("environ", "first", "reason"),
    [
        ({"TRITIUM_PRODUCT": "a100"}, {"product": "Tesla T4"}, "product Tesla T4, a100 wanted"),
        ({"TRITIUM_MIN_MEMORY_MIB": "40000"}, {"memory_mib": 1}, "1 MiB of memory, 40000 wanted"),
        (
            {"TRITIUM_MIN_FREE_MIB": "40000"},
            {"used_mib": 1000},
            "39960 MiB of memory free, 40000 wanted",
        ),
        ({"TRITIUM_MIN_CAPABILITY": "8"}, {"capability": "7.5"}, "compute capability 7.5, 8.0 wanted"),
        ({"TRITIUM_DENY": "0"}, {}, "TRITIUM_DENY names it"),
        ({"TRITIUM_DENY": "0000:01:00.0"}, {}, "TRITIUM_DENY names it"),
        ({"TRITIUM_DENY": "01:00.0"}, {}, "TRITIUM_DENY names it"),
        ({"TRITIUM_ALLOW": "1"}, {}, "TRITIUM_ALLOW does not name it"),
        (
            {},
            {"processes": [7, 8]},
            "foreign processes compute on it (pid 7, 8); TRITIUM_TAKE_BUSY=true takes it all the same",
        ),
    ],
)
def test_a_card_left_out_has_its_reason(environ: dict[str, str], first: dict[str, Any], reason: str) -> None:
    assert left_out(environ, **first) == reason


def test_a_busy_card_may_be_taken_on_request_or_when_its_holder_is_known() -> None:
    busy = inventory(made(first={"processes": [7]}))
    uuid = busy[0].uuid

    assert reasons(busy, TRITIUM_TAKE_BUSY="true") == [(), ()]
    assert judge(busy, Settings(), claimed={}, held={uuid: "rank 0"})[0].kept


def test_mig_instances_are_chosen_by_their_profile() -> None:
    kept = [not given for given in reasons(MIG, TRITIUM_MIG_PROFILE="1g.5gb")]

    assert kept == [True] * 5 + [False]


def test_denying_a_card_denies_its_instances() -> None:
    card = MIG[0].parent
    assert card is not None

    assert [not given for given in reasons(MIG, TRITIUM_DENY=card)] == [False] * 5 + [True]


def test_too_few_devices_are_refused_with_the_reason_of_each() -> None:
    verdicts = judge(inventory(machine("lost-gpu")), Settings(), claimed={}, held={})

    with pytest.raises(NotEnough) as caught:
        choose(verdicts, 4, visible=None)

    assert str(caught.value).startswith(
        "4 devices wanted, 3 of 4 may be used: device 2 (unreadable-2): the card"
    )
    assert caught.value.wanted == 4
    assert len(caught.value.reasons) == 1


def test_devices_that_share_a_fate_share_a_clause_and_hidden_ones_are_mentioned() -> None:
    verdicts = judge(DGX, Settings(product="T4"), claimed={}, held={})

    with pytest.raises(NotEnough) as caught:
        choose(verdicts, 9, visible="0,1,2,3,4,5,6,7")

    assert str(caught.value) == (
        "9 devices wanted, 0 of the 8 that CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 shows may be used: "
        "devices 0, 1, 2, 3, 4, 5, 6, 7: product NVIDIA A100-SXM4-40GB, T4 wanted"
    )


def test_no_amount_is_all_that_may_be_used_but_never_none() -> None:
    verdicts = judge(inventory(machine("lost-gpu")), Settings(), claimed={}, held={})

    assert [device.address for device in choose(verdicts, None, visible=None)] == [0, 1, 3]
    with pytest.raises(
        NotEnough, match=r"^no device of 8 may be used: devices 0, 1, 2, 3, 4, 5, 6, 7: product"
    ):
        choose(judge(DGX, Settings(product="T4"), claimed={}, held={}), None, visible=None)


def test_one_device_is_one_device() -> None:
    with pytest.raises(NotEnough, match=r"^1 device wanted, 0 of 8 may be used: "):
        choose(judge(DGX, Settings(product="T4"), claimed={}, held={}), 1, visible=None)


def test_a_word_that_names_no_device_is_told() -> None:
    settings = Settings(allow=(DGX[0].uuid, "0000:07:00.0", "8"), deny=("GPU-gone", "1"))

    assert list(idle_words(DGX, settings)) == [
        "TRITIUM_ALLOW: 8 names no device that is seen here",
        "TRITIUM_DENY: GPU-gone names no device that is seen here",
    ]


@given(st.sets(st.sampled_from([device.uuid for device in DGX])), st.integers(0, 9))
def test_claimed_devices_are_never_chosen_and_the_count_is_exact(claimed: set[Uuid], amount: int) -> None:
    verdicts = judge(DGX, Settings(), claimed=dict.fromkeys(claimed, "another"), held={})

    try:
        chosen = choose(verdicts, amount, visible=None)
    except NotEnough as err:
        assert amount > 8 - len(claimed)
        addresses = [device.address for device in DGX if device.uuid in claimed]
        assert all(any(str(at) in reason for reason in err.reasons) for at in addresses)  # noqa: PT017
        return

    assert len(chosen) == amount
    assert not claimed & {device.uuid for device in chosen}
