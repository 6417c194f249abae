"""A simulated year with known truth, through the real ingest, ledger and bill runs: every bill equals plain loops.

The computation here shares nothing with ours: it walks quarter hours with fractions, by hours and rules written down
again from the notices. The year has two moves in the middle of a month, a vacancy, another room for a tenant, a shared
meter, common areas by area, a meter exchange, a gap, readings that arrive after their month was billed, Spring Festival
and the change of the whole tariff on 1 July. A second site keeps German summer time.
"""

import math
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import httpx
import pytest

from cloud_api.billing import corrections, verification
from cloud_api.billing import service as billing
from cloud_api.billing.cli import TEMPLATES
from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.identity.model import StaffViewer
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.main import create_app
from cloud_api.metering.corrections import Author
from cloud_api.metering.exchanges import exchange
from cloud_api.metering.recompute import recompute_due
from cloud_api.operations.site_import.model import EstateFile
from cloud_api.settings import Settings
from tests.integration.billing import small_site
from tests.integration.billing.small_site import SmallSite, estate

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
AFTERWARDS = fixed_clock(datetime(2027, 1, 5, 2, 0, tzinfo=UTC))
QUARTER = timedelta(minutes=15)
BATCH_ROWS = 40_000


def half_up(value):
    cents = math.floor(abs(value) * 100 + Fraction(1, 2))
    return Fraction(cents if value >= 0 else -cents, 100)


@dataclass
class Gateway:
    """Speaks the wire's language for one gateway: cumulative counters with three decimals, every quarter of an hour."""

    http: httpx.AsyncClient
    credential: str
    stream: str = field(default_factory=lambda: str(uuid.uuid4()))
    seq: int = 1

    async def announce(self, meters):
        point = {"name": "active_energy_import", "unit": "kWh", "scale": 3, "cumulative": True}
        found = [
            {"name": m, "profile": "eastron_sdm630", "poll_s": 900, "timeout_s": 9, "points": [point]} for m in meters
        ]
        head = {"v": 1, "agent": {"version": "0.1.0", "started_at_ms": 1}, "revision": "r1"}
        await self._send("PUT", "/ingest/v1/catalogue", head | {"devices": found})

    async def send(self, meter, readings):
        """Send (instant, counter in Wh) of one meter."""
        for first in range(0, len(readings), BATCH_ROWS):
            rows = readings[first : first + BATCH_ROWS]
            body = {
                "v": 1, "stream": self.stream, "sent_at_ms": _ms(AFTERWARDS.now()), "clock_offset_ms": 0, "scales": [3],
                "points": [f"{meter}/active_energy_import"], "seq": list(range(self.seq, self.seq + len(rows))),
                "point": [0] * len(rows), "at_ms": [_ms(at) for at, _ in rows], "value": [value for _, value in rows],
                "quality": [0] * len(rows), "events": [],
            }  # fmt: skip
            receipt = await self._send("POST", "/ingest/v1/batches", body)
            assert receipt["accepted"] == [[self.seq, self.seq + len(rows) - 1]]
            self.seq += len(rows)

    async def _send(self, method, path, body):
        answer = await self.http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {self.credential}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def _ms(at):
    return int(at.timestamp() * 1000)


@pytest.fixture
async def http(database):
    settings = Settings(database_url=database.app, pool_size_max=4)
    app = create_app(settings, AFTERWARDS)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://c") as client:
        yield client


async def gateway(pool, http, meters, site_code="park"):
    async with transaction(pool, SYSTEM) as conn:
        credential = await devices.add_gateway(conn, site_code=site_code, name="gw", actor="t", now=AFTERWARDS.now())
    found = Gateway(http=http, credential=credential)
    await found.announce(meters)
    return found


def quarters(first, after, zone):
    """Every quarter of an hour as (instant, wall clock)."""
    at = datetime.fromisoformat(first).replace(tzinfo=zone).astimezone(UTC)
    stop = datetime.fromisoformat(after).replace(tzinfo=zone).astimezone(UTC)
    while at < stop:
        yield at, at.astimezone(zone)
        at += QUARTER


def some_wh(wall, seed):
    works = 8 <= wall.hour < 19 and wall.weekday() < 5
    return (wall.toordinal() * 31 + wall.hour * 17 + wall.minute + seed * 97) % 173 + (900 if works else 150) + seed


