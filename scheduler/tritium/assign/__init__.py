"""Who gets which device? A pure function from a snapshot and a request to a placement or to reasons.

Read ``decide`` first: it is the algorithm; every step of it is a module of its own.

- what is asked and answered: ``types``; as JSON: ``wire``; told to people: ``explain``
- which devices will do for a request, and what it prefers: ``rules``; no MIG in a gang: ``lack`` there
- hosts of one make are looked at once: ``index``; which pool gets a device that several list: ``deal``
- how much room each host has, and how tightly it joins a request: ``rooms``; groups apart: ``keep_apart``
- replicas that share devices, by memory promised: ``shares``
- which hosts, and how many members on each, tightest rack first: ``policies``
- what a link is worth, and which devices a switch or NVLinks join: ``links``
- which devices of a host: ``subset`` (the exact best set), ``layout`` (in whole members, pools and nets)
- which rank is whose neighbour: ``ring`` inside a host, ``seating`` over the hosts; CPUs: ``cpus_near``
- all of it: ``place``; the wishes given up, the last first: ``decide``
- why not, what came closest first: ``reasons``
- never or not now, and who is waited for: ``waits.waits_for``; who is asked to give way: ``waits.drain_for``
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
