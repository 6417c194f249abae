"""Detection quality against labelled days, reported per fault type and per channel, with its uncertainty."""

import csv
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from math import sqrt
from pathlib import Path

from cloud_api.faults import learning, replay
from cloud_api.faults import trend as trends
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.findings import Finding
from cloud_api.faults.trend import ColumnMap, Trend

_SPILL = timedelta(minutes=20)  # A value holds some minutes past the end of its day.


def report(family: str, how: ColumnMap, trend: Path, labels: Path, healthy: Sequence[date]) -> str:
    """Return the table: Guideline 36 alone, all fixed rules, and with the learned channel when healthy days are named.

    Days that the learned channel was fitted on do not count for it.
    """
    data = trends.load_trend(trend, how)
    with labels.open(encoding="utf-8") as file:
        truth = {date.fromisoformat(r["date"]): r["fault_type"] for r in csv.DictReader(file)}
    fixed = days_found(replay.replay(replay.rules_for(family, how), data).findings, data)
    g36 = {i for i, r in catalogue().rules.items() if r.spec.reference.startswith("ASHRAE Guideline 36")}
    channels = {
        "guideline 36": {day: rules & g36 for day, rules in fixed.items()},
        "all fixed rules": fixed,
    }
    if healthy:
        taught = trends.with_constants(data, learning.as_constants(learning.fit(data, healthy)))
        channels["with learned"] = days_found(replay.replay(replay.rules_for(family, how), taught).findings, data)
    lines = []
    for name, found in channels.items():
        fitted_on = healthy if name == "with learned" else ()
        lines += [f"{name}:", *_table(found, truth, fitted_on), ""]
    return "\n".join(lines)


def days_found(findings: Collection[Finding], data: Trend) -> dict[date, set[str]]:
    """Return the rules in fault by local day; minutes that an older finding spills into a day do not count."""
    found: dict[date, set[str]] = defaultdict(set)
    for finding in findings:
        day = finding.start.astimezone(data.zone).date()
        last = (finding.end - _SPILL).astimezone(data.zone).date()
        while day <= max(last, finding.start.astimezone(data.zone).date()):
            found[day].add(finding.rule)
            day += timedelta(days=1)
    return found


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    if count == 0:
        return 0.0, 1.0
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _table(found: dict[date, set[str]], truth: dict[date, str], fitted_on: Collection[date]) -> list[str]:
    by_type: dict[str, list[bool]] = defaultdict(list)
    for day, label in truth.items():
        if day not in fitted_on:
            by_type[label].append(bool(found.get(day)))
    false_days, true_days = sum(by_type["none"]), sum(sum(v) for k, v in by_type.items() if k != "none")
    lines = []
    for label, hits in sorted(by_type.items()):
        low, high = wilson(sum(hits), len(hits))
        what = "false days" if label == "none" else "days found"
        lines.append(f"  {label:<18}{what} {sum(hits)} of {len(hits)}  [{low:.2f}, {high:.2f}]")
    precision = true_days / (true_days + false_days) if true_days + false_days else 0.0
    faulty = sum(len(v) for k, v in by_type.items() if k != "none")
    lines.append(f"  recall {true_days / max(faulty, 1):.2f}, precision {precision:.2f} (by day)")
    return lines