def counters(wh, start=1_000_000):
    """The counter at the end of each quarter, and at the beginning of the first."""
    value = start
    found = []
    for at, quantity in wh.items():
        found.append((at, value))
        value += quantity
        if at + QUARTER not in wh:
            found.append((at + QUARTER, value))
    return found


# --- The tariff, written down again from the notices ------------------------------------------------------------------

SPRING_AND_LABOUR = {date(2026, 2, 15) + timedelta(days=n) for n in range(9)} | {
    date(2026, 5, 1) + timedelta(days=n) for n in range(5)
}
FLOATING, FIXED = ("0.4520", "0.0185", "0.0412"), ("0.2255", "0.0292")


def price_ratio(wall):
    return ratio_of_2024(wall) if wall.date() < date(2026, 7, 1) else ratio_of_2026(wall)


def ratio_of_2024(wall):  # 浙发改价格〔2024〕21号
    h = wall.hour
    if wall.date() in SPRING_AND_LABOUR and 10 <= h < 14:
        return "0.2"
    if h < 8 or 11 <= h < 13:
        return "0.38"
    if wall.month == 1:
        return "1.98" if h in {9, 10, 15, 16} else "1" if h in {13, 14, 23} else "1.65"
    return "1" if h >= 17 else "1.65"


def ratio_of_2026(wall):  # 浙发改价格〔2026〕112号
    h = wall.hour
    golden = wall.date() in {date(2026, 10, 1), date(2026, 10, 2), date(2026, 10, 3)}
    if golden and h < 15:
        return "0.4" if h < 9 else "0.2"
    if 16 <= h < 23:
        return "2.05" if wall.month in {7, 8, 12} and 18 <= h < 22 else "1.85"
    return "0.4" if h < 7 or 11 <= h < 14 else "1"


def priced(micro_by_ratio):
    """Each floating price × ratio is a line, each plain price one line; every line is rounded half-up once."""
    lines = [
        Fraction(micro, 10**6) * Fraction(ratio) * Fraction(price)
        for ratio, micro in micro_by_ratio.items()
        for price in FLOATING
    ]
    lines += [Fraction(sum(micro_by_ratio.values()), 10**6) * Fraction(price) for price in FIXED]
    return sum((half_up(line) for line in lines), Fraction(0))


# --- Who held what, written down again from the leases ----------------------------------------------------------------


def holder(space, day):
    if space == "r1":
        return "a"
    if space == "r2":
        return "b" if day < date(2026, 3, 4) else "c" if day >= date(2026, 4, 11) else "owner"
    if space == "r3":
        return "d"
    return "a" if day >= date(2026, 8, 16) else "owner"


AREAS = {"r1": 100, "r2": 60, "r3": 30, "r4": 20}
METERS = {"m1": {"r1": Fraction(1)}, "m2": {"r2": Fraction(1)}, "m3": {"r3": Fraction(3, 5), "r4": Fraction(2, 5)}}
LEASES = [
    ("L1", "a", "r1", "2026-01-01", ""),
    ("L2", "b", "r2", "2026-01-01", "2026-03-03"),
    ("L3", "c", "r2", "2026-04-11", ""),
    ("L4", "d", "r3", "2026-01-01", ""),
    ("L5", "a", "r4", "2026-08-16", ""),
]


