"""What a simulated period looks like in a few numbers, to be judged by somebody who knows buildings."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_agent.simulator.calendar import DayKind
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import Plan

WS_PER_KWH = 3_600_000


@dataclass(slots=True, kw_only=True)
class Summary:
    """Figures of a period; energies in kWh, powers in kW, temperatures in °C."""

    days: int
    area_m2: float
    energy_kwh: dict[str, float] = field(default_factory=dict)
    losses_kwh: float = 0.0
    peak_kw: float = 0.0
    night_kw: float = 0.0  # Mean between 2 and 4 h.
    workday_kwh: float = 0.0
    free_day_kwh: float = 0.0
    people_peak: int = 0
    outdoor_c: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Lowest, mean, highest.
    occupied_c: tuple[float, float, float] = (0.0, 0.0, 0.0)  # 5th percentile, median, 95th of rooms with people.
    co2_p95_ppm: float = 0.0  # Of rooms with people.
    chiller_starts: int = 0

    @property
    def kwh_m2_year(self) -> float:
        """Energy per gross area, as if the year went on like this."""
        return self.energy_kwh["meter-main"] / self.area_m2 * 365 / self.days

    def share(self, meter: str) -> float:
        """Part of a meter in the main meter."""
        return self.energy_kwh[meter] / self.energy_kwh["meter-main"]


def summarise(plan: Plan, start: datetime, days: int) -> Summary:
    """Simulate a period and gather its figures."""
    building = Building(plan, start)
    power = building.power
    summary = Summary(days=days, area_m2=sum(space.area_m2 for space in plan.spaces if space.floor != "RF"))
    opening = list(power.meter_ws)
    outdoor: list[float] = []
    rooms: list[float] = []
    co2: list[float] = []
    night: list[float] = []
    by_kind: dict[bool, list[float]] = {True: [], False: []}
    starts = building.services.chiller.starts
    day_opening, kind = power.meter_ws[0], building.kind
    for _ in range(days * 24 * 4):
        building.run_to(building.minute + 15)
        summary.peak_kw = max(summary.peak_kw, power.demand_w[0] / 1000)
        summary.people_peak = max(summary.people_peak, building.present)
        outdoor.append(building.weather.temperature_c)
        if 2 * 3600 < building.second <= 4 * 3600:
            night.append(power.demand_w[0] / 1000)
        used = [space for space in building.spaces.values() if space.people and space.kind == "tenant"]
        rooms += [space.temperature_c for space in used]
        co2 += [space.co2_ppm for space in used]
        if building.second == 0:
            is_workday = kind in {DayKind.WORKDAY, DayKind.EXCHANGED}
            by_kind[is_workday].append((power.meter_ws[0] - day_opening) / WS_PER_KWH)
            day_opening, kind = power.meter_ws[0], building.kind
    summary.energy_kwh = {code: (power.meter_ws[i] - opening[i]) / WS_PER_KWH for code, i in power.meters.items()}
    summary.losses_kwh = sum(power.loss_ws) / WS_PER_KWH
    summary.night_kw = sum(night) / len(night)
    summary.workday_kwh, summary.free_day_kwh = (_mean(by_kind[key]) for key in (True, False))
    summary.outdoor_c = (min(outdoor), _mean(outdoor), max(outdoor))
    summary.occupied_c = (_at(rooms, 0.05), _at(rooms, 0.5), _at(rooms, 0.95))
    summary.co2_p95_ppm = _at(co2, 0.95)
    summary.chiller_starts = building.services.chiller.starts - starts
    return summary


def described(summary: Summary, start: datetime) -> str:
    """Return the summary as text."""
    end = start + timedelta(days=summary.days)
    low, mean, high = summary.outdoor_c
    cool, median, warm = summary.occupied_c
    main = summary.energy_kwh["meter-main"]
    tenants = sum(kwh for code, kwh in summary.energy_kwh.items() if code.startswith("meter-t"))
    lines = [
        f"{start:%Y-%m-%d} … {end:%Y-%m-%d}, outdoors {low:.1f} / {mean:.1f} / {high:.1f} °C",
        f"main meter        {main:10,.0f} kWh   {summary.kwh_m2_year:.0f} kWh/m² and year",
        f"  tenants         {tenants / main:10.1%}",
        (
            f"  plant and VRF   {summary.share('meter-plant') + summary.share('meter-vrf'):10.1%}"
            f"   chiller {summary.share('meter-chiller'):.1%}, heat pump {summary.share('meter-hp'):.1%},"
            f" fans {summary.share('meter-ahu'):.1%}, pumps {summary.share('meter-pumps'):.1%}"
        ),
        f"  losses          {summary.losses_kwh / main:10.1%}",
        (
            f"peak demand       {summary.peak_kw:10.0f} kW    night base {summary.night_kw:.0f} kW"
            f" ({summary.night_kw / summary.peak_kw:.0%} of the peak)"
        ),
        f"working day       {summary.workday_kwh:10,.0f} kWh   other day {summary.free_day_kwh:,.0f} kWh",
        f"people            {summary.people_peak:10d}       at most",
        (
            f"rooms with people {cool:10.1f} °C    5 %; {median:.1f} median; {warm:.1f} 95 %;"
            f" CO2 {summary.co2_p95_ppm:.0f} ppm (95 %)"
        ),
        f"chiller starts    {summary.chiller_starts / summary.days:10.1f}       per day",
    ]
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
