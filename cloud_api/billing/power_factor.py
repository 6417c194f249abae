"""Power-factor adjustment 力调电费 by the published table. Pure; the table is data beside the tariffs."""

import csv
from decimal import Decimal, localcontext
from pathlib import Path

from cloud_api.kit.money import round_half_up

_TABLE_FILE = Path(__file__).parent / "tariffs" / "power_factor_1983.csv"
_LOWEST_ROW = Decimal("0.50")


def _read_table() -> dict[Decimal, dict[Decimal, Decimal]]:
    with _TABLE_FILE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {
            Decimal(row.pop("pf")): {Decimal(standard): Decimal(percent) for standard, percent in row.items()}
            for row in rows
        }


_TABLE = _read_table()
STANDARDS = tuple(sorted(_TABLE[Decimal("1.00")], reverse=True))
"""The standards that the table has a column for: 0.90, 0.85, 0.80."""


def power_factor(active_kwh: Decimal, reactive_kvarh: Decimal) -> Decimal:
    """Return P / sqrt(P² + Q²), rounded half-up to two decimals as the rule demands before the table is read.

    `reactive_kvarh` is |forward| + |reverse|. A period without any use counts as 1.
    """
    if active_kwh == 0 and reactive_kvarh == 0:
        return Decimal("1.00")
    with localcontext() as context:
        context.prec = 40
        exact = active_kwh / (active_kwh * active_kwh + reactive_kvarh * reactive_kvarh).sqrt()
    return round_half_up(exact, Decimal("0.01"))


def adjustment_percent(pf: Decimal, standard: Decimal) -> Decimal:
    """Return the percentage of the base for a rounded power factor: negative is a reward.

    Source: 功率因数调整电费办法, (83)水电财字第215号. Below 0.50 each 0.01 adds two points. Never interpolated.
    Raises KeyError for a standard without a column and ValueError for a power factor outside 0 to 1.
    """
    if not 0 <= pf <= 1 or pf != round_half_up(pf, Decimal("0.01")):
        raise ValueError(f"{pf} is not a power factor rounded to two decimals")
    if pf >= _LOWEST_ROW:
        return _TABLE[round_half_up(pf, Decimal("0.01"))][standard]
    return _TABLE[_LOWEST_ROW][standard] + (_LOWEST_ROW - pf) * 200
