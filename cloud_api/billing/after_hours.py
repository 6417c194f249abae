"""Air conditioning after hours on the bill: who ran a zone when, and what share of its hours each pays. Pure.

Tenants who use one zone (the equipment that serves their spaces) at the same time share the hour equally; the parts
sum to the whole, to the millionth of an hour.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from cloud_api.billing.charge import Slice, Usage
from cloud_api.billing.timetable import Run
from cloud_api.kit.money import share_largest_remainder

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An approved request: a tenant's zone runs from `starts_at` to before `ends_at`."""

    tenant_id: int
    zone: str
    starts_at: datetime
    ends_at: datetime


def usage_by_tenant(bookings: Sequence[Booking], runs: Sequence[Run]) -> Mapping[int, Usage]:
    """Return each tenant's hours per bucket of the tariff; bookings are cut where the runs and other bookings begin."""
    hours: defaultdict[int, defaultdict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    starts = [run.start for run in runs]
    by_zone: defaultdict[str, list[Booking]] = defaultdict(list)
    for booking in bookings:
        by_zone[booking.zone].append(booking)
    for zone in sorted(by_zone):
        own = by_zone[zone]
        edges = sorted(
            {e for b in own for e in (b.starts_at, b.ends_at)} | set(starts) | {runs[-1].end} if runs else ()
        )
        for first, last in pairwise(edges):
            tenants = sorted({b.tenant_id for b in own if b.starts_at <= first and last <= b.ends_at})
            index = bisect_right(starts, first) - 1
            if tenants and index >= 0 and first < runs[index].end:
                micro = (last - first) * _MICRO // timedelta(hours=1)
                key = (runs[index].version, runs[index].bucket)
                parts = share_largest_remainder(micro, [1] * len(tenants))
                for tenant, part in zip(tenants, parts, strict=True):
                    hours[tenant][key] += part
    return {
        tenant: Usage(
            slices=tuple(
                Slice(version=version, bucket=bucket, quantity=Decimal(micro).scaleb(-6))
                for (version, bucket), micro in sorted(found.items())
            )
        )
        for tenant, found in sorted(hours.items())
    }
