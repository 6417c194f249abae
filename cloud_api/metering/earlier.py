"""The interval ledger as it was known at an instant: what was corrected since, and what was not there yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering.packs import GRADES

queries = load_queries(__file__, "earlier.sql")

IntervalKey = tuple[int, int]
"""Register, and start in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Where today's ledger differs from the one of an instant; what is named nowhere is the same."""

    before: Mapping[IntervalKey, tuple[Decimal, int]] = field(default_factory=dict[IntervalKey, tuple[Decimal, int]])
    """Quantity and place in `packs.GRADES` of intervals that were corrected or removed since."""
    later: frozenset[IntervalKey] = frozenset()
    """Intervals that were not there yet."""


async def changes_since(
    conn: AsyncConnection, registers: Sequence[RegisterId], period: Period, instant: datetime
) -> Changes:
    """Return what changed in the registers' intervals of a period after an instant."""
    values = {"register_id": list(registers), "start": period.start, "end": period.end, "instant": instant}
    before = await (await conn.execute(queries.superseded_since, values)).fetchall()
    later = await (await conn.execute(queries.added_since, values)).fetchall()
    return Changes(
        before={(register, start): (quantity, GRADES.index(quality)) for register, start, quantity, quality in before},
        later=frozenset((register, start) for register, start in later),
    )
