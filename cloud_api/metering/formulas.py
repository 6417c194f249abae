"""Virtual meters: created, changed, removed and read; sums, differences and ratios of other meters over any depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from psycopg import AsyncConnection, errors

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.identity import service as identity
from cloud_api.kit.errors import Invalid
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import Period, local_days
from cloud_api.metering import analysis
from cloud_api.metering.analysis import DaySum
from cloud_api.metering.corrections import Author
from cloud_api.metering.model import Meter
from cloud_api.metering.virtual import FormulaRefused, covers, ratio, together

queries = load_queries(__file__, "formulas.sql")

TERMS_MAX = 200
Kind = Literal["sum", "ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One input of a formula; in a ratio 1 is the numerator and -1 the denominator."""

    meter_id: MeterId
    code: str
    name_zh: str
    name_en: str
    factor: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A virtual meter: the sum of its inputs times their factors, or the ratio of two."""

    meter_id: MeterId
    code: str
    name_zh: str
    name_en: str
    kind: Kind
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio over a bucket: of the sums, not the mean of ratios; None where there is nothing to divide by."""

    starts_at: datetime
    numerator: Decimal
    denominator: Decimal
    value: Decimal | None


async def formulas(conn: AsyncConnection) -> list[Formula]:
    """Return the virtual meters that the viewer may see, by code."""
    found: dict[int, dict[str, Any]] = {}
    for row in await all_rows(conn, queries.formulas, {}):
        entry = found.setdefault(
            row["meter_id"], {k: row[k] for k in ("code", "name_zh", "name_en", "kind")} | {"t": []}
        )
        entry["t"].append(
            Term(meter_id=MeterId(row["input_id"]), code=row["input_code"], name_zh=row["input_name_zh"],
                 name_en=row["input_name_en"], factor=row["factor"])
        )  # fmt: skip
    return [
        Formula(meter_id=MeterId(i), code=e["code"], name_zh=e["name_zh"], name_en=e["name_en"], kind=e["kind"],
                terms=tuple(e["t"]))
        for i, e in found.items()
    ]  # fmt: skip


async def formula(conn: AsyncConnection, meter_id: MeterId) -> Formula | None:
    """Return a meter's formula; None for a measured meter."""
    return next((f for f in await formulas(conn) if f.meter_id == meter_id), None)


async def create(
    conn: AsyncConnection,
    author: Author,
    *,
    code: str,
    name_zh: str,
    name_en: str,
    kind: Kind,
    terms: Mapping[MeterId, Decimal],
) -> MeterId:
    """Create a virtual meter; its interval length and utility are those of its inputs. Raises Invalid, FormulaRefused.

    For a ratio `terms` are the numerator with factor 1 and the denominator with factor -1.
    """
    inputs = [await analysis.meter(conn, meter_id) for meter_id in terms]
    _check(code, inputs, kind, terms)
    first = inputs[0]
    try:
        async with conn.transaction():
            [row] = await all_rows(
                conn,
                queries.add_meter,
                {"like": first.id, "code": code, "name_zh": name_zh or name_en or code,
                 "name_en": name_en or name_zh or code},
            )  # fmt: skip
    except errors.UniqueViolation as error:
        raise Invalid("a meter with the code {code} is there already", code=code) from error
    meter_id = MeterId(row["id"])
    await _store(conn, author, meter_id, kind, terms, action="meter.formula", code=code)
    return meter_id


async def change(
    conn: AsyncConnection, author: Author, meter_id: MeterId, *, kind: Kind, terms: Mapping[MeterId, Decimal]
) -> None:
    """Replace a virtual meter's formula as a whole; a cycle is refused."""
    found = await formula(conn, meter_id)
    if found is None:
        raise FormulaRefused("this meter is measured; only a virtual meter has a formula")
    inputs = [await analysis.meter(conn, input_id) for input_id in terms]
    _check(found.code, inputs, kind, terms)
    await conn.execute(queries.delete_formula, {"meter_id": meter_id})
    await _store(conn, author, meter_id, kind, terms, action="meter.formula", code=found.code)


async def remove(conn: AsyncConnection, author: Author, meter_id: MeterId) -> None:
    """Remove a virtual meter that no other formula uses."""
    found = await formula(conn, meter_id)
    if found is None:
        raise FormulaRefused("this meter is measured; only a virtual meter has a formula")
    if users := [f.code for f in await formulas(conn) if any(t.meter_id == meter_id for t in f.terms)]:
        raise FormulaRefused("other formulas use this meter: {users}", users=tuple(users))
    await conn.execute(queries.remove_meter, {"meter_id": meter_id})
    await _audit(conn, author, "meter.remove_formula", found.code, {})


async def used_by(conn: AsyncConnection, meter_id: MeterId) -> list[Formula]:
    """Return the virtual meters that a meter's energy flows into, directly or over others."""
    everything, reached, found = await formulas(conn), {meter_id}, []
    for _ in everything:
        found = [f for f in everything if any(t.meter_id in reached for t in f.terms)]
        reached |= {f.meter_id for f in found}
    return found


