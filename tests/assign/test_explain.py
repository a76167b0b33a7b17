"""What people read of a decision."""

from __future__ import annotations

from assign.clusters import cluster, host
from tritium.assign import Constraints, Index, Request, Share, assign, drain_for
from tritium.assign.explain import Question, answer, answer_all, explain
from tritium.assign.reasons import lacks
from tritium.assign.wire import from_json, to_json
from tritium_discovery.device import Uuid


def test_a_placement_is_told_rank_by_rank() -> None:
    snapshot = cluster(host("a", 2, numa=2, cpus={0: "0-7"}), host("b", 0, seats=0))
    request = Request(members=2, prefer=(Constraints(min_memory_mib=80_000, apart="host"),))

    assert explain(assign(snapshot, request)) == [
        "fits: 2 members",
        "  rank 0 (local 0) on a executor: a-0, CPUs 0-7",
        "  rank 1 (local 1) on a executor: a-1, CPUs 0-7",
        "  given up: min_memory_mib 80000, apart host",
    ]


def test_ranks_without_devices_are_told() -> None:
    assert explain(assign(cluster(host("a", 0)), Request(members=1, devices_each=0))) == [
        "fits: 1 member",
        "  rank 0 (local 0) on a executor: no device",
    ]


def test_waiting_is_told_with_holders_and_whom_to_ask() -> None:
    shares = tuple(
        Share(device=Uuid(f"a-{n}"), owner=f"model {1 - n}", mib=1, drain_s=2.5 + n) for n in range(2)
    )
    snapshot, request = cluster(host("a", 2, shares=shares)), Request(members=2, priority=1)

    assert explain(assign(snapshot, request), drain_for(snapshot, request)) == [
        "not now",
        "  waits for a-0 on a, held by model 1",
        "  waits for a-1 on a, held by model 0",
        "  a executor: a-0: held by model 1 (1 MiB)",
        "  a executor: a-1: held by model 0 (1 MiB)",
        "  2 members with 1 device each, room for 0 (a 0)",
        "fits within 3.5 s if asked to drain: model 0, model 1",
    ]


def test_long_lists_are_cut_and_counted() -> None:
    decision = assign(cluster(*(host(f"h{n}", 1) for n in range(5))), Request(members=6))

    assert explain(decision) == [
        "can never fit",
        "  6 members with 1 device each, room for 5 (h0 1, h1 1, h2 1 and 2 hosts more)",
    ]
    assert explain(assign(cluster(host("a", 3)), Request(members=3)), most=2)[1:] == [
        "  rank 0 (local 0) on a executor: a-0",
        "  rank 1 (local 1) on a executor: a-1",
        "  and 1 more",
    ]
    assert len(explain(assign(cluster(host("a", 2)), Request(members=2)), most=2)) == 3
    assert explain(assign(cluster(host("a", 21)), Request(members=21)))[-1] == "  and 1 more"


def test_an_answer_says_what_was_asked() -> None:
    request = Request(members=2, min_memory_mib=1_024, min_capability=(8, 0), mig_profile="1g.5gb")
    asked = "2 members with 1 device each (1024 MiB, compute capability 8.0, MIG profile 1g.5gb)"

    assert str(answer(Question(snapshot=cluster(host("a", 2)), request=request))).splitlines() == [
        asked,
        "can never fit",
        f"  {asked}, room for 0 (a 0)",
        "  a executor: a-0, a-1: not a MIG instance, MIG profile 1g.5gb needed",
    ]


def test_several_requests_are_answered_beside_each_other() -> None:
    question = Question(snapshot=cluster(host("a", 1)), request=Request(members=9), policy="spread")
    requests = {"low": Request(members=1), "high": Request(members=1, priority=1)}

    told = answer_all(question, requests)

    assert [(name, each.as_data()["answer"]) for name, each in told.items()] == [
        ("low", "not now"),
        ("high", "fits"),
    ]
    assert {name: each.question.request for name, each in told.items()} == requests
    assert {each.question.policy for each in told.values()} == {"spread"}


def test_what_speaks_against_each_device_is_told_by_device() -> None:
    index = Index.of(cluster(host("a", 3, held={"a-1": "gang 1"}), host("b", 1, memory_mib=1_000)))

    assert lacks(index, Request(members=1, min_memory_mib=2_000)) == {
        "a-1": "held by gang 1",
        "b-0": "1000 MiB, 2000 needed",
    }


def test_an_answer_is_data_too_and_says_who_could_give_way() -> None:
    share = Share(device=Uuid("a-0"), owner="model 1", mib=1, drain_s=2.5)
    busy = Question(snapshot=cluster(host("a", 1, shares=(share,))), request=Request(members=1, priority=1))
    free = Question(snapshot=cluster(host("a", 1)), request=Request(members=1), policy="spread")

    now, later = answer(free).as_data(), answer(busy).as_data()

    assert (now["answer"], now["policy"], now["drain"]) == ("fits", "spread", None)
    assert now["placement"]["members"][0]["devices"] == ["a-0"]
    assert (later["answer"], later["asked"]) == ("not now", "1 member with 1 device")
    assert later["waits_for"] == [{"host": "a", "device": "a-0", "holder": "model 1"}]
    assert [reason["rule"] for reason in later["reasons"]] == ["held", "count"]
    assert later["drain"]["within_s"] == 2.5
    assert "fits within 2.5 s if asked to drain: model 1" in str(answer(busy))


def test_a_saved_question_has_the_same_answer() -> None:
    question = Question(
        snapshot=cluster(host("a", 2, held={"a-0": "gang 1"})), request=Request(members=2), policy="spread"
    )

    assert answer(from_json(Question, to_json(question))) == answer(question)
