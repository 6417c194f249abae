"""The worker's ledger, event by event, equals the ledger of everything at once, and what is undone leaves no trace."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from cloud_api.db.pool import transaction
from cloud_api.kit.errors import DomainError
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import corrections, exchanges
from cloud_api.metering import ledger_store as store
from cloud_api.metering.ledger import compute
from cloud_api.metering.recompute import rules_of, with_edits
from tests.integration.ingest.conftest import NOW_MS
from tests.integration.metering.conftest import ENERGY
from tests.integration.metering.test_corrections import author, staff  # noqa: F401

MIN = 60_000
DAY_MS = 1440 * MIN
minute = st.integers(1, 600)
value = st.integers(0, 90)
kinds = st.sampled_from(["ratio", "reversed", "unit", "wiring"])
# What may happen to a register, in any order: readings arrive, people decide and take back, the worker recomputes.
events = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.integers(0, 79), min_size=1, max_size=25)),
    st.tuples(st.just("arrive"), st.lists(st.integers(0, 79), min_size=1, max_size=25)),
    st.tuples(st.just("recompute")),
    st.tuples(st.just("exchange"), minute, value, value),
    st.tuples(st.just("reset"), minute, st.none() | value, value),
    st.tuples(st.just("factor"), minute, kinds, st.sampled_from([40, 60, Decimal("0.001")])),
    st.tuples(st.just("modulus"), st.sampled_from([None, 100, 1000])),
    st.tuples(st.just("exclude"), st.integers(0, 79), st.none() | value),
    st.tuples(st.just("by hand"), minute, value),
    st.tuples(st.just("edit"), st.integers(0, 39), value),
    st.tuples(st.just("undo"), st.integers(0, 9)),
)
courses = st.lists(
    st.tuples(st.sampled_from([1, 1, 2, 5, 15, 60]), st.integers(0, 3), st.integers(0, 9)), min_size=80, max_size=80
)


class Life:
    """One register of its own day, with what happens to it."""

    def __init__(self, edge, meters, author, meter, register, start_ms, course):  # noqa: F811
        self.edge, self.meters, self.author, self.meter = edge, meters, author, meter
        self.registers, self.living, self.start_ms = [register], [register], start_ms
        self.readings, at, shown = [], start_ms, 10
        for pause, used, dice in course:
            at, shown = at + pause * MIN, shown + used
            self.readings.append((at, 0 if dice == 0 else shown))

    def at(self, minutes):
        return datetime.fromtimestamp(self.start_ms / 1000, UTC) + timedelta(minutes=minutes, seconds=7)

    async def happen(self, event, seq):
        name, *details = event
        if name == "arrive":
            await self.edge.send(sorted((next(seq), ENERGY, *self.readings[n]) for n in details[0]))
        elif name == "recompute":
            await self.meters.recompute()
        else:
            try:
                async with staff(self.meters) as conn:
                    await getattr(self, name.replace(" ", "_"))(conn, *details)
            except DomainError:
                pass  # What contradicts the readings is refused, and changes nothing.

    async def exchange(self, conn, minutes, closing, opening):
        successor = await exchanges.exchange(
            conn, self.author, self.living[-1], at=self.at(minutes), closing=Decimal(closing),
            opening=Decimal(opening),
        )  # fmt: skip
        self.registers.append(successor)
        self.living.append(successor)

    async def reset(self, conn, minutes, stop, start):
        await corrections.declare_reset(
            conn, self.author, self.living[-1], at=self.at(minutes), start=Decimal(start),
            stop=None if stop is None else Decimal(stop),
        )  # fmt: skip

    async def factor(self, conn, minutes, cause, number):
        multiplier = None if cause == "reversed" else Decimal(number)
        await corrections.change_multiplier(
            conn, self.author, self.living[-1], at=self.at(minutes), multiplier=multiplier, cause=cause
        )

    async def modulus(self, conn, modulus):
        known = None if modulus is None else Decimal(modulus)
        await corrections.set_modulus(conn, self.author, self.living[-1], modulus=known)

    async def exclude(self, conn, n, right):
        taken_at = datetime.fromtimestamp(self.readings[n][0] / 1000, UTC)
        await corrections.exclude_reading(
            conn, self.author, self.living[-1], taken_at=taken_at,
            correct_value=None if right is None else Decimal(right),
        )  # fmt: skip

    async def by_hand(self, conn, minutes, shown):
        await corrections.add_reading(
            conn, self.author, self.living[-1], taken_at=self.at(minutes), value=Decimal(shown)
        )

    async def edit(self, conn, slot, quantity):
        starts_at = datetime.fromtimestamp(self.start_ms / 1000, UTC) + slot * timedelta(minutes=15)
        await corrections.edit_interval(
            conn, self.author, self.living[-1], starts_at=starts_at, quantity=Decimal(quantity)
        )

    async def undo(self, conn, n):
        standing = [d for d in await corrections.decisions(conn, self.meter) if d.undone_at is None]
        if standing:
            await self._take_back(conn, standing[n % len(standing)])

    async def undo_all(self):
        """Take every decision back, the newest first, whatever it is."""
        async with staff(self.meters) as conn:
            standing = [d for d in await corrections.decisions(conn, self.meter) if d.undone_at is None]
            exchanged = [d for d in standing if d.kind == "exchange"]
            for decision in [*[d for d in standing if d.kind != "exchange"], *exchanged]:
                if decision.kind != "exchange":
                    await self._take_back(conn, decision)
            await conn.execute("DELETE FROM reading WHERE source = 'manual'")
            for decision in exchanged:
                await self._take_back(conn, decision)

    async def _take_back(self, conn, decision):
        if decision.kind == "exchange":
            await exchanges.undo(conn, self.author, decision.id)
            self.living.pop()
        else:
            await corrections.undo(conn, self.author, decision.register_id, kind=decision.kind, decision_id=decision.id)

    async def stored(self):
        return {
            (i.register_id, store.to_ms(i.starts_at)): (i.quantity, i.quality, i.method, i.reason)
            for i in await self.meters.ledger(*self.registers)
        }

    async def at_once(self):
        """Return the ledger of all readings together, read in the plainest way."""
        async with transaction(self.meters.pool, SYSTEM) as conn:
            rules = await rules_of(conn, await store.registers(conn, self.registers))
            edits = await store.edits(conn, self.registers)
            found = {}
            for register, known in rules.items():
                course = await self._course(conn, register)
                computed = compute(course, known, start_ms=0, end_ms=10**13)
                for _, i in with_edits([(register, c) for c in computed], edits):
                    found[register, i.start_ms] = (i.quantity, str(i.quality), str(i.method), str(i.reason))
        return found

    async def _course(self, conn, register):
        """Return what counts at each instant: a correction, else an entered reading, else the largest of telemetry."""
        cursor = await conn.execute(
            "SELECT r.taken_at, r.value FROM register_reading r WHERE r.register_id = %s AND (r.source = 'correction' OR NOT"
            " EXISTS (SELECT 1 FROM reading_exclusion x WHERE x.register_id = r.register_id AND x.taken_at = r.taken_at"
            " AND x.undone_at IS NULL)) ORDER BY r.source = 'correction', r.source <> 'telemetry', r.value",
            (register,),
        )
        return sorted({store.to_ms(at): store.to_units(value) for at, value in await cursor.fetchall()}.items())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(course=courses, story=st.lists(events, min_size=5, max_size=30))
async def test_event_by_event_equals_all_at_once_and_undoing_all_equals_never(edge, meters, author, course, story):  # noqa: F811
    if not hasattr(edge, "lives"):
        await edge.announce()
        edge.lives, edge.numbers = count(2), count(1)
    start_ms = NOW_MS - next(edge.lives) * DAY_MS
    opens, closes = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (start_ms, start_ms + DAY_MS))
    meter = await meters.meter(f"m{start_ms}")
    register = await meters.register(
        meter, point_id=await meters.point(), open_period=f"[{opens.isoformat()},{closes.isoformat()})"
    )
    life = Life(edge, meters, author, meter, register, start_ms, course)
    note(f"{story}\n{life.readings}")
    for event in story:
        await life.happen(event, edge.numbers)
    await life.happen(("arrive", range(80)), edge.numbers)
    await meters.recompute()
    assert await life.stored() == await life.at_once()

    await life.undo_all()
    await meters.recompute()
    stored = await life.stored()
    assert stored == await life.at_once()
    assert {register for register, _ in stored} <= {register}
    never = compute(
        [(at, shown * 10**6) for at, shown in life.readings if at < start_ms + DAY_MS], (await _rules(meters, register)),
        start_ms=0, end_ms=10**13,
    )  # fmt: skip
    assert [q for q, *_ in stored.values()] == [i.quantity for i in never]


async def _rules(meters, register):
    async with transaction(meters.pool, SYSTEM) as conn:
        return (await rules_of(conn, await store.registers(conn, [register])))[register]
