"""What a line of a bill rests on: its days, each day's quarter hours beside the register, and the price's version.

The stretches and shares are the bill's own (its snapshot); the intervals are the ledger's as it was known when the
bill was made. What was corrected since stands beside them and never takes their place.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import timetable
from cloud_api.billing.assignment import nested
from cloud_api.billing.inputs import QUANTITIES
from cloud_api.billing.pinned import tariff_of
from cloud_api.billing.repository import Row, one, plain_rows, queries, rows
from cloud_api.billing.run_model import MeterFacts, Part
from cloud_api.billing.tariff import Component, Tariff, Version
from cloud_api.billing.timetable import Run
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.metering import packs
from cloud_api.metering.earlier import Changes, changes_since
from cloud_api.metering.lengths import Lengths

QUARTERS_MAX = 3000
"""Rows of one day's answer: a hundred quarter hours of some thirty meters."""
MEASURED = frozenset({"energy", "demand", "share"})
"""Kinds of lines that rest on intervals; the others rest on lines, days or contracts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEnergy:
    """What a local day adds to a line, in the unit of the meter (kWh, m³); how much of it is estimated."""

    day: date
    quantity: Decimal
    estimated: Decimal
    corrected: Decimal
    """What today's ledger has more on this day; 0 unless readings were corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarter:
    """One interval of one meter: what the meter counted (less meters below it), the share, and the tenant's part.

    `counts` tells whether the line prices it; `reading` is the register at the end, as read at `read_at`, in today's
    ledger. `today` is the tenant's part by today's ledger, where it is another one.
    """

    meter: str
    meter_name: Mapping[str, str]
    starts_at: datetime
    bucket: str
    counts: bool
    measured: Decimal
    share: Decimal
    quantity: Decimal
    quality: str
    reading: Decimal | None
    read_at: datetime | None
    today: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEvidence:
    """Where a line comes from; `days` is empty for a line that rests on no interval of the tenant's own."""

    number: int
    line: Mapping[str, Any]
    tariff: Tariff
    version: Version | None
    component: Component | None
    buckets: tuple[str, ...]
    days: tuple[DayEnergy, ...]
    quantity: Decimal
    estimated: Decimal
    differs: Decimal
    """What today's ledger has more than the bill; 0 unless readings were corrected."""
    unexplained: Decimal
    """What the ledger of that time has more than the bill; 0 unless it changed while the bill was being made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """The intervals of one stretch of the bill's evidence: start, micro-units less meters below, grade."""

    row: Mapping[str, Any]
    part: Part
    intervals: Mapping[int, tuple[int, int]]
    today: Mapping[int, tuple[int, int]]

    def end_of(self, start: int) -> datetime:
        """Return the end of the interval that starts at `start` (seconds since 1970)."""
        at = datetime.fromtimestamp(start, UTC)
        return at + timedelta(minutes=self.part.meter.lengths.at(at))


_Energy = defaultdict[int, dict[int, tuple[int, int]]]
"""Micro-units and grade per part and start (seconds since 1970)."""
_Stretches = Mapping[int, Sequence[tuple[int, Period]]]
"""Parts by register, each with the time for which it counts."""


async def of_line(conn: AsyncConnection, bill: Row, number: int) -> LineEvidence:
    """Return a line (from 1) with what each day added to it. Raises NotFound."""
    line = _line(bill, number)
    tariff = await tariff_of(conn, bill)
    version = next((v for v in tariff.versions if v.version == line["version"]), None)
    component = next((c for c in (version.components if version else ()) if c.code == line["component"]), None)
    buckets = _buckets(line, version, component)
    whole = Period(*(_instant(bill, edge) for edge in ("from", "to")))
    found: dict[date, list[Decimal]] = {}
    if line["kind"] in MEASURED and line.get("source", "own") == "own":
        runs = timetable.cut(tariff, await loading.find_calendar(conn, tariff.holiday_calendar), whole)
        for course in await _courses(conn, bill, whole):
            _add_days(found, course, runs, line, buckets, tariff)
    days = tuple(
        DayEnergy(day=d, quantity=q, estimated=e, corrected=_rounded(t - q)) for d, (q, e, t) in sorted(found.items())
    )
    total = sum((d.quantity for d in days), Decimal(0))
    today = sum((sums[2] for sums in found.values()), Decimal(0))
    return LineEvidence(
        number=number, line=line, tariff=tariff, version=version, component=component, buckets=buckets, days=days,
        quantity=total, estimated=sum((d.estimated for d in days), Decimal(0)),
        differs=_rounded(today - total),
        unexplained=_rounded(total - _billed(bill, line, buckets)) if days else Decimal(0),
    )  # fmt: skip


