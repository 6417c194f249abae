"""Limits of the checks by class of meter: built in, and what an organisation set instead."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.identity import service as identity
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.metering.corrections import Author
from cloud_api.metering.vee import BY_USE, Limits

queries = load_queries(__file__, "limits.sql")

# What each limit may be: (least, most). Empty switches a check off, where the check allows it.
RANGES: dict[str, tuple[Decimal, Decimal]] = {
    "spike_ratio": (Decimal("0.1"), Decimal(100)),
    "spike_floor": (Decimal(0), Decimal(10**6)),
    "zero_hours": (Decimal(1), Decimal(24 * 31)),
    "stuck_intervals": (Decimal(2), Decimal(1000)),
    "estimated_hours": (Decimal(0), Decimal(24 * 31)),
    "high_ratio": (Decimal(1), Decimal(100)),
    "low_ratio": (Decimal(0), Decimal(1)),
    "jump_ratio": (Decimal(1), Decimal(1000)),
    "power_factor_min": (Decimal(0), Decimal(1)),
    "power_kw_max": (Decimal(0), Decimal(10**6)),
    "load_factor_min": (Decimal(0), Decimal(1)),
    "sibling_hours": (Decimal(0), Decimal(24)),
    "duplicate_intervals": (Decimal(8), Decimal(1440)),
    "clock_drift_s": (Decimal(1), Decimal(86_400)),
    "ratio_tolerance": (Decimal(0), Decimal(1)),
    "residual_high": (Decimal(0), Decimal(1)),
    "residual_low": (Decimal(-1), Decimal(0)),
}
_WHOLE = frozenset(
    {"zero_hours", "stuck_intervals", "estimated_hours", "sibling_hours", "duplicate_intervals", "clock_drift_s"}
)
_NEEDED = frozenset({"spike_floor"})


async def of_classes(conn: AsyncConnection, organisation_id: int) -> dict[str, Limits]:
    """Return the limits that hold for each class of meters of an organisation."""
    rows = await all_rows(conn, queries.limits, {"organisation_id": organisation_id})
    return BY_USE | {row["use"]: _read(BY_USE[row["use"]], row["limits"]) for row in rows if row["use"] in BY_USE}


async def history(conn: AsyncConnection, organisation_id: int) -> dict[str, tuple[str, datetime, str]]:
    """Return who set the limits of a class, when and why; classes with built-in limits are not there."""
    rows = await all_rows(conn, queries.limits, {"organisation_id": organisation_id})
    return {row["use"]: (row["actor"], row["changed_at"], row["reason"]) for row in rows}


async def set_class(conn: AsyncConnection, author: Author, use: str, values: Mapping[str, str]) -> Limits:
    """Set the limits of a class; what is not named keeps its value, an empty text switches a check off.

    Raises NotFound for an unknown class and Invalid for a limit that is unknown or out of its range.
    """
    if use not in BY_USE:
        raise NotFound("there is no meter class {use!r}; there are {known}", use=use, known=tuple(BY_USE))
    organisation_id = author.viewer.organisation_id
    before = (await of_classes(conn, organisation_id))[use]
    found = replace(before, **{name: _value(name, text) for name, text in values.items()})
    kept = {name: None if value is None else str(value) for name, value in asdict(found).items()}
    await conn.execute(
        queries.set_limits,
        author.columns() | {"organisation_id": organisation_id, "use": use, "limits": Jsonb(kept)},
    )
    changed = {n: f"{asdict(before)[n]} → {v}" for n, v in asdict(found).items() if asdict(before)[n] != v}
    await identity.audit(
        conn, viewer=author.viewer, at=author.clock.now(), action="limits.set", subject=f"meter-class:{use}",
        reason=author.reason.strip(), **changed,
    )  # fmt: skip
    return found


async def reset_class(conn: AsyncConnection, author: Author, use: str) -> None:
    """Go back to the built-in limits of a class."""
    organisation_id = author.viewer.organisation_id
    await conn.execute(queries.forget_limits, {"organisation_id": organisation_id, "use": use})
    await identity.audit(
        conn, viewer=author.viewer, at=author.clock.now(), action="limits.reset", subject=f"meter-class:{use}",
        reason=author.reason.strip(),
    )  # fmt: skip


def of_meter(limits: Limits, attributes: Mapping[str, Any]) -> Limits:
    """Return the limits of a meter: its class's, with the connected load that the meter itself states."""
    if "power_kw_max" not in attributes:
        return limits
    try:
        power = Decimal(str(attributes["power_kw_max"]))
    except InvalidOperation:
        return limits
    return replace(limits, power_kw_max=power)


def _read(built_in: Limits, kept: Mapping[str, Any]) -> Limits:
    known = {f.name for f in fields(Limits)}
    return replace(built_in, **{n: _value(n, "" if v is None else str(v)) for n, v in kept.items() if n in known})


def _value(name: str, text: str) -> Any:
    if name not in RANGES:
        raise Invalid("there is no limit {name!r}; there are {known}", name=name, known=tuple(RANGES))
    least, most = RANGES[name]
    if not text.strip():
        if name in _NEEDED:
            raise Invalid("{name}: needs a number", name=name)
        return None
    try:
        value = Decimal(text.strip())
    except InvalidOperation as error:
        raise Invalid("{name}: {text!r:.40} is not a number", name=name, text=text) from error
    if not value.is_finite() or not least <= value <= most:
        raise Invalid("{name}: must lie between {least} and {most}", name=name, least=least, most=most)
    if name not in _WHOLE:
        return value
    if value != int(value):
        raise Invalid("{name}: must be a whole number", name=name)
    return int(value)
