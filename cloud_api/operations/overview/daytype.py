"""Working days and days off, by the Chinese calendar with its exchanged weekends."""

from collections.abc import Iterator
from datetime import date, timedelta

import chinese_calendar

LOOK_BACK_DAYS = 60


def is_working_day(day: date) -> bool:
    """Whether offices work; beyond the years that the calendar knows, Monday to Friday."""
    try:
        return chinese_calendar.is_workday(day)
    except NotImplementedError:
        return day.weekday() < 5


def similar_days(day: date, count: int) -> Iterator[date]:
    """Yield the last `count` days before `day` of the same type, newest first."""
    kind = is_working_day(day)
    found = 0
    for back in range(1, LOOK_BACK_DAYS + 1):
        candidate = day - timedelta(days=back)
        if is_working_day(candidate) == kind:
            yield candidate
            found += 1
            if found == count:
                return
