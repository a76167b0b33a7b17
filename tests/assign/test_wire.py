"""Snapshots, requests and decisions as JSON."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assign.clusters import LAW, cluster, host, snapshots
from tritium.assign import (
    Assigned,
    BadRequest,
    Constraints,
    Host,
    Placement,
    Pool,
    Request,
    Share,
    Snapshot,
    Waiting,
    assign,
)
from tritium.assign.explain import Question
from tritium.assign.wire import Malformed, from_json, to_json
from tritium_discovery.device import Device, Link, Uuid


@LAW
@given(snapshot=snapshots())
def test_a_snapshot_comes_back_as_it_went(snapshot: Snapshot) -> None:
    assert from_json(Snapshot, json.loads(json.dumps(to_json(snapshot)))) == snapshot


def test_requests_shares_and_decisions_come_back_as_they_went() -> None:
    request = Request(members=2, min_capability=(8, 0), prefer=(Constraints(apart="rack", product="A100"),))
    share = Share(device=Uuid("a-1"), owner="m", mib=5, drain_s=2)
    decision = assign(cluster(host("a", 2, shares=(share,))), request)
    fits = assign(cluster(host("a", 2)), request)

    assert isinstance(decision, Waiting)
    assert isinstance(fits, Assigned)
    for kind, value in ((Request, request), (Share, share), (Waiting, decision), (Assigned, fits)):
        assert from_json(kind, json.loads(json.dumps(to_json(value)))) == value


def test_links_are_written_by_name() -> None:
    data = to_json(cluster(host("a", 2, lanes={(0, 1): 4})))

    assert data["hosts"][0]["links"] == [[["a-0", "a-1"], {"kind": "NVLINK", "lanes": 4}]]


def _device(**changes: Any) -> dict[str, Any]:
    device: dict[str, Any] = to_json(cluster(host("a", 1)))["hosts"][0]["pools"][0]["devices"][0]
    return {**device, **changes}


def _document(**changes: Any) -> dict[str, Any]:
    return {"hosts": [{"id": "a", "pools": [{"name": "p", "devices": [_device(**changes)]}]}]}


@pytest.mark.parametrize(
    ("kind", "document", "problem"),
    [
        (Snapshot, [], "$: expected dict, got []"),
        (Snapshot, {}, "$: hosts is missing"),
        (Snapshot, {"hosts": {}}, "$.hosts: expected list, got {}"),
        (Snapshot, {"hosts": [], "racks": 1, "sites": 2}, "$: unknown field racks"),
        (Snapshot, {"hosts": [{"id": 7, "pools": []}]}, "$.hosts[0].id: expected str, got 7"),
        (
            Snapshot,
            _document(memory_mib="big"),
            "$.hosts[0].pools[0].devices[0].memory_mib: expected int, got 'big'",
        ),
        (
            Snapshot,
            _document(memory_mib=True),
            "$.hosts[0].pools[0].devices[0].memory_mib: expected int, got True",
        ),
        (
            Snapshot,
            _document(capability=[8]),
            "$.hosts[0].pools[0].devices[0].capability: expected 2 entries, got 1",
        ),
        (
            Snapshot,
            {"hosts": [{"id": "a", "pools": [], "links": [[["x", "y"], {"kind": "WIFI"}]]}]},
            "$.hosts[0].links[['x', 'y']].kind: expected one of SYS, NODE, PHB, PXB, PIX, SAME, NVLINK",
        ),
        (
            Snapshot,
            {"hosts": [{"id": "a", "pools": [], "links": [[["x", "y"]]]}]},
            "$.hosts[0].links: expected 2 entries, got 1",
        ),
        (
            Snapshot,
            {"hosts": [{"id": "a", "pools": [{"name": "", "devices": [], "held": {"x": 1}}]}]},
            "$.hosts[0].pools[0].held.x: expected str, got 1",
        ),
        (
            Request,
            {"members": 1, "near": "here"},
            "$.near: expected one of 'host', 'switch', 'nvlink', got 'here'",
        ),
        (Request, {"members": 1, "drain_s": "soon"}, "$.drain_s: expected float, got 'soon'"),
    ],
)
def test_a_document_of_another_form_is_refused_with_the_place(
    kind: type[Any], document: Any, problem: str
) -> None:
    with pytest.raises(Malformed) as refusal:
        from_json(kind, document)

    assert str(refusal.value).startswith(problem)
    assert problem.startswith(refusal.value.path)


WORDS = st.sampled_from([*get_type_hints(Question), *get_type_hints(Host), *get_type_hints(Pool), "NVLINK"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
)


@given(kind=st.sampled_from([Question, Snapshot, Request, Host, Pool, Device, Link]), document=ANYTHING)
def test_whatever_a_document_holds_it_is_read_or_refused(kind: type[Any], document: Any) -> None:
    with contextlib.suppress(Malformed, BadRequest):
        from_json(kind, document)


@pytest.mark.parametrize("odd", [["NVLINK"], {}, 1, True])
def test_a_kind_of_link_that_is_no_name_is_refused(odd: Any) -> None:
    with pytest.raises(Malformed, match=r"^\$\.kind: expected one of"):
        from_json(Link, {"kind": odd})


def test_a_request_that_contradicts_itself_is_refused_from_json_too() -> None:
    with pytest.raises(BadRequest):
        from_json(Request, {"members": 0})


def test_what_a_document_leaves_out_has_its_default() -> None:
    assert from_json(Request, {"members": 3, "drain_s": 5}) == Request(members=3, drain_s=5)


def test_members_are_pickled_as_a_plain_tuple_and_equal_to_it() -> None:
    decision = assign(cluster(host("b", 2), host("a", 2)), Request(members=4))
    assert isinstance(decision, Assigned)
    members = decision.placement.members

    copy = pickle.loads(pickle.dumps(decision))  # noqa: S301  # our own bytes

    assert type(copy.placement.members) is tuple
    assert copy == decision
    assert copy.placement.members == tuple(members)
    assert Placement(members=tuple(members)) == decision.placement
    assert hash(copy.placement) == hash(decision.placement)
    assert repr(members) == repr(tuple(members))
    assert members != list(members)


def test_members_can_be_looked_at_one_by_one() -> None:
    decision = assign(cluster(host("b", 2), host("a", 2), host("c", 1)), Request(members=5))
    assert isinstance(decision, Assigned)
    members = decision.placement.members

    assert len(members) == 5
    assert [members[rank] for rank in range(5)] == list(members)
    assert members[-1] == members[4]
    assert members[1:3] == tuple(members)[1:3]
    assert [m.rank for m in members] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        members[5]
