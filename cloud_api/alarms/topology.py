"""Which alarm explains which: derived from the model's own tree, no hand-written inhibition rules. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from cloud_api.alarms.states import State, Suppression
from cloud_api.faults.model import Verdict

Parents = Mapping[str, tuple[str, ...]]


class TopologyCycle(ValueError):
    """A subject is its own ancestor; the text names the ring."""


def ancestors(subject: str, parents: Parents) -> list[str]:
    """Return everything above `subject`, nearest first; raises TopologyCycle on a ring."""
    found: list[str] = []
    edge = list(parents.get(subject, ()))
    while edge:
        node = edge.pop(0)
        if node == subject:
            raise TopologyCycle(f"{subject} stands above itself: {' > '.join([*found, subject])}")
        if node not in found:
            found.append(node)
            edge.extend(parents.get(node, ()))
    return found


def is_explaining(cause: State, now: datetime, linger: timedelta) -> bool:
    """Whether a parent's condition explains its children now.

    It does while it is in fault, and for `linger` after it cleared: children need time to be heard again.
    """
    if cause.active or cause.verdict is Verdict.FAULT:
        return True
    return cause.cleared_at is not None and now - cause.cleared_at < linger


def is_explained(
    subject: str,
    child: State,
    causes: Mapping[str, Iterable[State]],
    parents: Parents,
    now: datetime,
    linger: timedelta,
) -> bool:
    """Decide whether `child` is suppressed by design now; `causes` are the causing conditions by subject."""
    return any(
        hides(cause, child, now, linger) for above in ancestors(subject, parents) for cause in causes.get(above, ())
    )


def hides(cause: State, child: State, now: datetime, linger: timedelta) -> bool:
    """Whether a causing condition suppresses `child` now; what had been announced before it stays open."""
    return is_explaining(cause, now, linger) and _may_hide(cause, child)


def _may_hide(cause: State, child: State) -> bool:
    # What had been announced, or was due to be, before the parent failed stays open.
    if child.suppression is Suppression.BY_DESIGN or not child.active:
        return True
    was_due = child.annunciate_at and cause.opened_at and child.annunciate_at <= cause.opened_at
    return not (child.is_annunciated or was_due)
