"""Events in, state out: no device is promised twice, none is free before its processes are gone."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from assign.clusters import cluster, device, host, pool
from tritium.assign import POLICIES, Assigned, Index, Member, Placement, Request, assign
from tritium.assign.ledger import Asked, Contradiction, Gone, Granted, Ledger, after
from tritium.assign.queue import assign_all
from tritium.assign.shares import left_of
from tritium.assign.take import Overcommitted, give_back, take
from tritium_discovery.device import HostId, Uuid

MODEL = Request(members=1, kind="replicas", share_mib=20_000, drain_s=5.0)


def granted(ledger: Ledger, owner: str, request: Request) -> Ledger:
    decision = assign(ledger.index, request)
    assert isinstance(decision, Assigned), decision
    return after(ledger, Granted(owner=owner, request=request, placement=decision.placement))


def new() -> Ledger:
    return Ledger(index=Index.of(cluster(host("a", 2))))


def test_what_was_granted_is_held_by_its_owner() -> None:
    ledger = granted(new(), "gang 1", Request(members=1))

    [only] = ledger.index.snapshot.hosts[0].pools
    assert only.held == {"a-0": "gang 1"}


def test_a_device_is_free_when_all_processes_of_its_owner_are_gone_and_not_before() -> None:
    ledger = granted(new(), "gang 1", Request(members=2))

    half = after(ledger, Gone(owner="gang 1", rank=0))
    done = after(half, Gone(owner="gang 1", rank=1))

    assert not isinstance(assign(half.index, Request(members=1)), Assigned)
    assert done == new()


def test_who_gives_way_when_asked_goes_on_when_there_is_room() -> None:
    ledger = granted(new(), "model", MODEL)
    ledger = after(ledger, Asked(owner="model"))
    ledger = after(ledger, Gone(owner="model", rank=0))
    ledger = granted(ledger, "gang 1", Request(members=2))
    assert ledger.drained == {"model": MODEL}
    assert not isinstance(assign_all(ledger.index, ledger.drained)["model"], Assigned)

    for rank in (0, 1):
        ledger = after(ledger, Gone(owner="gang 1", rank=rank))
    decision = assign_all(ledger.index, ledger.drained)["model"]

    assert isinstance(decision, Assigned)
    ledger = after(ledger, Granted(owner="model", request=MODEL, placement=decision.placement))
    assert ledger.drained == {}


def test_who_ends_unasked_does_not_come_back() -> None:
    ledger = after(granted(new(), "model", MODEL), Gone(owner="model", rank=0))

    assert ledger == new()


def test_drained_owners_are_told_apart() -> None:
    ledger = new()
    for owner in ("m1", "m2"):
        ledger = after(granted(ledger, owner, MODEL), Asked(owner=owner))
    for owner in ("m1", "m2"):
        ledger = after(ledger, Gone(owner=owner, rank=0))

    ledger = granted(ledger, "m1", MODEL)

    assert ledger.drained == {"m2": MODEL}


def test_events_that_contradict_the_ledger_are_refused() -> None:
    ledger = granted(new(), "gang 1", Request(members=1))
    half = granted(new(), "gang 1", Request(members=2))
    placement = ledger.grants["gang 1"].placement

    with pytest.raises(Contradiction, match="gang 1 was given devices already"):
        after(ledger, Granted(owner="gang 1", request=Request(members=1), placement=placement))
    with pytest.raises(Contradiction, match="gang 1 never gives way"):
        after(ledger, Asked(owner="gang 1"))
    with pytest.raises(Contradiction, match="gang 2 has nothing"):
        after(ledger, Asked(owner="gang 2"))
    with pytest.raises(Contradiction, match="gang 2 has nothing"):
        after(ledger, Gone(owner="gang 2", rank=0))
    with pytest.raises(Contradiction, match="rank 0 of gang 1 is gone already"):
        after(after(half, Gone(owner="gang 1", rank=0)), Gone(owner="gang 1", rank=0))


def member(*devices: str, pool_: str = "executor") -> Member:
    return Member(
        rank=0, local_rank=0, group_rank=0, host=HostId("a"), pool=pool_, devices=tuple(map(Uuid, devices))
    )


def test_what_is_not_free_is_never_taken() -> None:
    index = Index.of(cluster(host("a", 2)))
    whole, shared = Request(members=1), MODEL
    held = take(index, "one", whole, [member("a-0")])
    in_use = take(index, "one", shared, [member("a-0")])

    for before, request, wanted in (
        (held, whole, member("a-0")),
        (held, shared, member("a-0")),
        (in_use, whole, member("a-0")),
        (index, whole, member("nowhere")),
        (index, whole, member("a-0", pool_="another")),
        (index, whole, member("a-0", "a-0")),
        (take(in_use, "two", shared, [member("a-0")]), shared, member("a-0")),
    ):
        with pytest.raises(Overcommitted) as refusal:
            take(before, "two", request, [wanted])
        assert refusal.value.owner == "two"
        assert str(refusal.value) == f"{refusal.value.device} is not free for two"


def test_a_device_that_one_executor_holds_is_taken_by_no_other() -> None:
    shared = [device("x")]
    index = Index.of(cluster(host("a", pools=[pool("1", shared), pool("2", shared)])))
    held = take(index, "one", Request(members=1), [member("x", pool_="1")])

    with pytest.raises(Overcommitted):
        take(held, "two", Request(members=1), [member("x", pool_="2")])


def test_a_share_may_take_all_that_is_left() -> None:
    index = take(Index.of(cluster(host("a", 1))), "one", MODEL, [member("a-0")])
    rest = Request(members=1, kind="replicas", share_mib=20_960)

    index = take(index, "two", rest, [member("a-0")])

    [only] = index.snapshot.hosts[0].pools
    assert left_of(only.devices[0], only.shares) == 0


def test_replicas_that_can_drain_share_their_whole_device_with_nobody() -> None:
    request = Request(members=1, kind="replicas", drain_s=5.0, priority=3)

    index = take(Index.of(cluster(host("a", 1))), "model", request, [member("a-0")])

    [only] = index.snapshot.hosts[0].pools
    [share] = only.shares
    assert (share.owner, share.mib, share.priority, share.drain_s) == ("model", 40_960, 3, 5.0)
    assert not only.held


def test_giving_back_touches_nobody_else() -> None:
    one = [device("x", number=0), device("y", number=1)]
    before = Index.of(cluster(host("a", pools=[pool("1", one[:1]), pool("2", one[1:])]), host("b", 1)))
    index = take(before, "one", MODEL, [member("x", pool_="1")])
    both = take(index, "two", Request(members=1), [member("y", pool_="2")])

    assert give_back(both, "two") == index
    assert give_back(index, "one") == before
    assert give_back(before, "nobody") == before


class LedgerMachine(RuleBasedStateMachine):
    """Grants, drains and deaths in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = Index.of(cluster(host("a", 4), host("b", 2, lanes={(0, 1): 2}), host("c", 1)))
        self.ledger = Ledger(index=self.empty)
        self.count = 0

    @rule(
        members=st.integers(1, 4),
        gib=st.sampled_from([0, 0, 8, 20]),
        drain_s=st.sampled_from([None, 5.0]),
        policy=st.sampled_from(sorted(POLICIES)),
    )
    def grant(self, members: int, gib: int, drain_s: float | None, policy: str) -> None:
        request = Request(members=members, kind="replicas", share_mib=gib * 1024, drain_s=drain_s)
        decision = assign(self.ledger.index, request, policy)
        if isinstance(decision, Assigned):
            self.count += 1
            event = Granted(owner=f"owner {self.count}", request=request, placement=decision.placement)
            self.ledger = after(self.ledger, event)
            assert assign(give_back(self.ledger.index, event.owner), request, policy) == decision

    @precondition(lambda self: self.ledger.grants)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.ledger.grants)))
        if self.ledger.grants[owner].request.drain_s is not None:
            self.ledger = after(self.ledger, Asked(owner=owner))

    @precondition(lambda self: self.ledger.grants)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.ledger.grants)))
        rank = data.draw(st.sampled_from(sorted(self.ledger.grants[owner].running)))
        self.ledger = after(self.ledger, Gone(owner=owner, rank=rank))

    @precondition(lambda self: self.ledger.drained)
    @rule()
    def resume(self) -> None:
        for owner, decision in assign_all(self.ledger.index, self.ledger.drained).items():
            if isinstance(decision, Assigned):
                request = self.ledger.drained[owner]
                self.ledger = after(
                    self.ledger, Granted(owner=owner, request=request, placement=decision.placement)
                )

    @invariant()
    def no_device_is_over_committed(self) -> None:
        for one in self.ledger.index.snapshot.hosts:
            for mine in one.pools:
                for device_ in mine.devices:
                    shares = [share for share in mine.shares if share.device == device_.uuid]
                    assert sum(share.mib for share in shares) <= device_.memory_mib
                    assert not (shares and device_.uuid in mine.held)

    @invariant()
    def what_runs_is_held_and_nothing_else_is(self) -> None:
        running = {
            (uuid, owner)
            for owner, grant in self.ledger.grants.items()
            for member_ in grant.placement.members
            for uuid in member_.devices
        }
        taken = {
            (uuid, owner)
            for one in self.ledger.index.snapshot.hosts
            for mine in one.pools
            for uuid, owner in (*mine.held.items(), *((s.device, s.owner) for s in mine.shares))
        }
        assert running == taken
        assert all(grant.running for grant in self.ledger.grants.values())
        assert not self.ledger.grants.keys() & self.ledger.drained.keys()
        if not running:
            assert self.ledger.index == self.empty


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_a_placement_stays_as_it_was_granted() -> None:
    ledger = granted(new(), "gang 1", Request(members=1))

    assert ledger.grants["gang 1"].placement == Placement(members=(member("a-0"),))
