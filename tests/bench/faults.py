"""Fault rules: a month of one air handler against one pass of numpy over the same columns; a minute of 500 of them;
false incidents of 100 healthy ones. Prints ratios; run with `python -m tests.bench.faults [--healthy UNITS]`."""

import argparse
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from cloud_api.faults import learning, replay
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import NO_EVAL, Evaluator
from tests.bench.healthy_units import ZONE, healthy_units

DAYS, LEARN_DAYS = 30, 8
FALSE_PER_DAY_MAX = 0.01


def judge_healthy(units: int) -> str:
    """Let units learn from their first days, judge the month after; every finding of it is false."""
    rules = catalogue().family("ahu")
    false: Counter[str] = Counter()
    judged: set[str] = set()
    for data in healthy_units(units, LEARN_DAYS + DAYS):
        learn = np.arange(len(data.seconds)) < LEARN_DAYS * 1440
        learned = learning.fit_unit("ahu", data, learn)
        month = replace(data, seconds=data.seconds[~learn], columns={n: v[~learn] for n, v in data.columns.items()})
        done = replay.replay(rules, learning.with_learned(month, learned))
        judged |= {name for name, verdicts in done.verdicts.items() if (verdicts.codes != NO_EVAL).any()}
        false.update(finding.rule for finding in done.findings)
    learned_rules = {r.id for r in rules if r.spec.reference.startswith("learned")}
    unit_days = units * DAYS
    of_learned = sum(count for rule, count in false.items() if rule in learned_rules)
    return (
        f"{units} healthy units, {DAYS} days after {LEARN_DAYS} to learn: {len(judged)} of {len(rules)} rules judged"
        f" ({len(judged & learned_rules)} of {len(learned_rules)} learned); {false.total()} false incidents,"
        f" {false.total() / unit_days:.4f} per equipment-day (limit {FALSE_PER_DAY_MAX}),"
        f" {of_learned / unit_days:.4f} of the learned channel (budget {learning.FALSE_INCIDENTS_PER_DAY_MAX}):"
        f" {dict(false)}; not judged: {', '.join(sorted({r.id for r in rules} - judged))}"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--healthy", type=int, default=10, help="how many healthy units to judge for a month")
    units = parser.parse_args().healthy
    rules = catalogue().family("ahu")
    data = healthy_units(1, DAYS)[0]
    started = time.perf_counter()
    replay.replay(rules, data)
    month = time.perf_counter() - started
    started = time.perf_counter()
    for values in data.columns.values():
        np.nanmean(values)
        np.cumsum(np.nan_to_num(values))
    floor = time.perf_counter() - started
    print(f"a month of 1-minute data, {len(rules)} rules: {month:.2f} s, {month / floor:.0f} x one numpy pass")
    roles = frozenset(data.columns)
    evaluators = [Evaluator(rules=rules, available=roles, tick_s=60, zone=ZONE) for _ in range(20)]
    warm = {n: v[:60] for n, v in data.columns.items()}
    for evaluator in evaluators:
        evaluator.run(data.seconds[:60], warm)
    started = time.perf_counter()
    for evaluator in evaluators:
        evaluator.run(data.seconds[60:61], {n: v[60:61] for n, v in data.columns.items()})
    one = (time.perf_counter() - started) / len(evaluators)
    bindings = sum(1 for b in evaluators[0].bound if b.when is not None)
    print(
        f"one tick of one unit ({bindings} rules): {one * 1000:.2f} ms; 20 000 bindings take {one * 20_000 / bindings:.1f} s of a 60 s tick"
    )
    print(judge_healthy(units))


if __name__ == "__main__":
    main()
