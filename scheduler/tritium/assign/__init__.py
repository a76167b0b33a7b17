"""Who gets which device? A pure function from a snapshot and a request to a placement or to reasons.

Read ``decide`` first: it is the algorithm; every step of it is a module of its own.

- what is asked and answered: ``types``; as JSON: ``wire``; told to people: ``explain``
- which devices will do for a request, and what it prefers: ``rules``
- how much room each host has: ``rooms``; for replicas that share devices: ``shares``
- which hosts, and how many members on each: ``policies``, over the hosts of one make at once: ``index``
- what a link is worth, and which devices a fast net joins: ``links``
- which devices of a host: ``subset`` (the best set), ``layout`` (in whole members, pools and nets)
- which rank is whose neighbour: ``ring`` inside a host, ``seating`` over the hosts; all of it: ``place``
- why not: ``reasons``; not now, and who should give way: ``waits``
- several requests, by priority: ``queue``, each on what the one before left: ``take``
- what is whose over time: ``ledger``
"""

from tritium.assign.decide import assign
from tritium.assign.index import Index
from tritium.assign.policies import POLICIES, Policy
from tritium.assign.types import (
    Assigned,
    BadRequest,
    Constraints,
    Decision,
    Drain,
    Host,
    Member,
    Placement,
    Pool,
    Reason,
    Request,
    Share,
    Snapshot,
    Unassignable,
    Wait,
    Waiting,
)
from tritium.assign.waits import drain_for

__all__ = [
    "POLICIES",
    "Assigned",
    "BadRequest",
    "Constraints",
    "Decision",
    "Drain",
    "Host",
    "Index",
    "Member",
    "Placement",
    "Policy",
    "Pool",
    "Reason",
    "Request",
    "Share",
    "Snapshot",
    "Unassignable",
    "Wait",
    "Waiting",
    "assign",
    "drain_for",
]
