import random
from datetime import timedelta
from decimal import Decimal

import pytest

from cloud_api.kit.errors import Invalid
from cloud_api.metering import corrections, exchanges
from cloud_api.metering.corrections import CorrectionRefused
from cloud_api.metering.exchanges import Photo
from tests.integration.metering.conftest import ENERGY
from tests.integration.metering.test_corrections import MIN, START, at, author, register, staff  # noqa: F401

JPEG = b"\xff\xd8\xff\xe0 a photograph"


def _same(intervals):
    return [(i.starts_at, i.quantity, i.quality, i.method, i.reason) for i in intervals]


async def _exchange(meters, author, register, **arguments):  # noqa: F811
    async with staff(meters) as conn:
        return await exchanges.exchange(
            conn, author, register, **{"at": at(60), "closing": Decimal("12.5"), "opening": Decimal("0.25")} | arguments
        )


async def _only_exchange(meters, register):  # noqa: F811
    [[found]] = await meters.execute(
        "SELECT id FROM meter_exchange WHERE register_id = %s AND undone_at IS NULL", register
    )
    return found


async def test_an_undone_exchange_leaves_the_ledger_as_it_was(edge, meters, author, register):  # noqa: F811
    before = _same(await meters.ledger(register))
    new = await _exchange(meters, author, register)
    await meters.recompute()
    assert _same(await meters.ledger(register)) != before
    async with staff(meters) as conn:
        await exchanges.undo(conn, author, await _only_exchange(meters, register))
    await meters.recompute()
    assert _same(await meters.ledger(register)) == before
    assert await meters.ledger(new) == []
    await edge.send([(40, ENERGY, START + 75 * MIN, 15_000)])  # What comes later counts on the old register again.
    await meters.recompute()
    assert sum(i.quantity for i in await meters.ledger(register)) == 15
    with pytest.raises(CorrectionRefused):
        async with staff(meters) as conn:
            await exchanges.undo(conn, author, 1)


_STANDING = {
    "multiplier": lambda *known: corrections.change_multiplier(*known, at=at(90), multiplier=Decimal(2)),
    "modulus": lambda *known: corrections.set_modulus(*known, modulus=Decimal(1000)),
    "reset": lambda *known: corrections.declare_reset(*known, at=at(90), start=Decimal(0), stop=None),
    "edit": lambda *known: corrections.edit_interval(*known, starts_at=at(75), quantity=Decimal(1)),
    "reading": lambda *known: corrections.add_reading(*known, taken_at=at(90), value=Decimal(5)),
    "exchange": lambda *known: exchanges.exchange(*known, at=at(90), closing=Decimal(50), opening=Decimal(0)),
}


@pytest.mark.parametrize("decide", _STANDING.values(), ids=_STANDING)
async def test_an_exchange_on_which_something_stands_is_not_undone(meters, author, register, decide):  # noqa: F811
    new = await _exchange(meters, author, register)
    first = await _only_exchange(meters, register)
    async with staff(meters) as conn:
        await decide(conn, author, new)
    with pytest.raises(CorrectionRefused, match="undo them first"):
        async with staff(meters) as conn:
            await exchanges.undo(conn, author, first)


async def test_photographs_of_both_displays_stay_with_the_exchange(meters, author, register):  # noqa: F811
    photos = tuple(Photo(side=side, media_type="image/jpeg", content=JPEG) for side in ("old", "new"))
    await _exchange(meters, author, register, photos=photos)
    async with staff(meters) as conn:
        [meter_id] = [r["meter_id"] for r in [await corrections.register_of(conn, register)]]
        [decision] = [d for d in await corrections.decisions(conn, meter_id) if d.kind == "exchange"]
        assert [p["side"] for p in decision.photos] == ["old", "new"]
        assert await exchanges.photo(conn, decision.photos[0]["id"]) == (JPEG, "image/jpeg")


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("image/jpeg", b"<script>"),
        ("text/html", b"<html>"),
        ("image/png", b""),
        ("image/jpeg", JPEG + b"0" * 5_000_000),
    ],
)
def test_what_is_no_photograph_or_too_large_is_refused(media_type, content):
    with pytest.raises(Invalid):
        Photo(side="old", media_type=media_type, content=content)


