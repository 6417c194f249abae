"""The alarm state machine of ISA-18.2 / OPC UA Part 9, without I/O: independent columns and event-time timers.

A verdict holds from its instant until the next one. Timers end at exact event times, so the same verdicts give the same
transitions however often the machine is asked and however late it is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cloud_api.faults.model import Verdict
from cloud_api.kit.errors import DomainError


class Suppression(StrEnum):
    """Why an alarm is kept from annunciating while its evaluation goes on."""

    NONE = "none"
    SHELVED = "shelved"
    BY_DESIGN = "by_design"
    OUT_OF_SERVICE = "out_of_service"


class Kind(StrEnum):
    """What can happen to an alarm; every one is a line of the journal."""

    OPENED = "opened"
    REOPENED = "reopened"
    ANNUNCIATED = "annunciated"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    REALARMED = "realarmed"
    RESET = "reset"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    SUPPRESSED = "suppressed"
    RELEASED = "released"
    OUT_OF_SERVICE = "out_of_service"
    RETURNED = "returned"
    CORRECTED = "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one rule alarms. Delays run in event time.

    `hold_back`: how long the annunciation waits for a parent's alarm (topology suppression).
    `reopen_within`: a fault that returns so soon continues the same occurrence and is not announced again.
    `acknowledged_by_return`: returning to normal needs no separate acknowledgement.
    """

    on_delay: timedelta = timedelta(0)
    off_delay: timedelta = timedelta(0)
    hold_back: timedelta = timedelta(0)
    reopen_within: timedelta = timedelta(0)
    realarm_after: timedelta | None = None
    is_latching: bool = False
    acknowledged_by_return: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is known of one condition; this is what the database keeps."""

    verdict: Verdict = Verdict.NO_EVAL
    fault_since: datetime | None = None
    ok_since: datetime | None = None
    active: bool = False
    acknowledged: bool = True
    latched: bool = False
    suppression: Suppression = Suppression.NONE
    suppressed_until: datetime | None = None
    occurrence: int = 0
    opened_at: datetime | None = None
    cleared_at: datetime | None = None
    annunciate_at: datetime | None = None
    is_annunciated: bool = False
    acknowledged_at: datetime | None = None

    @property
    def isa_state(self) -> str:
        """The letter of ISA-18.2's state diagram, A (normal) to I (out of service)."""
        match self.suppression:
            case Suppression.SHELVED:
                return "G"
            case Suppression.BY_DESIGN:
                return "H"
            case Suppression.OUT_OF_SERVICE:
                return "I"
            case Suppression.NONE:
                pass
        if self.active:
            return "C" if self.acknowledged else "B"
        if self.latched:
            return "F" if self.acknowledged else "E"
        return "A" if self.acknowledged else "D"

    @property
    def is_open(self) -> bool:
        """Whether someone still has to look at it: active, latched, or returned without acknowledgement."""
        return self.active or self.latched or not self.acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One line for the journal: what happened, at which event time, in which occurrence."""

    kind: Kind
    at: datetime
    occurrence: int


class NotAllowed(DomainError):
    """The alarm's state does not allow the action."""

    code = "alarm_action_refused"


Step = tuple[State, tuple[Transition, ...]]


def observe(state: State, policy: Policy, verdict: Verdict, at: datetime) -> Step:
    """Take a verdict that holds from `at` on; timers that ended before `at` fire first, at their own instants."""
    state, done = advance(state, policy, at)
    if verdict is state.verdict:
        return state, done
    fault_since = at if verdict is Verdict.FAULT else None
    ok_since = at if verdict is Verdict.OK else None
    state = replace(state, verdict=verdict, fault_since=fault_since, ok_since=ok_since)
    state, more = advance(state, policy, at)
    return state, done + more


def advance(state: State, policy: Policy, now: datetime, known_until: datetime | None = None) -> Step:
    """Let event time pass to `now`: fire every timer that has ended, in order of their instants.

    `known_until` is how far the data behind the verdict are complete, where that is less: a delay that ends later may
    still be broken by what has yet to arrive.
    """
    done: tuple[Transition, ...] = ()
    while True:
        due = _next_timer(state, policy, now if known_until is None else known_until)
        if due is None or due[0] > now:
            return state, done
        at, fire = due
        state, more = fire(state, policy, at)
        done += more


def next_timer_at(state: State, policy: Policy) -> datetime | None:
    """Return when the next timer ends, or None when none runs."""
    due = _next_timer(state, policy, None)
    return due[0] if due else None


def acknowledge(state: State, at: datetime) -> Step:
    """Note that a person has seen it, which also ends a hold-back; refused when there is nothing to acknowledge."""
    if state.acknowledged:
        raise NotAllowed("the alarm is not waiting for an acknowledgement")
    seen = replace(state, acknowledged=True, acknowledged_at=at, annunciate_at=None, is_annunciated=True)
    return seen, _one(Kind.ACKNOWLEDGED, at, state)


def reset(state: State, at: datetime) -> Step:
    """Release a latch after the cause has gone; refused while the condition holds or before the acknowledgement."""
    if state.active or not state.latched:
        raise NotAllowed("only a latched alarm whose condition has gone can be reset")
    if not state.acknowledged:
        raise NotAllowed("acknowledge the alarm before resetting it")
    return replace(state, latched=False), _one(Kind.RESET, at, state)


