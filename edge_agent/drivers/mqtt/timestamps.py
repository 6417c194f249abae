"""When a payload says it was measured. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from device_profiles.model import PayloadTime

AHEAD_MAX_MS = 10 * 60_000  # A device clock further ahead than this is wrong.
BEHIND_MAX_MS = 31 * 86_400_000  # Nothing is buffered for longer in a device.


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The instant to record, and what the device's clock said, if it could be read."""

    at_ms: int
    device_at_ms: int | None
    problem: str | None  # time_unreadable | time_doubtful: then `at_ms` is when the message arrived.


def moment(rule: PayloadTime | None, value: Any, received_at_ms: int, site_zone: ZoneInfo) -> Moment:
    """Return the payload's own time where it is plausible, else the time of arrival and why."""
    if rule is None:
        return Moment(at_ms=received_at_ms, device_at_ms=None, problem=None)
    said = _milliseconds(rule, value, site_zone)
    if said is None:
        return Moment(at_ms=received_at_ms, device_at_ms=None, problem="time_unreadable")
    if not -BEHIND_MAX_MS <= said - received_at_ms <= AHEAD_MAX_MS:
        return Moment(at_ms=received_at_ms, device_at_ms=said, problem="time_doubtful")
    return Moment(at_ms=said, device_at_ms=said, problem=None)


def _milliseconds(rule: PayloadTime, value: Any, site_zone: ZoneInfo) -> int | None:
    try:
        if rule.format in {"s", "ms"}:
            if isinstance(value, bool):
                return None
            number = Decimal(value) * (1000 if rule.format == "s" else 1)
            return int(number) if 0 <= number < 2**53 else None
        text = str(value)
        stamp = datetime.fromisoformat(text) if rule.format == "iso8601" else datetime.strptime(text, rule.format)  # noqa: DTZ007  # The zone follows.
        if stamp.tzinfo is None:
            stamp = stamp.replace(tzinfo=_zone(rule, site_zone))
        return int(stamp.astimezone(UTC).timestamp() * 1000)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _zone(rule: PayloadTime, site_zone: ZoneInfo) -> ZoneInfo:
    return site_zone if rule.zone in {None, "site"} else ZoneInfo(str(rule.zone))
