"""From passages to people: pure rules.

A sum of entries and exits drifts without bound, so it begins anew each day at the building's quietest hour and is never
below zero (see README.md).
"""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from cloud_api.occupancy.model import Counted, PeopleNow

RESET_AT = time(4, 0)


def last_reset(now: datetime, zone: ZoneInfo, reset_at: time = RESET_AT) -> datetime:
    """Return the latest reset not after `now`, in local time of the site."""
    local = now.astimezone(zone)
    today = datetime.combine(local.date(), reset_at, zone)
    return today if today <= local else datetime.combine(local.date() - timedelta(days=1), reset_at, zone)


def people_now(counted: Iterable[Counted]) -> PeopleNow:
    """Return entries minus exits over all counters, not below zero."""
    rows = list(counted)
    entered = sum(row.passages for row in rows if row.role == "people_in")
    left = sum(row.passages for row in rows if row.role == "people_out")
    return PeopleNow(
        count=max(0, round(entered - left)) if rows else None,
        entered=round(entered),
        last_at=max((row.last_at for row in rows), default=None),
    )
