"""VAT once per rate and form, shared to the lines without rest; the total is the sum of the printed lines. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from cloud_api.billing.charge import Issue, Line, Rated, VatGroup, round_fraction
from cloud_api.billing.tariff import Label

VAT_LABEL = Label(zh="增值税", en="VAT")


def close(lines: Iterable[Line], issues: Iterable[Issue] = ()) -> Rated:
    """Add VAT per rate group and sum the printed lines."""
    taxed: list[Line] = []
    groups: list[VatGroup] = []
    vat_lines: list[Line] = []
    rest = list(lines)
    for rate_, included in _groups(rest):
        members = [line for line in rest if (line.vat_rate, line.tax_included) == (rate_, included)]
        group, members = _vat(rate_, members, included=included)
        taxed += members
        groups.append(group)
        if not included and rate_:
            vat_lines.append(vat_line(group, members))
    printed = [*_in_first_order(rest, taxed), *vat_lines]
    total = sum((line.amount for line in printed), Decimal(0))
    return Rated(lines=tuple(printed), vat=tuple(groups), total=total, issues=tuple(issues))


def _vat(rate_: Decimal, lines: Sequence[Line], *, included: bool) -> tuple[VatGroup, list[Line]]:
    """Tax the group once and give each line its share, so that lines, group and document agree to the cent."""
    share = Fraction(rate_) / (1 + Fraction(rate_)) if included else Fraction(rate_)
    printed = sum((line.amount for line in lines), Decimal(0))
    tax = round_fraction(Fraction(printed) * share)
    exact = [Fraction(line.amount) * share * 100 for line in lines]
    cents = [x.numerator // x.denominator for x in exact]
    left = int(tax * 100) - sum(cents)
    for i in sorted(range(len(exact)), key=lambda i: exact[i] - cents[i], reverse=True)[:left]:
        cents[i] += 1
    net, gross = (printed - tax, printed) if included else (printed, printed + tax)
    group = VatGroup(rate=rate_, tax_included=included, net=net, tax=tax, gross=gross)
    return group, [replace(line, tax=Decimal(c).scaleb(-2)) for line, c in zip(lines, cents, strict=True)]


def vat_line(group: VatGroup, members: Sequence[Line]) -> Line:
    """Return the line on which tax that is added to a group stands."""
    return Line(
        component="vat",
        name=VAT_LABEL,
        kind="vat",
        version=members[-1].version,
        starts_on=min(m.starts_on for m in members),
        ends_on=max(m.ends_on for m in members),
        quantity=Fraction(group.net),
        unit="%",
        unit_price=Fraction(group.rate),
        amount_exact=Fraction(group.net) * Fraction(group.rate),
        amount=group.tax,
        vat_rate=group.rate,
        tax_included=False,
    )


def _in_first_order(original: Sequence[Line], taxed: Sequence[Line]) -> list[Line]:
    """Return the taxed lines in the order in which they were charged."""
    waiting = {key: iter([t for t in taxed if (t.vat_rate, t.tax_included) == key]) for key in _groups(original)}
    return [next(waiting[line.vat_rate, line.tax_included]) for line in original]


def _groups(lines: Iterable[Line]) -> list[tuple[Decimal, bool]]:
    return list(dict.fromkeys((line.vat_rate, line.tax_included) for line in lines))