def shared_by_area(whole, weights, order):
    """Largest remainder: whole units down, what is left to the largest remainders, ties in the given order."""
    total = sum(weights.values())
    parts = {p: whole * weights[p] // total for p in order}
    for p in sorted(order, key=lambda p: -(whole * weights[p] % total))[: whole - sum(parts.values())]:
        parts[p] += 1
    return parts


def areas_by_month():
    """Month → party → m² × days."""
    found = defaultdict(lambda: defaultdict(int))
    for n in range(365):
        day = date(2026, 1, 1) + timedelta(days=n)
        for space, area in AREAS.items():
            found[day.month][holder(space, day)] += area
    return found


def expected_year(truth, order):
    """(month, party) → (kWh of its own meters in millionths, what its bill must say)."""
    own = defaultdict(lambda: defaultdict(int))
    common = defaultdict(int)
    for at, wall in quarters("2026-01-01", "2027-01-01", SHANGHAI):
        ratio = price_ratio(wall)
        for meter, spaces in METERS.items():
            for space, share in spaces.items():
                own[wall.month, holder(space, wall.date())][ratio] += int(truth[meter][at] * 1000 * share)
        common[wall.date(), ratio] += truth["common"][at]
    shares = defaultdict(lambda: defaultdict(int))
    weights = areas_by_month()
    for (day, ratio), wh in common.items():
        present = [p for p in order if weights[day.month].get(p)]
        for party, part in shared_by_area(wh * 1000, weights[day.month], present).items():
            shares[day.month, party][ratio] += part
    return {
        key: (sum(own[key].values()), priced(own[key]) + priced(shares[key]))
        for key in dict.fromkeys([*own, *shares])
        if own[key] or shares[key]
    }


# --- What happens in the year -----------------------------------------------------------------------------------------

METER_CODES = ("m1", "m2", "m3", "common")
PARTIES = ["owner", "a", "b", "c", "d"]
EXCHANGED_AT = datetime(2026, 7, 20, 10, 0, tzinfo=SHANGHAI).astimezone(UTC)
GAP = [datetime(2026, 5, 12, h, tzinfo=SHANGHAI) for h in (1, 7)]
LATE = [datetime(2026, 9, 8, h, tzinfo=SHANGHAI).astimezone(UTC) for h in (10, 22)]


def year_of_truth():
    """Watt hours of every meter and quarter; the main meter counts the others and 20 Wh of losses."""
    truth = {
        code: {at: some_wh(wall, seed) for at, wall in quarters("2026-01-01", "2027-01-01", SHANGHAI)}
        for seed, code in enumerate(METER_CODES, 1)
    }
    return truth | {"main": {at: sum(truth[c][at] for c in METER_CODES) + 20 for at in truth["m1"]}}


def readings_of(truth):
    """What arrives of m1 and m2: (m2 with a gap, m1 until its exchange, the new m1, what of it comes late)."""
    # A gap inside one price: what the register counted meanwhile is known, however it is spread.
    lost = [(at, v) for at, v in counters(truth["m2"]) if not GAP[0] < at < GAP[1]]
    old = [(at, v) for at, v in counters(truth["m1"]) if at <= EXCHANGED_AT]
    # The new counter begins at 5 kWh.
    new = counters({at: q for at, q in truth["m1"].items() if at >= EXCHANGED_AT}, start=5_000)[1:]
    return lost, old, new, [(at, v) for at, v in new if LATE[0] < at < LATE[1]]


async def test_every_bill_of_a_year_with_moves_exchange_gap_late_data_and_a_new_tariff_equals_plain_loops(pool, http):
    truth = year_of_truth()
    lost, old, new, late = readings_of(truth)
    async with transaction(pool, SYSTEM) as conn:
        site = SmallSite(conn)
        file = estate({"m1": ["r1"], "m2": ["r2"], "m3": ["r3", "r4"]}, areas=AREAS)
        tariff = (TEMPLATES / "zhejiang-2026-demo.yaml").read_text(encoding="utf-8")
        await site.build(file, LEASES, tariff=tariff, common={"area": 1}, residual="landlord")
    edge = await gateway(pool, http, truth)
    await edge.send("common", counters(truth["common"]))
    await edge.send("main", counters(truth["main"]))
    await edge.send("m3", counters(truth["m3"]))
    await edge.send("m2", lost)
    await edge.send("m1", old)
    async with transaction(pool, SYSTEM) as conn:
        [register] = await (
            await conn.execute("SELECT r.id FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code = 'm1'")
        ).fetchone()
        viewer = StaffViewer(
            user_id=1, organisation_id=site.site.organisation_id, login="t", name="t", roles=frozenset(), language="en"
        )
        author = Author(viewer=viewer, clock=AFTERWARDS, reason="meter exchanged")
        values = {"closing": Decimal(old[-1][1]) / 1000, "opening": Decimal(5)}
        await exchange(conn, author, register, at=EXCHANGED_AT, **values)
    await edge.send("m1", [r for r in new if r not in set(late)])

    async with transaction(pool, SYSTEM) as conn:
        codes = dict(await (await conn.execute("SELECT code, id FROM tenant ORDER BY id")).fetchall())
        await settle(conn, AFTERWARDS)
        runs = {}
        for month in range(1, 13):
            run_id = await billing.run_and_issue(conn, site.site, f"2026-{month:02d}", actor="t", clock=AFTERWARDS)
            runs[month] = await billing.get_run(conn, run_id)
    expected = expected_year(truth, list(codes))
    found = {
        (month, b["tenant_code"]): (int(Decimal(b["quantity"]) * 10**6), Fraction(b["total"]))
        for month, run in runs.items()
        for b in run["bills"]
        if b["kind"] == "bill"
    }
    wrong_until_late_data_come = (9, "a")
    assert found.pop(wrong_until_late_data_come)[0] == expected[wrong_until_late_data_come][0]
    assert found == {k: v for k, v in expected.items() if k[1] != "owner" and k != wrong_until_late_data_come}
    assert len(found) == 12 * 2 + 3 + 9 - 1  # a and d all year, b for three months, c for nine.
    owner = {
        m: int(Decimal(b["quantity"]) * 10**6) for m, r in runs.items() for b in r["bills"] if b["kind"] == "owner"
    }
    assert owner == {m: expected.get((m, "owner"), (0, 0))[0] for m in runs}
    for run in runs.values():
        parts = [Decimal(run["summary"][k]) for k in ("tenants_kwh", "owner_kwh", "common_kwh", "loss_kwh")]
        assert sum(parts) == Decimal(run["summary"]["main_kwh"])

    # The readings that were missing arrive after September was billed: a correction is proposed and accepted.
    await edge.send("m1", late)
    async with transaction(pool, SYSTEM) as conn:
        later = fixed_clock(AFTERWARDS.now() + timedelta(hours=1))
        await settle(conn, later)
        assert await corrections.propose_adjustments(conn, later) == 1
        [proposal] = await corrections.list_adjustments(conn, site.site.organisation_id)
        documents = await corrections.decide_adjustment(
            conn, proposal["id"], accept=True, reason="late readings", actor="boss", clock=later
        )
        rebill = await billing.get_bill(conn, documents["rebill"])
        assert Fraction(rebill["total"]) == expected[wrong_until_late_data_come][1]
        assert Fraction(rebill["total"]) - Fraction(proposal["difference"]) != expected[wrong_until_late_data_come][1]
        verdicts = await verification.verify_run(
            conn, runs[7]["id"]
        )  # The month of the exchange and of the new tariff.
        assert [v.differences for v in verdicts] == [()] * len(verdicts)


def without(day, space, party):
    """Return `holder` in a year in which one thing did not happen: on that space and from that day `party` holds."""
    really = holder
    return lambda s, d: party if s == space and d >= day else really(s, d)


FAIR = {"m3": {"r3": Fraction(1), "r4": Fraction(0)}}
EVENTS = {
    "b moves out on 3 March": ("holder", without(date(2026, 3, 4), "r2", "b"), [3, 4]),
    "c moves in on 11 April": ("holder", without(date(2026, 4, 11), "r2", "owner"), [4, 12]),
    "a takes another room on 16 August": ("holder", without(date(2026, 8, 16), "r4", "owner"), [8, 12]),
    "two rooms share a meter": ("METERS", METERS | FAIR, [1, 12]),
    "common areas are shared by area": ("AREAS", dict.fromkeys(AREAS, 50), [1, 12]),
    "the tariff changes on 1 July": ("price_ratio", ratio_of_2024, [7, 12]),
    "Spring Festival": ("SPRING_AND_LABOUR", {d for d in SPRING_AND_LABOUR if d.month == 5}, [2]),
    "Labour Day": ("SPRING_AND_LABOUR", {d for d in SPRING_AND_LABOUR if d.month == 2}, [5]),
    "the meters count": ("some_wh", lambda _wall, seed: 150 + seed, [1, 12]),
}


@pytest.fixture(scope="module")
def told_year():
    truth = year_of_truth()
    return truth, expected_year(truth, PARTIES)


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_of_the_year_changes_the_bills_of_its_months(told_year, event, monkeypatch):
    truth, expected = told_year
    name, instead, months = EVENTS[event]
    monkeypatch.setattr(f"{__name__}.{name}", instead)
    other = expected_year(year_of_truth() if name == "some_wh" else truth, PARTIES)
    changed = {key[0] for key in {*expected, *other} if expected.get(key) != other.get(key)}
    assert changed >= set(months)
    if len(months) == 1:
        assert changed == set(months)  # A festival changes its own month alone.


def test_the_gap_the_exchange_and_the_late_readings_are_in_what_arrives(told_year):
    truth, _ = told_year
    lost, old, new, late = readings_of(truth)
    missing = {at for at, _ in counters(truth["m2"])} - {at for at, _ in lost}
    assert len(missing) == 6 * 4 - 1
    assert (
        len({price_ratio(at.astimezone(SHANGHAI)) for at in missing}) == 1
    )  # However it is spread, it costs the same.
    assert new[0][1] < old[-1][1]  # A counter that fell: without the exchange the ledger could not bill it.
    assert sum(truth["m1"].values()) == old[-1][1] - old[0][1] + new[-1][1] - 5_000
    assert len(late) == 12 * 4 - 1
    assert set(late) < set(new)
    assert len({price_ratio(at.astimezone(SHANGHAI)) for at, _ in late}) > 1  # Spread evenly it costs something else.


async def settle(conn, clock):
    while (await recompute_due(conn, clock)).registers:
        pass


# --- Summer time ------------------------------------------------------------------------------------------------------

GERMAN = """
tariff: german
name: {zh: 德国, en: German}
currency: EUR
time_zone: Europe/Berlin
versions:
  - version: v1
    valid_from: 2020-01-01
    windows:
      - {bucket: night, hours: ["00:00-06:00", "22:00-24:00"]}
      - {bucket: day, hours: ["06:00-22:00"]}
    components:
      - code: energy
        name: {zh: 电量, en: Energy}
        kind: energy
        prices: {night: 0.1937, day: 0.3121}
        vat_rate: 0.19
        tax_included: false
      - {code: basic, name: {zh: 基本费, en: Standing charge}, kind: per_day, price: 0.41, vat_rate: 0.19, tax_included: false}
"""


async def test_bills_over_both_clock_changes_equal_plain_loops(pool, http, monkeypatch):
    monkeypatch.setattr(small_site, "CLOCK", AFTERWARDS)
    months = [("2026-03-01", "2026-04-01"), ("2026-10-01", "2026-11-01")]
    walls = {at: wall for first, after in months for at, wall in quarters(first, after, BERLIN)}
    truth = {"m1": {at: some_wh(wall, 3) for at, wall in walls.items()}, "common": dict.fromkeys(walls, 100)}
    truth["main"] = {at: truth["m1"][at] + 110 for at in truth["m1"]}
    async with transaction(pool, SYSTEM) as conn:
        site = SmallSite(conn)
        raw = estate({"m1": ["r1"]}, areas={"r1": 80}).model_dump(mode="json")
        raw["site"] |= {"time_zone": "Europe/Berlin", "currency": "EUR"}
        leases = [("L1", "a", "r1", "2026-01-01", "")]
        await site.build(EstateFile.model_validate(raw), leases, tariff=GERMAN)
    edge = await gateway(pool, http, truth)
    for code, wh in truth.items():
        await edge.send(code, counters(wh))
    hours = {3: 31 * 24 - 1, 10: 31 * 24 + 1}  # One hour is missing in March and comes twice in October.
    async with transaction(pool, SYSTEM) as conn:
        await settle(conn, AFTERWARDS)
        for month in (3, 10):
            run_id = await billing.run_and_issue(conn, site.site, f"2026-{month:02d}", actor="t", clock=AFTERWARDS)
            [bill] = [b for b in (await billing.get_run(conn, run_id))["bills"] if b["kind"] == "bill"]
            energy = {"night": 0, "day": 0}
            count = 0
            for at, wall in quarters(f"2026-{month:02d}-01", f"2026-{month + 1:02d}-01", BERLIN):
                energy["day" if 6 <= wall.hour < 22 else "night"] += truth["m1"][at]
                count += 1
            assert count == hours[month] * 4
            prices = {"night": Fraction("0.1937"), "day": Fraction("0.3121")}
            net = sum(half_up(Fraction(wh, 1000) * prices[b]) for b, wh in energy.items())
            net += half_up(31 * Fraction("0.41"))
            assert Fraction(bill["total"]) == net + half_up(net * Fraction("0.19"))
            assert Fraction(bill["quantity"]) == Fraction(sum(energy.values()), 1000)
