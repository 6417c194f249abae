"""What people type into forms, read in their terms: local times, decimals with comma or point."""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from cloud_api.kit.errors import Invalid


def local_instant(name: str, text: str, zone: ZoneInfo) -> datetime:
    """Return the instant of a date-and-time field, which speaks the site's local time; an offset of its own is kept.

    The offset tells the two hours apart that a clock shows twice when summer time ends.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except ValueError as error:
        raise Invalid(
            "{name}: {text!r:.40} is not a date and time; write 2026-03-10T12:00", name=name, text=text
        ) from error


def decimal(name: str, text: str) -> Decimal:
    """Return an exact number; thousands may be parted by spaces, decimals by a point or a comma."""
    clean = text.strip().replace(" ", "").replace("\u00a0", "")
    if clean.count(",") == 1 and "." not in clean:
        clean = clean.replace(",", ".")
    try:
        value = Decimal(clean)
    except InvalidOperation as error:
        raise Invalid("{name}: {text!r:.40} is not a number", name=name, text=text) from error
    if not value.is_finite():
        raise Invalid("{name}: {text!r:.40} is not a number", name=name, text=text)
    return value


def positive_money(name: str, text: str) -> Decimal:
    """Return an amount of money above 0 with at most two decimals."""
    value = decimal(name, text)
    if value <= 0 or value != value.quantize(Decimal("0.01")):
        raise Invalid("{amount} is not an amount of money above 0 with at most two decimals", amount=value)
    return value


def optional_decimal(name: str, text: str) -> Decimal | None:
    """Return a number, or None for an empty field."""
    return decimal(name, text) if text.strip() else None


def local_date(name: str, text: str, otherwise: date) -> date:
    """Return the day of a date field; `otherwise` when it is empty."""
    if not text.strip():
        return otherwise
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise Invalid("{name}: {text!r:.40} is not a date; write 2026-03-10", name=name, text=text) from error