def shelve(state: State, at: datetime, until: datetime) -> Step:
    """Put the alarm aside until `until`; evaluation goes on. A shelf always ends."""
    if until <= at:
        raise NotAllowed("a shelf must end after it starts")
    if state.suppression is Suppression.OUT_OF_SERVICE:
        raise NotAllowed("the alarm is out of service; return it to service first")
    return replace(state, suppression=Suppression.SHELVED, suppressed_until=until), _one(Kind.SHELVED, at, state)


def take_out_of_service(state: State, at: datetime, until: datetime | None = None) -> Step:
    """Maintenance: no annunciation until the equipment is returned to service (or `until`, when given)."""
    changed = replace(state, suppression=Suppression.OUT_OF_SERVICE, suppressed_until=until)
    return changed, _one(Kind.OUT_OF_SERVICE, at, state)


def suppress_by_design(state: State, at: datetime) -> Step:
    """Hide an alarm that a parent's alarm explains. A person's shelf or maintenance stays as it is."""
    if state.suppression is not Suppression.NONE:
        return state, ()
    changed = replace(state, suppression=Suppression.BY_DESIGN, suppressed_until=None)
    return changed, _one(Kind.SUPPRESSED, at, state)


def unsuppress(state: State, at: datetime, *, only: Suppression | None = None) -> Step:
    """Leave a suppression; with the condition still true the alarm sounds again."""
    if state.suppression is Suppression.NONE or (only and state.suppression is not only):
        return state, ()
    kind = {
        Suppression.SHELVED: Kind.UNSHELVED,
        Suppression.BY_DESIGN: Kind.RELEASED,
        Suppression.OUT_OF_SERVICE: Kind.RETURNED,
    }[state.suppression]
    was = state.suppression
    left = _one(kind, at, state)
    state = replace(state, suppression=Suppression.NONE, suppressed_until=None)
    if not state.active:
        return state, left
    if was is Suppression.BY_DESIGN and not state.is_annunciated:
        # It never sounded: it opens to the outside now, not a second time.
        state = replace(state, annunciate_at=at)
        return state, left
    state = replace(state, acknowledged=False, is_annunciated=True, annunciate_at=None)
    return state, left + _one(Kind.REALARMED, at, state)


_Timer = tuple[datetime, Callable[[State, Policy, datetime], Step]]


def _next_timer(state: State, policy: Policy, known_until: datetime | None) -> _Timer | None:
    timers: list[_Timer] = []
    if state.fault_since and not state.active:
        timers.append((state.fault_since + policy.on_delay, _open))
    if state.ok_since and state.active:
        timers.append((state.ok_since + policy.off_delay, _clear))
    if known_until is not None:
        timers = [timer for timer in timers if timer[0] <= known_until]
    if state.suppressed_until and state.suppression is not Suppression.NONE:
        timers.append((state.suppressed_until, _expire))
    if state.annunciate_at and state.suppression is Suppression.NONE:
        timers.append((state.annunciate_at, _annunciate))
    if policy.realarm_after and state.active and state.acknowledged and state.acknowledged_at:
        timers.append((state.acknowledged_at + policy.realarm_after, _realarm))
    return min(timers, key=lambda timer: timer[0], default=None)


def _open(state: State, policy: Policy, at: datetime) -> Step:
    continues = state.cleared_at is not None and state.occurrence > 0 and at - state.cleared_at < policy.reopen_within
    if continues:
        waits = None if state.is_annunciated else at + policy.hold_back
        # What nobody but its own return had acknowledged waits for someone again.
        acknowledged = state.acknowledged and state.acknowledged_at is not None
        state = replace(
            state,
            active=True,
            cleared_at=None,
            latched=policy.is_latching,
            annunciate_at=waits,
            acknowledged=acknowledged,
        )
        return state, _one(Kind.REOPENED, at, state)
    state = replace(
        state,
        active=True,
        acknowledged=False,
        acknowledged_at=None,
        latched=policy.is_latching,
        occurrence=state.occurrence + 1,
        opened_at=at,
        cleared_at=None,
        annunciate_at=at + policy.hold_back,
        is_annunciated=False,
    )
    return state, _one(Kind.OPENED, at, state)


def _clear(state: State, policy: Policy, at: datetime) -> Step:
    # What nobody was told of needs no acknowledgement; neither does a rule that says so.
    by_return = policy.acknowledged_by_return or not state.is_annunciated
    acknowledged = state.acknowledged or (by_return and not state.latched)
    state = replace(state, active=False, cleared_at=at, annunciate_at=None, acknowledged=acknowledged)
    return state, _one(Kind.CLEARED, at, state)


def _annunciate(state: State, _policy: Policy, at: datetime) -> Step:
    state = replace(state, annunciate_at=None, is_annunciated=True)
    return state, _one(Kind.ANNUNCIATED, at, state)


def _expire(state: State, _policy: Policy, at: datetime) -> Step:
    return unsuppress(state, at)


def _realarm(state: State, _policy: Policy, at: datetime) -> Step:
    state = replace(state, acknowledged=False, acknowledged_at=None)
    return state, _one(Kind.REALARMED, at, state)


def _one(kind: Kind, at: datetime, state: State) -> tuple[Transition, ...]:
    return (Transition(kind=kind, at=at, occurrence=state.occurrence),)
