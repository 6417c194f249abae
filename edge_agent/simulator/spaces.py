"""One space: its people's electricity, its air temperature and its CO2, stepped minute by minute."""

from dataclasses import dataclass

from edge_agent.simulator.electricity import STEP_S

OUTDOOR_CO2_PPM = 425.0
CO2_L_S_PERSON = 0.0050  # Seated office work (ASHRAE 62.1 informative value, about 1.2 met).
PERSON_HEAT_W = 75.0  # Sensible.
CEILING_M = 2.9
AIR_W_K_L_S = 1.2  # Heat carried by one litre of air per second and kelvin.
HEAT_CAPACITY_J_M2K = 95_000.0  # Air, furniture, and the skin of slabs and walls that follows within hours.
ENVELOPE_W_M2K = 0.62  # Façade and infiltration, per floor area.
NEIGHBOUR_W_M2K = 0.9  # To the corridor and the floors above and below.
SOLAR_SHARE_M2_M2 = 0.020  # Effective glass per floor area, for sun on a horizontal plane.
INFILTRATION_ACH = 0.12
LIGHTS_OUT_S = 20 * 60  # Lights stay on so long after the last person left.


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How a kind of use draws power: W per m², per seat (machines left on), per person present, and by the clock."""

    standby_w_m2: float
    light_w_m2: float
    seat_w: float = 0.0
    person_w: float = 0.0
    process_w: float = 0.0  # Day and night.
    open_w: float = 0.0  # Between `hours`, on days when people come.
    hours: tuple[float, float] = (7.0, 20.0)
    light_by_clock: bool = False
    night_light: float = 0.0  # Share of the lights outside `hours`.
    fresh_air_l_s_m2: float = 0.0  # By its own small fan, where no air handler serves the space.
    exposure: float = 1.0  # To weather and sun; a core has little façade.


ACTIVITIES = {
    "office": Activity(standby_w_m2=0.9, light_w_m2=7.5, seat_w=16.0, person_w=118.0),
    "startup": Activity(standby_w_m2=0.9, light_w_m2=8.0, seat_w=22.0, person_w=150.0),
    "laboratory": Activity(
        standby_w_m2=1.5, light_w_m2=10.0, seat_w=25.0, person_w=160.0, process_w=4300.0, open_w=6200.0
    ),
    "showroom": Activity(standby_w_m2=1.0, light_w_m2=11.0, seat_w=10.0, person_w=70.0, open_w=2900.0, hours=(9, 17.5)),
    "cafe": Activity(standby_w_m2=1.0, light_w_m2=12.0, person_w=95.0, process_w=780.0, open_w=1500.0, hours=(7.3, 19)),
    "hall": Activity(standby_w_m2=0.6, light_w_m2=12.0, person_w=12.0),
    "meeting": Activity(standby_w_m2=0.6, light_w_m2=8.0, open_w=900.0, hours=(9, 18.5), fresh_air_l_s_m2=0.4),
    "corridor": Activity(
        standby_w_m2=0.3,
        light_w_m2=4.2,
        open_w=1250.0,
        light_by_clock=True,
        night_light=0.22,
        hours=(7, 21),
        exposure=0.35,
    ),
    "lobby": Activity(
        standby_w_m2=0.6, light_w_m2=9.0, open_w=900.0, light_by_clock=True, night_light=0.25, hours=(7, 21.5)
    ),
    "control_room": Activity(standby_w_m2=3.0, light_w_m2=8.0, process_w=1250.0, light_by_clock=True, night_light=1.0),
    "technical": Activity(standby_w_m2=0.8, light_w_m2=0.0),
    "server": Activity(standby_w_m2=2.0, light_w_m2=0.0, process_w=8600.0),
}
_VACANT = Activity(standby_w_m2=0.15, light_w_m2=0.0)


class Space:
    """The state of one space. Power in W, temperature in °C, CO2 in ppm, air flow in l/s."""

    __slots__ = (
        "activity",
        "area_m2",
        "co2_ppm",
        "code",
        "cooling_w",
        "electric_w",
        "fan",
        "floor",
        "fresh_l_s",
        "head_count",
        "heat_w",
        "heating_w",
        "is_let",
        "kind",
        "people",
        "seen_s",
        "supply_l_s",
        "supply_share",
        "temperature_c",
        "use",
        "wander",
    )

    def __init__(self, *, code: str, floor: str, kind: str, activity: str, area_m2: float) -> None:
        """Make a space at rest at 19 °C."""
        self.code, self.floor, self.kind, self.area_m2 = code, floor, kind, area_m2
        self.activity = ACTIVITIES[activity]
        self.use = self.activity
        self.is_let = kind != "tenant"
        self.head_count = 0
        self.people = 0
        self.seen_s = -LIGHTS_OUT_S
        self.temperature_c = 19.0
        self.co2_ppm = OUTDOOR_CO2_PPM
        self.cooling_w = self.heating_w = self.heat_w = 0.0  # From fan coil or indoor unit.
        self.fan = 0.0  # 0…1
        self.supply_l_s = self.fresh_l_s = 0.0  # From the air handler: all air, and the outdoor part of it.
        self.supply_share = 0.0
        self.wander = 0.0  # Slow random share of the plug load.
        self.electric_w = 0

    def begin_day(self, head_count: int | None) -> None:
        """Take over who is in the space today; None where nobody has a lease."""
        self.is_let = self.kind != "tenant" or head_count is not None
        self.head_count = head_count or 0
        self.use = self.activity if self.is_let else _VACANT
        self.seen_s = -LIGHTS_OUT_S

    def draw_power(self, hour: float, *, is_open_day: bool, sun_w_m2: float, noise: float) -> None:
        """Set `electric_w` for the next minute from people, clock and daylight; `noise` is uniform in ±1."""
        use = self.use
        second = hour * 3600.0
        if self.people:
            self.seen_s = second
        self.wander = 0.97 * self.wander + 0.03 * noise
        is_open = is_open_day and use.hours[0] <= hour < use.hours[1]
        power = use.standby_w_m2 * self.area_m2 + use.seat_w * self.head_count + use.process_w
        power += use.person_w * self.people * (1.0 + 1.2 * self.wander)
        if is_open:
            power += use.open_w * (0.85 + 1.6 * abs(self.wander))
        power += use.light_w_m2 * self.area_m2 * self._lit(second, sun_w_m2, is_open=is_open)
        # Unit fan coils: about 0.9 W per m² at full speed.
        self.electric_w = int(power * (1.0 + 0.012 * noise) + 0.9 * self.area_m2 * self.fan)

    def _lit(self, second: float, sun_w_m2: float, *, is_open: bool) -> float:
        """Share of the lights that are on."""
        use = self.use
        if use.light_by_clock:
            return 1.0 - 0.15 * min(1.0, sun_w_m2 / 400.0) if is_open else use.night_light
        if second - self.seen_s >= LIGHTS_OUT_S:
            return 0.0
        seats = self.head_count or 20
        return min(1.0, 0.3 + 0.7 * self.people / (0.4 * seats)) * (1.0 - 0.25 * min(1.0, sun_w_m2 / 500.0))

    def step_air(self, outdoor_c: float, sun_w_m2: float, neighbour_c: float, supply_c: float) -> None:
        """Heat and CO2 balance over one minute."""
        area = self.area_m2
        here = self.temperature_c
        exposed = self.use.exposure * area
        heat = ENVELOPE_W_M2K * exposed * (outdoor_c - here) + NEIGHBOUR_W_M2K * area * (neighbour_c - here)
        heat += SOLAR_SHARE_M2_M2 * exposed * sun_w_m2 + 0.92 * self.electric_w + PERSON_HEAT_W * self.people
        heat += AIR_W_K_L_S * self.supply_l_s * (supply_c - here) + self.heating_w - self.cooling_w
        self.temperature_c = here + heat * STEP_S / (HEAT_CAPACITY_J_M2K * area)
        volume_l = area * CEILING_M * 1000.0
        fresh = self.fresh_l_s + INFILTRATION_ACH * volume_l / 3600.0 + self.use.fresh_air_l_s_m2 * area
        # Mass balance; a minute is short against the air change, so one explicit step is exact enough (< 0.5 %).
        made = CO2_L_S_PERSON * self.people * 1e6
        self.co2_ppm += (made - fresh * (self.co2_ppm - OUTDOOR_CO2_PPM)) * STEP_S / volume_l
