"""Documents that are right but for one place: each parser takes them or refuses them, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import NAMES
from tritium_discovery import BadMachine, BadState, DiscoveryError, Settings, Uuid
from tritium_discovery.claims import Claim, ClaimedDevice, live
from tritium_discovery.claims import parse as parse_claim
from tritium_discovery.emulate import observe
from tritium_discovery.inventory import seen
from tritium_discovery.look import published, understand
from tritium_discovery.machine import load
from tritium_discovery.machine import parse as parse_machine
from tritium_discovery.observation import Key, Memory
from tritium_discovery.process import ProcessId
from tritium_discovery.quarantine import Record
from tritium_discovery.quarantine import parse as parse_quarantine
from tritium_discovery.sysfs import bus_id
from tritium_discovery.visible import Candidate, visible
from tritium_discovery.wiring import parse as parse_wiring
from tritium_discovery.wiring import save

SHIPPED = Path(load.__code__.co_filename).parent / "machines"
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "-1", "0", "NaN", "GPU-", "MIG-", "00000000:07:00.0", "a/b", 1 << 70, -1, 1e400]),
)
ANYTHING = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    yield path
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


@st.composite
def almost(draw: st.DrawFn, document: Any) -> Any:
    """The document with one value lost, or another in its place."""
    fresh = json.loads(json.dumps(document))
    *way, last = draw(st.sampled_from([path for path in places(fresh) if path]))
    inside = fresh
    for key in way:
        inside = inside[key]
    if draw(st.booleans()):
        inside[last] = draw(ANYTHING)
    else:
        del inside[last]
    return fresh


CLAIM = Claim(
    id="9f2c51d0",
    owner=ProcessId(pid=1, start_ticks=2, boot_id="b", pid_ns=3),
    devices=(ClaimedDevice(address=0, uuid=Uuid("GPU-1"), pci_bus_id="00000000:07:00.0"),),
    since=1.5,
    generation="g",
    machine=None,
)
CLAIM_DOCUMENT = {
    **CLAIM._asdict(),
    "owner": CLAIM.owner._asdict(),
    "devices": [device._asdict() for device in CLAIM.devices],
}


def test_the_claim_that_is_changed_below_is_right() -> None:
    assert parse_claim(json.dumps(CLAIM_DOCUMENT).encode(), where="f") == CLAIM


@settings(deadline=None)  # loaded machines are slow
@given(document=almost(CLAIM_DOCUMENT))
def test_a_claim_file_is_a_claim_or_refused(document: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = json.dumps(document).encode()
    directory = tmp_path_factory.getbasetemp() / "claims"
    directory.mkdir(exist_ok=True)
    (directory / "claim-9f2c51d0.json").write_bytes(text)
    try:
        assert isinstance(parse_claim(text, where="f"), Claim)
        live(directory)
    except BadState as err:
        assert "remove it" in str(err)  # noqa: PT017 - either outcome is right, and nothing else is


@settings(deadline=None)  # loaded machines are slow
@given(document=almost({"boot_id": "b", "records": {"GPU-1": Record("hot", 1, None)._asdict()}}))
def test_a_quarantine_file_is_records_or_refused(document: Any) -> None:
    try:
        found = parse_quarantine(json.dumps(document).encode(), boot_id="b", where="f")
    except BadState as err:
        assert str(err).startswith("f is no quarantine file")  # noqa: PT017 - as above
    else:
        assert all(isinstance(record, Record) for record in found.values())


def wiring(directory: Path) -> Any:
    topology = observe(load("dgx-a100"), topology=True).topology
    assert topology is not None
    save(directory, Key(boot_id="b", driver="550", buses=("1", "2")), topology)
    return json.loads(next(directory.glob("wiring-*")).read_bytes())


@settings(deadline=None)  # loaded machines are slow
@given(data=st.data())
def test_a_remembered_wiring_is_one_or_none(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = data.draw(almost(wiring(tmp_path_factory.getbasetemp())))

    found = parse_wiring(json.dumps(document).encode())

    assert found is None or isinstance(found[0], Key)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_machine_file_is_a_machine_that_can_be_discovered_or_refused(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = data.draw(almost(yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))))
    state = tmp_path_factory.getbasetemp()
    try:
        machine = parse_machine(document, name=name)
    except BadMachine as err:
        assert str(err)  # noqa: PT017 - as above
        return
    try:
        found = understand(observe(machine, topology=True), Settings(), state)
    except DiscoveryError:
        return  # a driver that does not start, say

    inventory = published(found)
    assert len({device.uuid for device in inventory.devices}) == len(inventory.devices)
    assert len(inventory.links) == len(inventory.devices) * (len(inventory.devices) - 1) // 2


WORDS = st.text("GPUMIG-0123456789abcdef,/+ \t", max_size=60) | st.text()
MIG = seen(observe(load("mig-1g"), topology=False), Settings(), host=Memory(1, 1))


@given(WORDS)
def test_what_is_visible_is_on_the_host_and_no_device_twice(text: str) -> None:
    host = [Candidate(uuid=device.uuid, legacy=f"MIG-GPU-1/{device.address}/0") for device in MIG]

    found = visible(text, host)

    assert len(set(found)) == len(found)
    assert set(found) <= {device.uuid for device in MIG}


@given(st.text("0123456789abcdefABCDEF:.xX ", max_size=20))
def test_a_pci_address_has_one_spelling_whatever_it_is(text: str) -> None:
    assert bus_id(bus_id(text)) == bus_id(text)
    assert bus_id(text.upper()) == bus_id(bus_id(text).upper())