async def test_the_successor_keeps_the_ratio_that_held_at_the_exchange(meters, author, register):  # noqa: F811
    async with staff(meters) as conn:
        await corrections.change_multiplier(conn, author, register, at=at(30), multiplier=Decimal(80))
    new = await _exchange(meters, author, register)
    [[multiplier]] = await meters.execute("SELECT multiplier FROM register WHERE id = %s", new)
    assert multiplier == 80


async def test_an_undone_ratio_gives_way_to_the_one_before(meters, author, register):  # noqa: F811
    async with staff(meters) as conn:
        await corrections.change_multiplier(conn, author, register, at=at(15), multiplier=Decimal(2))
        await corrections.change_multiplier(conn, author, register, at=at(30), multiplier=None, cause="reversed")
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 6, -6, -6]
    [[last]] = await meters.execute("SELECT max(id) FROM register_multiplier")
    async with staff(meters) as conn:
        await corrections.undo(conn, author, register, kind="multiplier", decision_id=last)
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 6, 6, 6]


async def test_another_unit_counts_from_its_instant_on(meters, author, register):  # noqa: F811
    async with staff(meters) as conn:
        factor = await corrections.change_multiplier(
            conn, author, register, at=at(30), multiplier=Decimal("0.001"), cause="unit"
        )
    assert factor == Decimal("0.001")
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 3, Decimal("0.003"), Decimal("0.003")]


async def test_a_known_range_makes_a_fall_energy_until_undone(edge, meters, author, register):  # noqa: F811
    await edge.send([(40 + n, ENERGY, START + (60 + n * 5) * MIN, 400 + n * 100) for n in range(1, 4)])
    await meters.recompute()
    assert "missing" in {i.quality for i in await meters.ledger(register)}
    async with staff(meters) as conn:
        await corrections.set_modulus(conn, author, register, modulus=Decimal(13))
    await meters.recompute()
    ledger = await meters.ledger(register)
    assert sum(i.quantity for i in ledger) == 12 + 1 + Decimal("0.7")
    assert "missing" not in {i.quality for i in ledger}
    async with staff(meters) as conn:
        await corrections.undo(conn, author, register, kind="modulus", decision_id=1)
    await meters.recompute()
    assert "missing" in {i.quality for i in await meters.ledger(register)}


@pytest.mark.parametrize("seed", range(4))
async def test_any_course_of_decisions_gives_the_ledger_of_what_stands(edge, meters, author, register, seed):  # noqa: F811
    """Decide and undo at random with recomputation at random in between: the ledger equals one computed at the end."""
    rng = random.Random(seed)
    seq = 100
    for step in range(12):
        choice = rng.choice(["exchange", "undo", "ratio", "reset", "late", "recompute"])
        instant = at(61 + step) + timedelta(seconds=rng.randrange(60))
        try:
            async with staff(meters) as conn:
                rows = await (await conn.execute(
                    "SELECT id, successor_id FROM meter_exchange WHERE undone_at IS NULL ORDER BY id DESC LIMIT 1"
                )).fetchall()  # fmt: skip
                current = rows[0][1] if rows else register
                if choice == "exchange":
                    await exchanges.exchange(
                        conn, author, current, at=instant, closing=Decimal(20 + step), opening=Decimal(step)
                    )
                elif choice == "undo" and rows:
                    await exchanges.undo(conn, author, rows[0][0])
                elif choice == "ratio":
                    await corrections.change_multiplier(
                        conn, author, current, at=instant, multiplier=Decimal(rng.choice([1, 2, -1]))
                    )
                elif choice == "reset":
                    await corrections.declare_reset(
                        conn, author, current, at=instant, stop=Decimal(30 + step), start=Decimal(1)
                    )
        except CorrectionRefused:
            pass
        if choice == "late":
            seq += 1
            await edge.send([(seq, ENERGY, START + rng.randrange(5, 75) * MIN + 7, 12_500 + seq)])
        elif choice == "recompute":
            await meters.recompute()
    await meters.recompute()
    ids = [row[0] for row in await meters.execute("SELECT id FROM register ORDER BY id")]
    found = {i: _same(await meters.ledger(i)) for i in ids}
    await meters.execute("DELETE FROM interval WHERE register_id = ANY (%s)", ids)
    await meters.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT unnest(%s::bigint[]), '-infinity', 'infinity'",
        ids,
    )
    await meters.recompute()
    assert {i: _same(await meters.ledger(i)) for i in ids} == found