async def ratios(conn: AsyncConnection, found: Formula, first: date, after: date) -> list[Ratio]:
    """Return a ratio meter's value by local day; a day on which one side is not known completely has none."""
    numerator, denominator = (t.meter_id for t in sorted(found.terms, key=lambda t: -t.factor))
    over = {d.day: d for d in await days(conn, numerator, first, after)}
    under = {d.day: d for d in await days(conn, denominator, first, after)}
    zone = (await analysis.meter(conn, found.meter_id)).zone
    return [
        Ratio(
            starts_at=local_days(day, day + timedelta(days=1), zone).start,
            numerator=over[day].quantity,
            denominator=under[day].quantity,
            value=ratio(over[day].quantity, under[day].quantity),
        )
        for day in sorted(over.keys() & under.keys())
        if not over[day].missing_count and not under[day].missing_count
    ]


async def days(conn: AsyncConnection, meter_id: MeterId, first: date, after: date) -> list[DaySum]:
    """Return a meter's sums by local day, computed when it is virtual; a day needs every input."""
    factors = await analysis.measured_behind(conn, meter_id)
    if list(factors.items()) == [(meter_id, Decimal(1))]:
        return await analysis.chart_by_day(conn, [meter_id], first, after)
    by_day: dict[date, list[tuple[Decimal, DaySum]]] = {}
    for leaf, factor in factors.items():
        for day in await analysis.chart_by_day(conn, [leaf], first, after):
            by_day.setdefault(day.day, []).append((factor, day))
    return [
        DaySum(
            day=day,
            quantity=sum((factor * part.quantity for factor, part in parts), Decimal(0)),
            interval_count=min(part.interval_count for _, part in parts),
            estimated_count=max(part.estimated_count for _, part in parts),
            missing_count=max(part.missing_count for _, part in parts),
        )
        for day, parts in sorted(by_day.items())
        if len(parts) == len(factors)
    ]


async def ratio_intervals(conn: AsyncConnection, found: Formula, period: Period) -> list[Ratio]:
    """Return a ratio meter's value by interval; one in which a side is missing is not there."""
    numerator, denominator = (t.meter_id for t in sorted(found.terms, key=lambda t: -t.factor))
    sides = [i for side in (numerator, denominator) for i in await analysis.virtual_intervals(conn, side, period)]
    values: list[Ratio] = []
    for whole, parts in together([i for i in sides if i.quality != "missing"]):
        if len(parts) == 2 and all(covers(rows, whole) for rows in parts.values()):
            over, under = (sum((i.quantity for i in parts[side]), Decimal(0)) for side in (numerator, denominator))
            values.append(Ratio(starts_at=whole.start, numerator=over, denominator=under, value=ratio(over, under)))
    return values


def _check(code: str, inputs: Sequence[Meter], kind: Kind, terms: Mapping[MeterId, Decimal]) -> None:
    if not 1 <= len(code) <= 60 or not code.isprintable() or code != code.strip():
        raise Invalid("a meter's code has 1 to {longest} characters", longest=60)
    if not 1 <= len(terms) <= TERMS_MAX:
        raise Invalid("a formula has 1 to {most} inputs", most=TERMS_MAX)
    if any(not f.is_finite() or f == 0 or abs(f) >= 10**9 for f in terms.values()):
        raise Invalid("a factor is a number other than zero")
    if kind == "ratio" and sorted(terms.values()) != [-1, 1]:
        raise Invalid("a ratio has one meter above and another one below")
    if len({m.site_id for m in inputs}) > 1:
        raise Invalid("the inputs of a formula stand on one site")


async def _store(
    conn: AsyncConnection,
    author: Author,
    meter_id: MeterId,
    kind: Kind,
    terms: Mapping[MeterId, Decimal],
    *,
    action: str,
    code: str,
) -> None:
    if any(f.kind == "ratio" and f.meter_id in terms for f in await formulas(conn)):
        raise FormulaRefused("a ratio has no energy of its own: it cannot be the input of another formula")
    if kind == "sum":
        await analysis.set_formula(conn, meter_id, terms)
    else:
        above, below = sorted(terms, key=lambda i: -terms[i])
        for input_id in (above, below):
            if meter_id in await analysis.measured_behind(conn, input_id):
                raise FormulaRefused("the formula goes round in a circle: {circle}", circle=f"{meter_id} → {input_id}")
        await conn.execute(queries.add_ratio, {"meter_id": meter_id, "above": above, "below": below})
    await _audit(conn, author, action, code, {str(i): str(f) for i, f in terms.items()})


async def _audit(conn: AsyncConnection, author: Author, action: str, code: str, terms: dict[str, str]) -> None:
    await identity.audit(
        conn, viewer=author.viewer, at=author.clock.now(), action=action, subject=f"meter:{code}",
        reason=author.reason.strip(), terms=", ".join(f"{f} × {i}" for i, f in terms.items()),
    )  # fmt: skip
