"""Which days people work in China: weekends, public holidays and the weekend days worked in exchange."""

from datetime import date
from enum import Enum


class DayKind(Enum):
    """How a day is spent."""

    WORKDAY = "workday"
    EXCHANGED = "exchanged"  # A weekend day worked for a holiday (调休).
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


# State Council notices for 2025 and 2026. For 2027 only the statutory days are entered: the notice with the exchanged
# days was not published when this was written, and a simulator may be a few days wrong.
_HOLIDAYS = {
    2025: ("0101", "0128-0204", "0404-0406", "0501-0505", "0531-0602", "1001-1008"),
    2026: ("0101-0103", "0215-0223", "0404-0406", "0501-0505", "0619-0621", "0925-0927", "1001-1007"),
    2027: ("0101-0103", "0205-0211", "0405", "0501-0502", "0609", "0915", "1001-1003"),
}
_EXCHANGED = {
    2025: ("0126", "0208", "0427", "0928", "1011"),
    2026: ("0104", "0214", "0228", "0509", "0920", "1010"),
    2027: (),
}


def _days(year: int, texts: tuple[str, ...]) -> frozenset[date]:
    days: set[date] = set()
    for text in texts:
        first, _, last = text.partition("-")
        start = date(year, int(first[:2]), int(first[2:]))
        end = date(year, int(last[:2]), int(last[2:])) if last else start
        days.update(date.fromordinal(n) for n in range(start.toordinal(), end.toordinal() + 1))
    return frozenset(days)


HOLIDAYS = frozenset().union(*(_days(year, texts) for year, texts in _HOLIDAYS.items()))
EXCHANGED = frozenset().union(*(_days(year, texts) for year, texts in _EXCHANGED.items()))


def day_kind(day: date) -> DayKind:
    """Return what kind of day it is; beyond the known years only weekends are told apart."""
    if day in HOLIDAYS:
        return DayKind.HOLIDAY
    if day in EXCHANGED:
        return DayKind.EXCHANGED
    return DayKind.WEEKEND if day.weekday() >= 5 else DayKind.WORKDAY
