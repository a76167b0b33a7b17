"""Claims: whose they are, when they end, and which card an address means."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import settings
from rigs.claiming import claimed, me
from rigs.processes import eventually
from tritium_discovery import BadState, Device, Inventory, StaleAddress, claims, discover
from tritium_discovery.claims import parse
from tritium_discovery.process import ProcessId, process_id

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    return discover(settings(tmp_path_factory.mktemp("state"), TRITIUM_MACHINE="dgx-16"))


def test_the_claim_of_a_process_ends_with_it(tmp_path: Path, inventory: Inventory) -> None:
    with subprocess.Popen(["sleep", "60"]) as owner:
        who = process_id(owner.pid)
        assert who is not None
        claimed(inventory.devices, tmp_path, owner=who)
        assert len(claims.live(tmp_path)) == 1
        owner.kill()

        # A zombie has ended: not every parent collects its children.
        eventually(lambda: claims.live(tmp_path) == ())


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "an older boot"}])
def test_the_claim_of_a_reused_pid_or_an_older_boot_counts_for_nothing(
    tmp_path: Path, inventory: Inventory, change: dict[str, object]
) -> None:
    claimed(inventory.devices, tmp_path, owner=me()._replace(**change))  # type: ignore[arg-type] # fields by name

    assert claims.live(tmp_path) == ()


def test_the_claim_from_another_pid_namespace_lasts_until_the_next_boot(
    tmp_path: Path, inventory: Inventory
) -> None:
    # Nobody can see from here whether that process lives: leaving a card out is better than giving it twice.
    made = claimed(inventory.devices[:1], tmp_path, owner=me()._replace(pid=1 << 22, pid_ns=1))

    assert [claim.id for claim in claims.live(tmp_path)] == [made.id]
    claims.drop(tmp_path, claim_id=made.id)
    assert claims.live(tmp_path) == ()
    with pytest.raises(BadState, match="no live claim"):
        claims.drop(tmp_path, claim_id=made.id)


def test_releasing_drops_the_claims_of_one_process_and_no_others(
    tmp_path: Path, inventory: Inventory
) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        who = process_id(other.pid)
        assert who is not None
        claimed(inventory.devices[:1], tmp_path)
        claimed(inventory.devices[1:2], tmp_path)
        theirs = claimed(inventory.devices[2:3], tmp_path, owner=who)

        assert claims.release(tmp_path, owner_pid=os.getpid()) == 2

        assert claims.live(tmp_path) == (theirs,)
        other.kill()


def test_a_refusal_claims_nothing(tmp_path: Path) -> None:
    def refuse(_: object) -> Sequence[Device]:
        raise StaleAddress("no")

    with pytest.raises(StaleAddress):
        claims.make(refuse, owner=me(), generation="g", directory=tmp_path)

    assert claims.live(tmp_path) == ()


def test_an_address_is_resolved_through_what_spark_was_told(tmp_path: Path, inventory: Inventory) -> None:
    claimed(inventory.devices[4:8], tmp_path, owner=_parent())

    found = claims.resolve([7, 4], directory=tmp_path, inventory=inventory)

    assert [device.uuid for device in found] == [inventory.devices[7].uuid, inventory.devices[4].uuid]
    with pytest.raises(StaleAddress, match=r"address 0 was not reported .* \(it was told 4, 5, 6, 7\)"):
        claims.resolve([0], directory=tmp_path, inventory=inventory)


def test_what_others_claimed_is_not_what_our_spark_was_told(tmp_path: Path, inventory: Inventory) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        who = process_id(other.pid)
        assert who is not None
        claimed(inventory.devices[:8], tmp_path, owner=who)
        claimed(inventory.devices[8:], tmp_path, owner=_parent())

        with pytest.raises(StaleAddress, match="address 3 was not reported to this JVM"):
            claims.resolve([3], directory=tmp_path, inventory=inventory)
        other.kill()


def test_two_workers_in_one_jvm_claim_for_both(tmp_path: Path, inventory: Inventory) -> None:
    claimed(inventory.devices[:2], tmp_path, owner=_parent())
    claimed(inventory.devices[2:4], tmp_path, owner=_parent())

    found = claims.resolve([3, 0], directory=tmp_path, inventory=inventory)

    assert [device.address for device in found] == [3, 0]


def test_an_address_follows_its_card_when_another_one_falls_off_the_bus(
    tmp_path: Path, inventory: Inventory
) -> None:
    claimed(inventory.devices[2:4], tmp_path, owner=_parent())
    # Card 0 has gone, so that every card behind it is counted one less now.
    shifted = replace(
        inventory,
        devices=tuple(replace(device, address=device.address - 1) for device in inventory.devices[1:]),
    )

    found = claims.resolve([3], directory=tmp_path, inventory=shifted)

    assert found[0].uuid == inventory.devices[3].uuid


def test_an_address_whose_card_is_gone_is_an_error_and_never_another_card(
    tmp_path: Path, inventory: Inventory
) -> None:
    claimed(inventory.devices[2:4], tmp_path, owner=_parent())
    gone = replace(inventory, devices=inventory.devices[:3])

    with pytest.raises(StaleAddress, match="that card is not visible any more: restart the Worker"):
        claims.resolve([3], directory=tmp_path, inventory=gone)


def test_without_a_claim_addresses_are_positions(tmp_path: Path, inventory: Inventory) -> None:
    assert claims.resolve([5], directory=tmp_path, inventory=inventory)[0].address == 5
    with pytest.raises(StaleAddress, match="address 16 is not among the 16 devices seen here"):
        claims.resolve([16], directory=tmp_path, inventory=inventory)


def _parent() -> ProcessId:
    found = process_id(os.getppid())
    assert found is not None
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")
def test_a_claim_that_another_user_forged_for_our_process_counts_for_nothing(
    tmp_path: Path, inventory: Inventory
) -> None:
    made = claimed(inventory.devices, tmp_path)
    path = next(tmp_path.glob("claim-*"))

    os.chown(path, 65534, 65534)

    assert claims.live(tmp_path) == ()
    path.write_text("rubbish", encoding="utf-8")
    assert claims.live(tmp_path) == ()  # it must not stop the others
    os.chown(path, 0, 0)
    with pytest.raises(BadState, match="is no claim file"):
        claims.live(tmp_path)
    assert made.id in path.name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_claim_is_not_ours_to_drop(inventory: Inventory) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as shared:  # where the other user may look
        directory = Path(shared)
        directory.chmod(0o1777)
        made = claimed(inventory.devices, directory)
        os.seteuid(65534)
        try:
            with pytest.raises(BadState, match=f"claim {made.id} is another user's"):
                claims.drop(directory, claim_id=made.id)
        finally:
            os.seteuid(0)

        assert claims.live(directory) == (made,)


def test_a_claim_that_vanishes_while_all_are_read_is_no_claim(tmp_path: Path) -> None:
    assert claims._read(tmp_path / "claim-gone.json") is None


def test_a_claim_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claim-x.json").symlink_to("/etc/passwd")

    with pytest.raises(BadState):
        claims.live(tmp_path)


def test_a_claim_under_another_name_is_refused(tmp_path: Path, inventory: Inventory) -> None:
    claimed(inventory.devices, tmp_path)
    path = next(tmp_path.glob("claim-*"))
    path.rename(tmp_path / "claim-other.json")

    with pytest.raises(BadState, match="holds the claim"):
        claims.live(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["id", "owner", "devices", "pid"]), inner)
    ),
)


@given(JSON.map(lambda data: json.dumps(data).encode()) | st.binary())
def test_no_claim_file_makes_it_fail_in_another_way(text: bytes) -> None:
    with pytest.raises(BadState, match="is no claim file"):
        parse(text, where="f")
