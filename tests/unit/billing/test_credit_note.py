"""Whatever is credited in whatever order, a bill and its notes end at zero."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing.charge import Line
from cloud_api.billing.credit_note import left_of, part_snapshot, reversed_snapshot
from cloud_api.billing.resale import recovered_of
from cloud_api.billing.snapshot import line_of
from cloud_api.billing.tariff import Label
from cloud_api.billing.vat import close

rows = st.lists(
    st.tuples(st.integers(1, 10**7), st.sampled_from(["0", "0.06", "0.09", "0.13"]), st.booleans()),
    min_size=1,
    max_size=6,
)


def bill_of(rows):
    lines = [
        Line(
            component=f"c{i}", name=Label(zh="项", en="Item"), kind="energy", version="v", starts_on=date(2026, 10, 1),
            ends_on=date(2026, 11, 1), quantity=Fraction(1), unit="kWh", unit_price=Fraction(cents, 100),
            amount_exact=Fraction(cents, 100), amount=Decimal(cents).scaleb(-2), vat_rate=Decimal(rate),
            tax_included=included,
        )
        for i, (cents, rate, included) in enumerate(rows)
    ]  # fmt: skip
    rated = close(lines)
    vat = [
        {"rate": str(g.rate), "included": g.tax_included, "net": str(g.net), "tax": str(g.tax), "gross": str(g.gross)}
        for g in rated.vat
    ]
    sums = {key: str(sum((getattr(g, key) for g in rated.vat), Decimal(0))) for key in ("net", "tax")}
    snapshot = {"lines": [line_of(line) for line in rated.lines], "vat": vat, "total": str(rated.total)} | sums
    return {"number": "B1", "snapshot": snapshot | {"kind": "bill", "issues": []}}


def summed(snapshots, key):
    return sum(Decimal(s[key]) for s in snapshots)


@given(rows, st.data())
def test_notes_over_lines_and_amounts_sum_with_their_bill_to_zero(rows, data):
    bill = bill_of(rows)
    notes = []
    while left := {n: a for n, a in left_of(bill["snapshot"], notes).items() if a}:
        chosen = data.draw(st.lists(st.sampled_from(sorted(left)), min_size=1, unique=True))
        whole = len(notes) > 4 or data.draw(st.booleans())
        parts = {
            n: None if whole else Decimal(data.draw(st.integers(1, int(left[n] * 100)))).scaleb(-2) for n in chosen
        }
        note, is_last = part_snapshot(bill, notes, parts, "reason")
        assert summed([note], "net") + summed([note], "tax") == summed([note], "total")
        assert sum(Decimal(line["amount"]) for line in note["lines"]) == Decimal(note["total"])
        notes.append(note)
        assert is_last == (not any(left_of(bill["snapshot"], notes).values()))
    documents = [bill["snapshot"], *notes]
    assert [summed(documents, key) for key in ("net", "tax", "total")] == [0, 0, 0]


@given(rows)
def test_a_note_over_all_lines_at_once_is_the_bill_reversed(rows):
    bill = bill_of(rows)
    every = dict.fromkeys(left_of(bill["snapshot"], []))
    note, is_last = part_snapshot(bill, [], every, "reason")
    whole = reversed_snapshot(bill, "reason")
    assert is_last
    assert [(x["amount"], x["tax"]) for x in note["lines"]] == [(x["amount"], x["tax"]) for x in whole["lines"]]
    assert {key: Decimal(note[key]) for key in ("net", "tax", "total")} == {
        key: Decimal(whole[key]) for key in ("net", "tax", "total")
    }


@given(rows, rows, st.data())
def test_notes_lower_what_was_recovered_and_a_corrected_bill_raises_it_to_its_own(rows, again, data):
    bill, rebill = bill_of(rows), bill_of(again)
    charged = recovered_of(bill["snapshot"]["lines"])
    assert charged == summed([bill["snapshot"]], "total")  # Every line here is energy.
    notes = []
    while left := {n: a for n, a in left_of(bill["snapshot"], notes).items() if a}:
        number = data.draw(st.sampled_from(sorted(left)))
        part = None if len(notes) > 4 else Decimal(data.draw(st.integers(1, int(left[number] * 100)))).scaleb(-2)
        note, _ = part_snapshot(bill, notes, {number: part}, "reason")
        notes.append(note)
        lowered, net = -recovered_of(note["lines"]), abs(Decimal(note["lines"][0]["amount"]))
        # Only the last note of a line may take back less than its amount: it takes what rounding left of the tax.
        is_last = not left_of(bill["snapshot"], notes)[number]
        assert lowered >= net > 0 or (is_last and lowered >= net - Decimal("0.005") * len(notes))
    whole = [bill["snapshot"], *notes, rebill["snapshot"]]
    assert sum(recovered_of(s["lines"]) for s in whole) == recovered_of(rebill["snapshot"]["lines"])


def test_after_hours_rent_and_taxes_of_their_own_are_not_recovered_energy():
    bill = bill_of([(1000, "0.13", True)])["snapshot"]
    (line,) = bill["lines"]
    others = [line | {"source": "after_hours"}, line | {"kind": "fixed"}, line | {"kind": "vat"}]
    assert recovered_of([line, *others]) == Decimal("10.00")
