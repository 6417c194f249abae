"""Which fault explains which: one alarm per cause, by the links the rules themselves carry. Pure.

A fault is explained by another of the same equipment (a stuck damper explains the mixed air), by the trigger of its
cluster, by a failure of what supplies the equipment (a chiller that does not start explains warm supply air), or by one
of a meter above it in the tree (a phase lost on the feeder is lost on every meter behind it). An explained fault
attaches to its cause and is not announced; so that a cause that needs longer to be certain can still take it over, its
announcement waits.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """The rules that explain a rule, by where they hold: on the same equipment, its supply, the meters above it."""

    own: frozenset[str] = frozenset()
    supply: frozenset[str] = frozenset()
    feeder: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.own or self.supply or self.feeder)


@cache
def explained_by(rule_id: str) -> Causes:
    """Return what explains a shipped rule; nothing explains one that is not shipped."""
    rules = catalogue().rules
    if rule_id not in rules:
        return Causes()
    rule = rules[rule_id]
    return Causes(
        own=explainers(rule, rules),
        supply=frozenset(rule.spec.explained_by_supply),
        feeder=frozenset(rule.spec.explained_by_feeder),
    )


@cache
def hold_back(rule_id: str) -> timedelta:
    """Return how long an announcement waits for a cause that takes longer to be certain than its consequence."""
    rules = catalogue().rules
    causes = explained_by(rule_id)
    # A cluster spans families; on the same equipment only rules of its own family can be the cause.
    near = {cause for cause in causes.own if cause in rules and rules[cause].family == rules[rule_id].family}
    later = [
        rules[cause].delay_s - rules[rule_id].delay_s
        for cause in near | ((causes.supply | causes.feeder) & rules.keys())
    ]
    wait = timedelta(seconds=max(later, default=0.0))
    return min(HOLD_BACK_MAX, wait + _CERTAIN_AFTER) if wait > timedelta(0) else HOLD_BACK


def explain(
    found: Mapping[str, Sequence[Finding]],
    supply: Mapping[str, Iterable[str]],
    feeders: Mapping[str, Iterable[str]] | None = None,
) -> list[Explained]:
    """Attach the findings of all units to their causes; the root cause is named, not the next link."""
    everything = [(unit, f) for unit, findings in found.items() for f in findings]
    direct: dict[int, int] = {}
    for i, (unit, finding) in enumerate(everything):
        causes = explained_by(finding.rule)
        explaining = [({unit}, causes.own), (set(supply.get(unit, ())), causes.supply)]
        explaining.append((set((feeders or {}).get(unit, ())), causes.feeder))
        for j, (other_unit, other) in enumerate(everything):
            is_cause = any(other_unit in units and other.rule in rules for units, rules in explaining)
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
