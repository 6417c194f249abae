"""From verdicts per tick to findings: what, from when to when, how strong the evidence. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults.evaluation import FAULT, OK, Verdicts
from cloud_api.faults.rules import Rule
from cloud_api.faults.series import Array

# Two stretches of the same fault with nothing but "unknown" between them, no longer than this, are one finding.
BRIDGE = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault of an equipment: its condition held in [start, end); it was certain at `confirmed_at`.

    `evidence` is the mean of each role while it held. `is_open` when the trend ended before the fault did.
    `waste_kwh` is what it cost while it held, `kwh_per_day` the same per day; None where energy is not what it costs.
    `waste_m3` and `m3_per_day` say the same of water.
    """

    rule: str
    severity: int
    start: datetime
    end: datetime
    confirmed_at: datetime
    is_open: bool
    fault_minutes: float
    evidence: Mapping[str, float] = field(default_factory=dict)
    waste_kwh: float | None = None
    kwh_per_day: float | None = None
    waste_m3: float | None = None
    m3_per_day: float | None = None


def find(
    rule: Rule, verdicts: Verdicts, seconds: NDArray[np.int64], tick_s: int, columns: Mapping[str, Array]
) -> list[Finding]:
    """Return the findings of one rule, in order of time."""
    stretches: list[tuple[int, int]] = []
    codes = verdicts.codes
    padded = np.concatenate(([-1], codes == FAULT, [-1])).astype(np.int8)
    firsts = np.flatnonzero((padded[1:-1] == 1) & (padded[:-2] != 1))
    lasts = np.flatnonzero((padded[1:-1] == 1) & (padded[2:] != 1))
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        if stretches and _belongs(codes, stretches[-1][1], first, tick_s):
            stretches[-1] = (stretches[-1][0], last)
        else:
            stretches.append((first, last))
    return [_finding(rule, verdicts, seconds, tick_s, columns, first, last) for first, last in stretches]


def _belongs(codes: NDArray[np.int8], last: int, first: int, tick_s: int) -> bool:
    between = codes[last + 1 : first]
    return (first - last) * tick_s <= BRIDGE.total_seconds() and not bool((between == OK).any())


def _finding(
    rule: Rule,
    verdicts: Verdicts,
    seconds: NDArray[np.int64],
    tick_s: int,
    columns: Mapping[str, Array],
    first: int,
    last: int,
) -> Finding:
    onset = max(0, first - int(verdicts.runs[first]) + 1)
    fault = verdicts.codes[first : last + 1] == FAULT
    evidence = {}
    for name in sorted(columns):
        values = columns[name][onset : last + 1]
        known = values[~np.isnan(values)]
        if len(known):
            evidence[name] = round(float(known.mean()), 3)
    return Finding(
        rule=rule.id,
        severity=rule.spec.severity,
        start=datetime.fromtimestamp(int(seconds[onset]), UTC),
        end=datetime.fromtimestamp(int(seconds[last]) + tick_s, UTC),
        confirmed_at=datetime.fromtimestamp(int(seconds[first]), UTC),
        is_open=last == len(seconds) - 1,
        fault_minutes=float(fault.sum() + first - onset) * tick_s / 60,
        evidence=evidence,
    )
