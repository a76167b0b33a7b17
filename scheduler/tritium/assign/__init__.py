"""Who gets which device? A pure function from a snapshot and a request to a placement or to reasons.

Read ``decide`` first: it is the algorithm; every step of it is a module of its own.
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
