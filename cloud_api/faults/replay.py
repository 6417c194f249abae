"""Replay a trend through the evaluator: the same code that judges live data."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cloud_api.faults import findings, pricing, trend
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import Evaluator, Verdicts
from cloud_api.faults.findings import Finding
from cloud_api.faults.rules import Rule
from cloud_api.faults.trend import ColumnMap, Trend

# Long trends are evaluated in pieces, so that memory stays bounded.
CHUNK_TICKS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay found: findings in order of time, and the rules that could not be evaluated with what they lack."""

    findings: tuple[Finding, ...]
    missing: Mapping[str, tuple[str, ...]]
    verdicts: Mapping[str, Verdicts]
    rules: tuple[Rule, ...]


def rules_for(family: str, how: ColumnMap) -> list[Rule]:
    """Return the family's rules with the map's choice and parameters."""
    everything = catalogue()
    trend.check_rules(how, everything.rules)
    chosen = everything.family(family)
    if how.rules is not None:
        chosen = [everything.rules[name] for name in how.rules]
    return [r.with_params(how.params[r.id]) if r.id in how.params else r for r in chosen]


def replay(rules: list[Rule], data: Trend, *, chunk_ticks: int = CHUNK_TICKS) -> Replayed:
    """Evaluate every rule over the whole trend."""
    evaluator = Evaluator(rules=rules, available=frozenset(data.columns), tick_s=data.tick_s, zone=data.zone)
    pieces: dict[str, list[Verdicts]] = {r.id: [] for r in rules}
    for begin in range(0, len(data.seconds), chunk_ticks):
        part = slice(begin, begin + chunk_ticks)
        columns = {name: values[part] for name, values in data.columns.items()}
        for name, verdicts in evaluator.run(data.seconds[part], columns).items():
            pieces[name].append(verdicts)
    joined = {
        name: Verdicts(codes=np.concatenate([p.codes for p in parts]), runs=np.concatenate([p.runs for p in parts]))
        for name, parts in pieces.items()
    }
    found: list[Finding] = []
    used = {b.rule.id: b.roles for b in evaluator.bound}
    for rule in rules:
        columns = {n: v for n, v in data.columns.items() if n in evaluator.inputs(used[rule.id])}
        here = findings.find(rule, joined[rule.id], data.seconds, data.tick_s, columns)
        waste = pricing.waste_column(rule, data.columns, data.seconds, data.tick_s, data.zone) if here else None
        found += [pricing.priced(f, rule, waste, joined[rule.id].codes, data.seconds) for f in here]
    return Replayed(
        findings=tuple(sorted(found, key=lambda f: (f.start, f.rule))),
        missing=evaluator.missing(),
        verdicts=joined,
        rules=tuple(rules),
    )
