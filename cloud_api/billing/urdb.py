"""Read a rate of the OpenEI Utility Rate Database (JSON) as a tariff; what cannot be said exactly is refused. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from cloud_api.billing.coverage import clock
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.tariff_file import dump_tariff, load_dumped, prove
from cloud_api.kit.errors import Invalid

NO_LIMIT = Decimal("1e30")
_UNSUPPORTED = {
    "coincidentratestructure": "coincident demand",
    "demandreactivepowercharge": "a reactive power charge",
    "fueladjustmentsmonthly": "monthly fuel adjustments",
}


class UrdbInvalid(Invalid):
    """The record cannot be read as a tariff; the text lists why."""

    code = "urdb_invalid"


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A record on its way to a tariff: the schedules, the problems found."""

    record: Mapping[str, Any]
    tier_basis: str
    problems: list[str] = field(default_factory=list[str])

    def table(self, name: str) -> list[list[int]] | None:
        """Return a 12 × 24 schedule, or None when the record has none."""
        found = self.record.get(name)
        if not found:
            return None
        if len(found) != 12 or any(len(row) != 24 for row in found):
            self.problems.append(f"{name} has to be 12 rows of 24 numbers")
            return None
        return [[int(cell) for cell in row] for row in found]


def read_urdb(path: Path, *, time_zone: str, tier_basis: str = "proportional", ignore: bool = False) -> Tariff:
    """Read a file: one record, or the API's answer with one item. Raises UrdbInvalid with every reason."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal, parse_int=Decimal)
    except OSError as error:
        raise UrdbInvalid("{path}: cannot be read: {problem}", path=path, problem=error.strerror) from error
    except ValueError as error:
        raise UrdbInvalid("{path_name}: is not JSON: {problem}", path_name=path.name, problem=error) from error
    items = data.get("items", [data]) if isinstance(data, dict) else data
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], dict):
        raise UrdbInvalid(
            "{path_name}: holds no single rate; save one record (or the answer for one `getpage`)", path_name=path.name
        )
    return to_tariff(items[0], time_zone=time_zone, tier_basis=tier_basis, ignore=ignore)


def to_tariff(
    record: Mapping[str, Any], *, time_zone: str, tier_basis: str = "proportional", ignore: bool = False
) -> Tariff:
    """Turn a record into a tariff of one version.

    Steps (`max`) count the month's energy: `proportional` splits them in the ratio of the periods, as NREL's SAM does;
    `per_bucket` counts each period by itself. A `max` that is missing, 0 or huge means no limit. Weekend is Saturday
    and Sunday. Sell rates are not read. With `ignore`, what cannot be represented is left out instead of refused.
    """
    reading = _Reading(record=record, tier_basis=tier_basis)
    schedules = _schedules(reading)
    components = [*_energy(reading, schedules), *_flat_demand(reading), *_tou_demand(reading, schedules)]
    components += _fixed(reading)
    components += _minimum(reading, [c["code"] for c in components])
    if not ignore:
        reading.problems += [
            f"{words} cannot be represented" for key, words in _UNSUPPORTED.items() if _any(record, key)
        ]
    if reading.problems:
        raise UrdbInvalid("the record cannot be read as a tariff:{problems}", problems=reading.problems)
    name = str(record.get("name") or record.get("label") or "rate")
    first = _day(record.get("startdate")) or date(2000, 1, 1)
    last = _day(record.get("enddate"))
    version = {"version": str(record.get("label") or "urdb"), "valid_from": first, "components": components}
    version |= {"source_url": str(record.get("uri") or record.get("source") or "")} | schedules.calendar()
    if last and last > first:
        version["valid_to"] = last
    head = {"tariff": str(record.get("label") or "urdb"), "name": {"zh": name, "en": name}, "currency": "USD"}
    tariff = load_dumped(head | {"region": "US", "time_zone": time_zone, "versions": [version]})
    prove(tariff, name="URDB record")
    return tariff


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedules:
    """Energy and demand periods by month, kind of day and hour; a bucket is a pair of them."""

    energy: tuple[list[list[int]], list[list[int]]]
    demand: tuple[list[list[int]], list[list[int]]] | None

    def bucket(self, month: int, kind: int, hour: int) -> str:
        energy = self.energy[kind][month][hour]
        return f"e{energy}" if self.demand is None else f"e{energy}d{self.demand[kind][month][hour]}"

    def buckets(self) -> list[str]:
        found = {self.bucket(m, k, h) for m in range(12) for k in range(2) for h in range(24)}
        return sorted(found)

    def of_energy(self, period: int) -> list[str]:
        return [b for b in self.buckets() if b.split("d")[0] == f"e{period}"]

    def of_demand(self, period: int) -> list[str]:
        return [b for b in self.buckets() if b.endswith(f"d{period}")]

    def calendar(self) -> dict[str, Any]:
        """Return seasons (months with equal schedules), day types and windows."""
        patterns: dict[tuple[str, ...], list[int]] = {}
        for month in range(12):
            pattern = tuple(self.bucket(month, kind, hour) for kind in range(2) for hour in range(24))
            patterns.setdefault(pattern, []).append(month + 1)
        seasons, windows = [], []
        for number, (pattern, months) in enumerate(patterns.items(), 1):
            code = f"s{number}"
            seasons.append({"code": code, "months": months})
            for kind, day_type in enumerate(("weekday", "weekend")):
                hours = pattern[kind * 24 : kind * 24 + 24]
                for bucket, run in groupby(range(24), key=lambda h, hours=hours: hours[h]):
                    stretch = list(run)
                    windows.append(
                        {"bucket": bucket, "start": stretch[0] * 60, "end": (stretch[-1] + 1) * 60}
                        | {"seasons": [code], "day_types": [day_type]}
                    )
        weekend = {"code": "weekend", "when": {"weekdays": ["sat", "sun"]}}
        return {"seasons": seasons, "day_types": [weekend, {"code": "weekday"}], "windows": windows}


def _schedules(reading: _Reading) -> _Schedules:
    flat = [[0] * 24 for _ in range(12)]
    weekday = reading.table("energyweekdayschedule") or flat
    weekend = reading.table("energyweekendschedule") or weekday
    demand = None
    if reading.record.get("demandratestructure"):
        demand_weekday = reading.table("demandweekdayschedule") or flat
        demand = (demand_weekday, reading.table("demandweekendschedule") or demand_weekday)
    schedules = _Schedules(energy=(weekday, weekend), demand=demand)
    periods = len(reading.record.get("energyratestructure") or [[{}]])
    if any(cell >= periods or cell < 0 for table in schedules.energy for row in table for cell in row):
        reading.problems.append(f"a schedule names an energy period that energyratestructure ({periods}) does not have")
    return schedules


def _energy(reading: _Reading, schedules: _Schedules) -> list[dict[str, Any]]:
    structure = reading.record.get("energyratestructure") or []
    used = [p for p in range(len(structure)) if schedules.of_energy(p)]
    if not used:
        return []
    tiers = {p: _steps(reading, f"energyratestructure[{p}]", structure[p]) for p in used}
    limits = {tuple(limit for limit, _ in steps) for steps in tiers.values()}
    label = {"zh": "电量电费", "en": "Energy"}
    common = {"kind": "energy", "vat_rate": 0}
    if len(limits) == 1:
        prices = [{b: tiers[p][i][1] for p in used for b in schedules.of_energy(p)} for i in range(len(tiers[used[0]]))]
        steps = [_step(limit, price) for (limit, _), price in zip(tiers[used[0]], prices, strict=True)]
        return [common | {"code": "energy", "name": label} | _as_price(steps, reading.tier_basis)]
    if reading.tier_basis == "proportional":
        reading.problems.append("the periods have different steps; read it with --tier-basis per_bucket")
    found = []
    for p in used:
        buckets = schedules.of_energy(p)
        steps = [_step(limit, dict.fromkeys(buckets, price)) for limit, price in tiers[p]]
        named = {"zh": f"电量电费 {p}", "en": f"Energy, period {p}"}
        # All buckets of one period count together: they differ in demand only.
        basis = "cumulative_sequential"
        found.append(common | {"code": f"energy_{p}", "name": named, "buckets": buckets} | _as_price(steps, basis))
    return found


def _as_price(steps: list[dict[str, Any]], basis: str) -> dict[str, Any]:
    if len(steps) == 1:
        return {"prices": steps[0]["prices"]}
    return {"tiers": {"basis": basis, "period": "month", "scale": "none", "steps": steps}}


def _step(limit: Decimal | None, prices: Mapping[str, Decimal]) -> dict[str, Any]:
    step: dict[str, Any] = {"prices": dict(prices)}
    return step if limit is None else step | {"up_to": limit}


def _steps(reading: _Reading, where: str, raw: Sequence[Mapping[str, Any]]) -> list[tuple[Decimal | None, Decimal]]:
    """Return (limit, price) of each step; the last has no limit."""
    found: list[tuple[Decimal | None, Decimal]] = []
    for number, tier in enumerate(raw):
        unit = str(tier.get("unit") or "kWh")
        if unit not in {"kWh", "kW"}:
            reading.problems.append(f"{where}[{number}]: steps in {unit} cannot be represented")
        limit = Decimal(tier.get("max") or 0)
        is_last = number == len(raw) - 1
        unlimited = limit <= 0 or limit >= NO_LIMIT
        if not is_last and unlimited:
            reading.problems.append(f"{where}[{number}] has no limit, but a step follows")
        if is_last and not unlimited:
            reading.problems.append(f"{where}[{number}] ends at {limit}; use above it has no price")
        price = Decimal(tier.get("rate") or 0) + Decimal(tier.get("adj") or 0)
        found.append((None if is_last or unlimited else limit, price))
    return found


def _demand_price(reading: _Reading, where: str, raw: Sequence[Mapping[str, Any]]) -> Decimal:
    steps = _steps(reading, where, raw)
    if len(steps) > 1:
        reading.problems.append(f"{where}: steps of a demand charge cannot be represented")
    return steps[0][1] if steps else Decimal(0)


def _flat_demand(reading: _Reading) -> list[dict[str, Any]]:
    structure = reading.record.get("flatdemandstructure") or []
    if not structure:
        return []
    by_month = [int(p) for p in reading.record.get("flatdemandmonths") or [0] * 12]
    ratchets = [_percent(r) for r in reading.record.get("demandratchetpercentage") or [0] * 12]
    groups: dict[tuple[int, Decimal], list[int]] = {}
    for month in range(12):
        groups.setdefault((by_month[month], ratchets[month]), []).append(month + 1)
    window = int(reading.record.get("demandwindow") or 15)
    found = []
    for number, ((period, ratchet), months) in enumerate(groups.items(), 1):
        demand: dict[str, Any] = {"window_min": window}
        if ratchet:
            demand |= {"rule": "ratchet", "ratchet": {"percent": ratchet, "months_back": 11}}
        price = _demand_price(reading, f"flatdemandstructure[{period}]", structure[period])
        name = {"zh": "需量电费", "en": "Demand"}
        row = {"code": f"demand_{number}", "name": name, "kind": "demand", "price": price, "demand": demand}
        found.append(row | {"months": months} if len(groups) > 1 else row)
    return found


def _percent(value: Any) -> Decimal:
    """Read 0.35 and 35 as the same ratchet: both occur."""
    number = Decimal(value or 0)
    return number * 100 if number <= 1 else number


def _tou_demand(reading: _Reading, schedules: _Schedules) -> list[dict[str, Any]]:
    structure = reading.record.get("demandratestructure") or []
    window = int(reading.record.get("demandwindow") or 15)
    found = []
    for period, raw in enumerate(structure):
        buckets = schedules.of_demand(period)
        price = _demand_price(reading, f"demandratestructure[{period}]", raw)
        if not buckets or not price:
            continue
        name = {"zh": f"分时需量电费 {period}", "en": f"Demand, period {period}"}
        demand = {"window_min": window, "buckets": buckets}
        found.append({"code": f"tou_demand_{period}", "name": name, "kind": "demand", "price": price, "demand": demand})
    return found


def _fixed(reading: _Reading) -> list[dict[str, Any]]:
    record = reading.record
    amount = Decimal(record.get("fixedchargefirstmeter") or record.get("fixedmonthlycharge") or 0)
    if not amount:
        return []
    name = {"zh": "固定费", "en": "Fixed charge"}
    match str(record.get("fixedchargeunits") or "$/month").lower():
        case "$/month":
            return [{"code": "fixed", "name": name, "kind": "fixed", "price": amount}]
        case "$/day":
            return [{"code": "fixed", "name": name, "kind": "per_day", "price": amount}]
        case unit:
            reading.problems.append(f"a fixed charge in {unit} cannot be represented")
            return []


def _minimum(reading: _Reading, base: list[str]) -> list[dict[str, Any]]:
    amount = Decimal(reading.record.get("mincharge") or reading.record.get("minmonthlycharge") or 0)
    if not amount:
        return []
    unit = str(reading.record.get("minchargeunits") or "$/month").lower()
    day_count = {"$/month": "actual_cycle", "$/day": "actual_days"}.get(unit)
    if day_count is None:
        reading.problems.append(f"a minimum charge in {unit} cannot be represented")
        return []
    name = {"zh": "最低收费", "en": "Minimum charge"}
    row = {"code": "minimum", "name": name, "kind": "min", "price": amount}
    return [row | {"day_count": day_count, "base_codes": base}]


def _any(record: Mapping[str, Any], key: str) -> bool:
    """Tell whether a field holds anything but zeros."""

    def something(value: Any) -> bool:
        if isinstance(value, list):
            return any(something(v) for v in value)
        if isinstance(value, dict):
            return any(something(v) for v in value.values())
        return bool(value) and not isinstance(value, str)

    return something(record.get(key))


def _day(value: Any) -> date | None:
    if value in {None, ""}:
        return None
    if isinstance(value, str):
        return date.fromisoformat(value[:10])
    return datetime.fromtimestamp(int(value), UTC).date()


def as_file(tariff: Tariff) -> str:
    """Return a tariff as the text of a tariff file."""
    import yaml

    data = dump_tariff(tariff)
    for version in data["versions"]:
        for window in version.get("windows", ()):
            window["start"], window["end"] = clock(window["start"]), clock(window["end"])
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)
