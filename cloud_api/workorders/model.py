"""Work orders: their life cycle is a table one can read aloud."""

from enum import StrEnum
from typing import NewType

WorkOrderId = NewType("WorkOrderId", int)


class State(StrEnum):
    """Where an order stands."""

    REQUESTED = "requested"
    OPEN = "open"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class Action(StrEnum):
    """What can be done with an order; `confirm` and `reopen` are also done by the system itself."""

    APPROVE = "approve"
    REJECT = "reject"
    ASSIGN = "assign"
    START = "start"
    COMPLETE = "complete"
    CONFIRM = "confirm"
    REOPEN = "reopen"


TRANSITIONS: dict[tuple[State, Action], State] = {
    (State.REQUESTED, Action.APPROVE): State.OPEN,
    (State.REQUESTED, Action.ASSIGN): State.ASSIGNED,
    (State.REQUESTED, Action.REJECT): State.REJECTED,
    (State.OPEN, Action.ASSIGN): State.ASSIGNED,
    (State.OPEN, Action.REJECT): State.REJECTED,
    (State.ASSIGNED, Action.ASSIGN): State.ASSIGNED,
    (State.ASSIGNED, Action.START): State.IN_PROGRESS,
    (State.ASSIGNED, Action.REJECT): State.REJECTED,
    (State.IN_PROGRESS, Action.ASSIGN): State.ASSIGNED,
    (State.IN_PROGRESS, Action.COMPLETE): State.DONE,
    (State.DONE, Action.CONFIRM): State.CONFIRMED,
    (State.DONE, Action.REOPEN): State.OPEN,
}


def actions_of(state: State) -> list[Action]:
    """Return what can be done in a state, in order of the table."""
    return [action for (before, action) in TRANSITIONS if before is state]
