"""What people write down for a step, on pages and at the command line: days, readings, hours. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Any

from cloud_api.kit.errors import Invalid


def day_of(text: str) -> date:
    """Read a day. Raises Invalid with an example."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Invalid("{text!r} is not a day; write 2026-11-03", text=text) from None


def number_of(text: str) -> Decimal:
    """Read an exact number. Raises Invalid with an example."""
    try:
        found = Decimal(text.strip())
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite():
        raise Invalid("{text!r} is not a number; write 1234.5", text=text)
    return found


def pairs_of(texts: Iterable[str]) -> dict[str, Decimal]:
    """Read `meter-t301=1234.5`, one pair each. Raises Invalid with an example."""
    found: dict[str, Decimal] = {}
    for text in texts:
        meter, separator, value = text.partition("=")
        if not separator:
            raise Invalid("{text!r} is not a reading; write meter-t301=1234.5", text=text.strip())
        found[meter.strip()] = number_of(value)
    return found


def split_list(text: str) -> list[str]:
    """Cut a typed list at commas, semicolons and lines."""
    return [part.strip() for part in re.split(r"[,，;；\n]", text) if part.strip()]


def parse_readings(text: str) -> dict[str, Decimal]:
    """Read `meter-t301 = 1234.5`, separated by commas, semicolons or lines."""
    return pairs_of(split_list(text))


def parse_hours(text: str) -> list[tuple[int, str, str]]:
    """Read `1-5 08:00-18:00, 6 08:00-13:00` (1 Monday to 7 Sunday). Raises Invalid with an example."""
    found: list[tuple[int, str, str]] = []
    for part in filter(None, (p.strip() for p in re.split(r"[,，\n]", text))):
        try:
            days, hours = part.split()
            first, _dash, last = days.partition("-")
            starts, ends = (time.fromisoformat(t).isoformat("minutes") for t in hours.split("-"))
            found += [(_weekday(day), starts, ends) for day in range(int(first), int(last or first) + 1)]
        except ValueError:
            raise Invalid(
                "{part!r} are no air-conditioning hours; write 1-5 08:00-18:00, 6 08:00-13:00", part=part
            ) from None
    return found


def _weekday(day: int) -> int:
    if not 1 <= day <= 7:
        raise ValueError(day)
    return day


def hours_text(hours: Sequence[Mapping[str, Any]], today: date) -> str:
    """Write the hours of a day as `parse_hours` reads them."""
    current = [h for h in hours if h["starts_on"] <= today and (h["last_day"] is None or today <= h["last_day"])]
    return ", ".join(f"{h['weekday']} {h['starts']:%H:%M}-{h['ends']:%H:%M}" for h in current)
