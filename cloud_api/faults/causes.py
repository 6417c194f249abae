"""Which fault explains which: one alarm per cause, by the links the rules themselves carry. Pure.

A fault is explained by another of the same equipment (a stuck damper explains the mixed air), by the trigger of its
cluster, or by a failure of what supplies the equipment (a chiller that does not start explains warm supply air). An
explained fault attaches to its cause and is not announced; so that a cause that needs longer to be certain can still
take it over, its announcement waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from cloud_api.faults.catalogue import catalogue, explainers
from cloud_api.faults.findings import Finding

HOLD_BACK = timedelta(minutes=2)
HOLD_BACK_MAX = timedelta(hours=1)
_CERTAIN_AFTER = timedelta(minutes=5)
# A cause goes on explaining for this long after it ended: its consequences fade slowly.
LINGER = timedelta(minutes=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A finding with the finding that explains it (unit and rule); None for a cause of its own."""

    unit: str
    finding: Finding
    cause: tuple[str, str] | None


@cache
def explained_by(rule_id: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return what explains a shipped rule: on the same equipment, and on what supplies it."""
    rules = catalogue().rules
    if rule_id not in rules:
        return frozenset(), frozenset()
    rule = rules[rule_id]
    return explainers(rule, rules), frozenset(rule.spec.explained_by_supply)


@cache
def hold_back(rule_id: str) -> timedelta:
    """Return how long an announcement waits for a cause that takes longer to be certain than its consequence."""
    rules = catalogue().rules
    own, supply = explained_by(rule_id)
    # A cluster spans families; on the same equipment only rules of its own family can be the cause.
    near = {cause for cause in own if cause in rules and rules[cause].family == rules[rule_id].family}
    later = [rules[cause].delay_s - rules[rule_id].delay_s for cause in near | (supply & rules.keys())]
    wait = timedelta(seconds=max(later, default=0.0))
    return min(HOLD_BACK_MAX, wait + _CERTAIN_AFTER) if wait > timedelta(0) else HOLD_BACK


def explain(found: Mapping[str, Sequence[Finding]], supply: Mapping[str, Iterable[str]]) -> list[Explained]:
    """Attach the findings of all units to their causes; the root cause is named, not the next link."""
    everything = [(unit, f) for unit, findings in found.items() for f in findings]
    direct: dict[int, int] = {}
    for i, (unit, finding) in enumerate(everything):
        own, above = explained_by(finding.rule)
        sources = set(supply.get(unit, ()))
        for j, (other_unit, other) in enumerate(everything):
            is_cause = other.rule in own if other_unit == unit else other_unit in sources and other.rule in above
            if i != j and is_cause and _overlaps(other, finding):
                direct[i] = j
                break
    return [
        Explained(unit=unit, finding=finding, cause=_root(i, direct, everything))
        for i, (unit, finding) in enumerate(everything)
    ]


def _root(index: int, direct: Mapping[int, int], everything: Sequence[tuple[str, Finding]]) -> tuple[str, str] | None:
    seen = {index}
    at = index
    while at in direct and direct[at] not in seen:
        at = direct[at]
        seen.add(at)
    return (everything[at][0], everything[at][1].rule) if at != index else None


def _overlaps(cause: Finding, consequence: Finding) -> bool:
    until: datetime = cause.end + LINGER
    announced = consequence.confirmed_at + hold_back(consequence.rule)
    return cause.start <= consequence.end and consequence.start <= until and cause.confirmed_at <= announced
