"""What a credit note says: a whole bill reversed, or single lines and amounts of it. Pure.

Notes of one bill never take back more than a line charged; the note that takes back the last of a line also takes what
rounding left of its tax, so that bill and notes sum to zero per line, tax group and document.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing.charge import Line, Rated, VatGroup, round_fraction
from cloud_api.billing.snapshot import line_of
from cloud_api.billing.tariff import Label
from cloud_api.billing.vat import vat_line
from cloud_api.kit.errors import Invalid

_AMOUNTS = ("amount", "amount_exact", "quantity", "tax")
Snapshot = Mapping[str, Any]


def reversed_snapshot(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return a bill's snapshot with every amount and quantity of a line reversed."""
    snapshot = dict(row["snapshot"])
    snapshot["lines"] = [line | {key: _minus(line[key]) for key in _AMOUNTS} for line in snapshot["lines"]]
    snapshot["vat"] = [g | {key: _minus(g[key]) for key in ("net", "tax", "gross")} for g in snapshot["vat"]]
    totals = {key: _minus(snapshot[key]) for key in ("net", "tax", "total")}
    return snapshot | totals | {"kind": "credit_note", "corrects": row["number"], "reason": reason}


def _minus(text: str) -> str:
    return str(-Decimal(text)) if Decimal(text) else text


def left_of(bill: Snapshot, notes: Sequence[Snapshot]) -> dict[int, Decimal]:
    """Return what each line (from 1; VAT lines follow theirs) still charges after the notes so far."""
    left = {n: Decimal(line["amount"]) for n, line in enumerate(bill["lines"], 1) if line["kind"] != "vat"}
    for note in notes:
        for line in note["lines"]:
            if "credits_line" in line:
                left[line["credits_line"]] += Decimal(line["amount"])
    return left


def part_snapshot(
    row: Mapping[str, Any], notes: Sequence[Snapshot], amounts: Mapping[int, Decimal | None], reason: str
) -> tuple[dict[str, Any], bool]:
    """Return the snapshot of a note over some lines, and whether nothing is left of the bill after it.

    `amounts` says how much of each line is taken back; None means all that is left. Raises Invalid with the line.
    """
    bill = row["snapshot"]
    left = left_of(bill, notes)
    taken = {number: _amount(number, amount, left) for number, amount in sorted(amounts.items())}
    if not taken:
        raise Invalid("name at least one line to take back")
    taxed = [_reversed(bill["lines"][n - 1], amount, _tax(n, amount, left, bill, notes)) for n, amount in taken.items()]
    rated = _closed(taxed)
    is_last = all(left[number] == taken.get(number, Decimal(0)) for number in left)
    own = [line_of(line) for line in rated.lines]
    for line, number in zip(own, taken, strict=False):  # VAT that is added stands after them.
        line["credits_line"] = number
    content = {
        "lines": own,
        "vat": [
            {"rate": str(g.rate), "included": g.tax_included, "net": str(g.net), "tax": str(g.tax)}
            | {"gross": str(g.gross)}
            for g in rated.vat
        ],
        "net": str(sum((g.net for g in rated.vat), Decimal("0.00"))),
        "tax": str(sum((g.tax for g in rated.vat), Decimal("0.00"))),
        "total": str(rated.total),
        "quantity": "0",
        "estimated_percent": "0.00",
    }
    empty = {"days": [], "usage": [], "evidence": [], "compare": {}, "issues": []}
    head = {"kind": "credit_note", "corrects": row["number"], "reason": reason, "is_part": True}
    return dict(bill) | content | empty | head, is_last


def _amount(number: int, amount: Decimal | None, left: Mapping[int, Decimal]) -> Decimal:
    if number not in left:
        raise Invalid("there is no line {line} that can be credited; VAT follows its lines", line=number)
    if not left[number]:
        raise Invalid("line {line} was taken back in full already", line=number)
    if amount is None:
        return left[number]
    if amount != amount.quantize(Decimal("0.01")) or amount * left[number] <= 0 or abs(amount) > abs(left[number]):
        raise Invalid("line {line}: {amount} cannot be taken back; {left} is left of it", line=number, amount=amount,
                      left=left[number])  # fmt: skip
    return amount


def _reversed(line: Mapping[str, Any], amount: Decimal, tax: Decimal) -> Line:
    """Return a line that takes `amount` back; in full it keeps quantity and price, in part it is an amount alone."""
    is_whole = amount == Decimal(line["amount"])
    price = line["unit_price"] if is_whole else None
    label = line.get("bucket_name")
    return Line(
        component=line["component"],
        name=Label(zh=line["name"]["zh"], en=line["name"]["en"]),
        kind=line["kind"],
        version=line["version"],
        starts_on=date.fromisoformat(line["from"]),
        ends_on=date.fromisoformat(line["to"]),
        quantity=-Fraction(Decimal(line["quantity"])) if is_whole else Fraction(1),
        unit=line["unit"] if is_whole else "",
        unit_price=None if price is None else Fraction(Decimal(price)),
        amount_exact=-Fraction(amount),
        amount=-amount,
        bucket=line["bucket"],
        bucket_label=None if label is None else Label(zh=label["zh"], en=label["en"]),
        tier=line["tier"],
        vat_rate=Decimal(line["vat_rate"]),
        tax_included=line["tax_included"],
        source=line.get("source", "own"),
        tax=tax,
    )


def _tax(
    number: int, amount: Decimal, left: Mapping[int, Decimal], bill: Snapshot, notes: Sequence[Snapshot]
) -> Decimal:
    """Return the tax taken back with an amount: rounded half-up, or with the last of a line all that is left of it."""
    line = bill["lines"][number - 1]
    if amount != left[number]:
        rate = Fraction(Decimal(line["vat_rate"]))
        return round_fraction(-Fraction(amount) * (rate / (1 + rate) if line["tax_included"] else rate))
    before = (x for note in notes for x in note["lines"] if x.get("credits_line") == number)
    return -Decimal(line["tax"]) - sum((Decimal(x["tax"]) for x in before), Decimal(0))


def _closed(lines: Sequence[Line]) -> Rated:
    """Sum the lines up per rate and form; tax that is added stands on lines of its own."""
    groups: list[VatGroup] = []
    added: list[Line] = []
    for rate, included in dict.fromkeys((line.vat_rate, line.tax_included) for line in lines):
        members = [line for line in lines if (line.vat_rate, line.tax_included) == (rate, included)]
        printed = sum((line.amount for line in members), Decimal(0))
        tax = sum((line.tax for line in members), Decimal("0.00"))
        net, gross = (printed - tax, printed) if included else (printed, printed + tax)
        groups.append(VatGroup(rate=rate, tax_included=included, net=net, tax=tax, gross=gross))
        if rate and not included:
            added.append(vat_line(groups[-1], members))
    total = sum((line.amount for line in (*lines, *added)), Decimal(0))
    return Rated(lines=(*lines, *added), vat=tuple(groups), total=total)