async def of_day(conn: AsyncConnection, bill: Row, number: int, day: date) -> list[Quarter]:
    """Return a day's intervals of the bill's meters beside their registers, in order of meter and time."""
    line = _line(bill, number)
    tariff = await tariff_of(conn, bill)
    version = next((v for v in tariff.versions if v.version == line["version"]), None)
    component = next((c for c in (version.components if version else ()) if c.code == line["component"]), None)
    buckets = _buckets(line, version, component)
    whole = local_day(day, tariff.zone)
    within = whole.intersect(Period(*(_instant(bill, edge) for edge in ("from", "to"))))
    if within is None:
        raise NotFound("{day} is not a day of this bill", day=day)
    runs = timetable.cut(tariff, await loading.find_calendar(conn, tariff.holiday_calendar), whole)
    found: list[Quarter] = []
    for course in await _courses(conn, bill, within):
        readings = await _readings(conn, course, QUANTITIES[bill["snapshot"]["utility"]])
        found += _quarters(course, runs, line, buckets, readings)
    return found[:QUARTERS_MAX]


async def bookings_of(conn: AsyncConnection, bill: Row) -> list[Row]:
    """Return the approved hours of air conditioning that begin in the bill's period: what its lines price."""
    zone = ZoneInfo(bill["snapshot"]["site"]["time_zone"])
    first, after = (date.fromisoformat(bill["snapshot"]["period"][edge]) for edge in ("from", "to"))
    whole = local_days(first, after, zone)
    values = {"site_id": bill["site_id"], "start": whole.start, "end": whole.end}
    found = await rows(conn, queries.after_hours_bookings, values)
    return [row for row in found if row["tenant_id"] == bill["tenant_id"]]


def _line(bill: Row, number: int) -> Mapping[str, Any]:
    lines = bill["snapshot"]["lines"]
    if not 1 <= number <= len(lines):
        raise NotFound("the bill has {count} lines; there is no line {line}", count=len(lines), line=number)
    return lines[number - 1]


def _buckets(line: Mapping[str, Any], version: Version | None, component: Component | None) -> tuple[str, ...]:
    if line["bucket"]:
        return (line["bucket"],)
    known = tuple(version.bucket_codes()) if version else ()
    return component.buckets or known if component else known


def _instant(bill: Row, edge: str) -> datetime:
    """Return an edge of the bill's evidence: the days that the tenant held a metered space."""
    found = [datetime.fromisoformat(row[edge]) for row in bill["snapshot"]["evidence"]]
    if not found:
        return datetime.combine(date.fromisoformat(bill["snapshot"]["period"][edge]), datetime.min.time(), UTC)
    return min(found) if edge == "from" else max(found)


async def _courses(conn: AsyncConnection, bill: Row, period: Period) -> list[_Course]:
    snapshot = bill["snapshot"]
    values = {"site_id": bill["site_id"], "utility": snapshot["utility"]}
    meters = [_meter(row) for row in await rows(conn, queries.meters, values)]
    by_code = {meter.code: meter for meter in meters}
    parts: list[Part] = []
    evidence: list[Mapping[str, Any]] = []
    for row in snapshot["evidence"]:
        held = Period(datetime.fromisoformat(row["from"]), datetime.fromisoformat(row["to"])).intersect(period)
        if held is not None and row["meter"] in by_code:
            parts.append(Part(index=len(parts), meter=by_code[row["meter"]], period=held))
            evidence.append(row)
    below = nested(meters, parts)
    energy, today = await _energy(conn, [*parts, *below], QUANTITIES[snapshot["utility"]], await _made_at(conn, bill))
    for part in below:
        _subtract(energy, part)
        _subtract(today, part)
    return [
        _Course(row=row, part=part, intervals=energy[part.index], today=today[part.index])
        for row, part in zip(evidence, parts, strict=True)
    ]


def _subtract(energy: _Energy, part: Part) -> None:
    above = energy[part.subtract_from or 0]
    for start, (quantity, _) in energy[part.index].items():
        known, grade = above.get(start, (0, 0))
        above[start] = known - quantity, grade


async def _made_at(conn: AsyncConnection, bill: Row) -> datetime:
    """Return when the bill read the ledger: as its run ended, or at issue for one that was made again."""
    if bill["kind"] != "rebill" and bill["run_id"] is not None:
        run = await one(conn, queries.run_finished, {"run_id": bill["run_id"]})
        if run and run["finished_at"]:
            return run["finished_at"]
    return bill["issued_at"] or datetime.max.replace(tzinfo=UTC)


def _meter(row: Row) -> MeterFacts:
    return MeterFacts(
        id=row["id"], code=row["code"], name={"zh": row["name_zh"], "en": row["name_en"]}, use=row["use"],
        parent_id=row["parent_meter_id"], lengths=Lengths.of(row["lengths"]),
    )  # fmt: skip


async def _energy(
    conn: AsyncConnection, parts: Sequence[Part], quantity: str, known_at: datetime
) -> tuple[_Energy, _Energy]:
    """Return the parts' energy as the ledger knew it at an instant, and as it knows it today."""
    then: _Energy = defaultdict(dict)
    today: _Energy = defaultdict(dict)
    if not parts:
        return then, today
    values = {
        "part": [part.index for part in parts],
        "meter_id": [part.meter.id for part in parts],
        "starts_at": [part.period.start for part in parts],
        "ends_at": [part.period.end for part in parts],
        "quantity": quantity,
    }
    stretches: defaultdict[int, list[tuple[int, Period]]] = defaultdict(list)
    for part, register, starts_at, ends_at in await plain_rows(conn, queries.registers_of_parts, values):
        stretches[register].append((part, Period(starts_at, ends_at)))
    whole = Period(min(p.period.start for p in parts), max(p.period.end for p in parts))
    registers = [RegisterId(register) for register in stretches]
    changes = await changes_since(conn, registers, whole, known_at)
    async for columns in packs.read(conn, registers, whole):
        _take(columns, stretches, changes, then, today)
    for (register, start), (value, grade) in changes.before.items():
        for part, period in stretches[register]:
            if period.start.timestamp() <= start < period.end.timestamp():
                _add(then[part], start, int(value.scaleb(6).to_integral_value(ROUND_HALF_UP)), grade)
    return then, today


def _take(columns: packs.Columns, stretches: _Stretches, changes: Changes, then: _Energy, today: _Energy) -> None:
    """Add a stretch of today's ledger; what has changed since is left to the earlier values."""
    for register in columns.register_ids():
        for part, period in stretches[register]:
            where = columns.of(register, period)
            for start, mantissa, grade in zip(
                columns.starts_s[where].tolist(), columns.mantissas[where].tolist(), columns.grades[where].tolist(),
                strict=True,
            ):  # fmt: skip
                micro = packs.to_micro(mantissa, columns.scale)
                _add(today[part], start, micro, grade)
                if (register, start) not in changes.before and (register, start) not in changes.later:
                    _add(then[part], start, micro, grade)


def _add(intervals: dict[int, tuple[int, int]], start: int, micro: int, grade: int) -> None:
    known, worst = intervals.get(start, (0, 0))
    intervals[start] = known + micro, max(worst, grade)


def _add_days(
    found: dict[date, list[Decimal]],
    course: _Course,
    runs: Sequence[Run],
    line: Mapping[str, Any],
    buckets: Iterable[str],
    tariff: Tariff,
) -> None:
    starts = [run.start.timestamp() for run in runs]
    share = Decimal(course.row["share"])
    for start in {*course.intervals, *course.today}:
        run = runs[bisect_right(starts, start) - 1]
        if run.version == line["version"] and run.bucket in buckets:
            day = datetime.fromtimestamp(start, tariff.zone).date()
            sums = found.setdefault(day, [Decimal(0), Decimal(0), Decimal(0)])
            micro, grade = course.intervals.get(start, (0, 0))
            quantity = Decimal(micro).scaleb(-6) * share
            sums[0] += quantity
            sums[1] += quantity if grade == packs.ESTIMATED else 0
            sums[2] += Decimal(course.today.get(start, (0, 0))[0]).scaleb(-6) * share


def _quarters(
    course: _Course,
    runs: Sequence[Run],
    line: Mapping[str, Any],
    buckets: Iterable[str],
    readings: Mapping[datetime, tuple[datetime, Decimal]],
) -> list[Quarter]:
    starts = [run.start.timestamp() for run in runs]
    share = Decimal(course.row["share"])
    found = []
    for start in sorted({*course.intervals, *course.today}):
        micro, grade = course.intervals.get(start, (0, packs.MISSING))
        now = course.today.get(start, (0, packs.MISSING))[0]
        run = runs[bisect_right(starts, start) - 1]
        at = datetime.fromtimestamp(start, UTC)
        read_at, value = readings.get(course.end_of(start), (None, None))
        measured = Decimal(micro).scaleb(-6)
        found.append(
            Quarter(
                meter=course.part.meter.code,
                meter_name=course.row["meter_name"],
                starts_at=at,
                bucket=run.bucket,
                counts=run.version == line["version"] and run.bucket in buckets,
                measured=measured,
                share=share,
                quantity=measured * share,
                quality=packs.GRADES[grade].value,
                reading=value,
                read_at=read_at,
                today=None if now == micro else Decimal(now).scaleb(-6) * share,
            )
        )
    return found


async def _readings(conn: AsyncConnection, course: _Course, quantity: str) -> dict[datetime, tuple[datetime, Decimal]]:
    """Return the register at the end of each interval: the last reading at or before it."""
    ends = [course.end_of(start) for start in sorted({*course.intervals, *course.today})]
    values = {
        "part": list(range(len(ends))),
        "edge": ["end"] * len(ends),
        "meter_id": [course.part.meter.id] * len(ends),
        "at": ends,
        "quantity": quantity,
    }
    found: dict[datetime, tuple[datetime, Decimal]] = {}
    for index, _, _, taken_at, value, _ in await plain_rows(conn, queries.readings_at, values):
        if value is not None:
            found[ends[index]] = (taken_at, value)
    return found


def _billed(bill: Row, line: Mapping[str, Any], buckets: Iterable[str]) -> Decimal:
    usage = bill["snapshot"]["usage"]
    return sum(
        (Decimal(u["own"]) for u in usage if u["version"] == line["version"] and u["bucket"] in buckets), Decimal(0)
    )


def _rounded(difference: Decimal) -> Decimal:
    """Drop what the largest remainder moved between sharers: less than a thousandth."""
    return difference.quantize(Decimal("0.001"))
