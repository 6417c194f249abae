"""Chiller, heat pump, their pumps, and the VRF outdoor unit."""

from edge_agent.simulator.hvac import Fault

MIN_ON_MIN, MIN_OFF_MIN = 20, 12  # A compressor runs and rests at least so long.
DESIGN_DELTA_K = 6.0  # Of the water, at rated load and full flow.
LOAD_MIN = 0.02  # Smallest step of a modular machine, as a share of its rating.


class WaterMachine:
    """An air-cooled chiller or an air-source heat pump on its own water loop, with a variable-speed pump."""

    __slots__ = (
        "demand_share",
        "entering_c",
        "heats",
        "idle_min",
        "is_commanded",
        "is_running",
        "leaving_c",
        "load_share",
        "load_w",
        "minutes",
        "power_w",
        "pump_commanded",
        "pump_power_w",
        "pump_rated_w",
        "pump_running",
        "pump_speed",
        "rated_w",
        "set_point_c",
        "starts",
    )

    def __init__(self, *, rated_w: float, pump_rated_w: float, heats: bool) -> None:
        """Make a machine at rest with its water at room temperature."""
        self.rated_w, self.pump_rated_w, self.heats = rated_w, pump_rated_w, heats
        self.is_commanded = self.is_running = self.pump_running = self.pump_commanded = False
        self.minutes = 600  # In the present state.
        self.idle_min = 0
        self.starts = 0
        self.demand_share = self.load_w = self.load_share = self.power_w = 0.0
        self.pump_power_w = self.pump_speed = 0.0
        self.set_point_c = 42.0 if heats else 8.0
        self.leaving_c = self.entering_c = 22.0

    @property
    def ability(self) -> float:
        """How well the water serves a coil: 1 at design temperature, 0 when it is lukewarm."""
        span = (self.leaving_c - 27.0) / 15.0 if self.heats else (17.0 - self.leaving_c) / 9.0
        return min(1.15, max(0.0, span)) if self.pump_running else 0.0

    def step(self, *, wanted_w: float, demand: float, outdoor_c: float, fault: Fault) -> None:
        """One minute: `wanted_w` is what the coils took, `demand` (0…1) how far their valves are open on average."""
        self.demand_share = demand
        self._schedule(demand, fault)
        self._set_point(outdoor_c)
        self.load_w = min(wanted_w, self.rated_w)
        self._pump(demand, fault)
        self._run(outdoor_c, fault)

    def _schedule(self, demand: float, fault: Fault) -> None:
        self.minutes += 1
        is_needed = demand > 0.025 and (self.load_share >= LOAD_MIN or self.minutes < MIN_ON_MIN)
        self.idle_min = 0 if is_needed else self.idle_min + 1
        before = self.is_commanded
        if "after_hours" in fault:
            self.is_commanded = True
        elif "short_cycling" in fault:
            # A failing flow switch or a wrong differential: on and off every few minutes, whatever the demand.
            if self.minutes >= max(2.0, fault["short_cycling"]):
                self.is_commanded = not self.is_commanded
        elif self.is_commanded:
            self.is_commanded = self.idle_min < 15 or self.minutes < MIN_ON_MIN
        elif demand > 0.06 and self.minutes >= MIN_OFF_MIN:
            self.is_commanded = True
        if self.is_commanded is not before:
            self.minutes = 0
            self.starts += self.is_commanded
        self.is_running = self.is_commanded and "failed" not in fault

    def _set_point(self, outdoor_c: float) -> None:
        """Outdoor reset: chilled water 7…11 °C, hot water 38…45 °C."""
        if self.heats:
            wanted = 45.0 - 7.0 * min(1.0, max(0.0, (outdoor_c - 0.0) / 15.0))
        else:
            wanted = 11.0 - 4.0 * min(1.0, max(0.0, (outdoor_c - 16.0) / 14.0))
        self.set_point_c += 0.05 * (wanted - self.set_point_c)

    def _pump(self, demand: float, fault: Fault) -> None:
        # The pump starts with its machine and runs on until the demand has been gone for five minutes.
        self.pump_commanded = self.is_commanded or (self.pump_commanded and self.idle_min < 5)
        self.pump_running = (self.pump_commanded or "pump_runs_on" in fault) and "pump_failed" not in fault
        wanted = min(1.0, 0.42 + 0.65 * demand) if self.pump_running else 0.0
        if "low_delta_t" in fault and self.pump_running:
            wanted = 1.0
        self.pump_speed = wanted if not self.pump_running else self.pump_speed + 0.3 * (wanted - self.pump_speed)
        self.pump_power_w = self.pump_rated_w * self.pump_speed**2.8 + (70.0 if self.pump_running else 0.0)

    def _run(self, outdoor_c: float, fault: Fault) -> None:
        sign = 1.0 if self.heats else -1.0
        if self.is_running and self.pump_running:
            self.leaving_c += 0.22 * (self.set_point_c - self.leaving_c)
        else:
            self.load_w = 0.0
            self.leaving_c += 0.012 * (21.0 - self.leaving_c)
        flow_w_k = self.rated_w / DESIGN_DELTA_K * max(self.pump_speed, 0.2)
        if "low_delta_t" in fault:
            flow_w_k *= 1.6  # Water that takes a short way round the coils.
        self.entering_c = self.leaving_c - sign * self.load_w / flow_w_k
        self.load_share = self.load_w / self.rated_w
        self.power_w = 180.0  # Controls and crankcase heater.
        if self.is_running:
            load = max(self.load_share, LOAD_MIN)  # Below the smallest step it idles at that step.
            efficiency = self._cop(outdoor_c, load) * (1.0 - fault.get("low_efficiency", 0.0) / 100.0)
            self.power_w += load * self.rated_w / efficiency + 200.0

    def _cop(self, outdoor_c: float, load: float) -> float:
        """Coefficient of performance of a modular machine: best at half load and small temperature lift."""
        part = 0.90 + 0.32 * load - 0.28 * load * load
        if self.heats:
            return max(1.8, 3.9 + 0.08 * (outdoor_c - 7.0) - 0.03 * (self.set_point_c - 42.0)) * part
        return max(2.0, 3.3 + 0.075 * (35.0 - outdoor_c) + 0.05 * (self.set_point_c - 7.0)) * part


class OutdoorUnit:
    """A VRF outdoor unit: heats or cools, whichever most of its indoor units ask for."""

    __slots__ = ("is_failed", "is_heating", "load_w", "power_w", "rated_w", "running")

    def __init__(self, rated_w: float) -> None:
        """At rest."""
        self.rated_w = rated_w
        self.is_heating = self.is_failed = False
        self.running = False
        self.load_w = self.power_w = 0.0

    @property
    def cold(self) -> float:
        """What the indoor units can take for cooling, 0…1."""
        return 0.0 if self.is_heating or self.is_failed else 1.0

    @property
    def hot(self) -> float:
        """What the indoor units can take for heating, 0…1."""
        return 1.0 if self.is_heating and not self.is_failed else 0.0

    def step(
        self, *, cooling_asked: float, heating_asked: float, load_w: float, outdoor_c: float, fault: Fault
    ) -> None:
        """One minute; the mode follows the greater demand, with hysteresis."""
        if heating_asked > cooling_asked + 0.15:
            self.is_heating = True
        elif cooling_asked > heating_asked + 0.15:
            self.is_heating = False
        self.load_w = min(load_w, self.rated_w)
        share = self.load_w / self.rated_w
        self.is_failed = "failed" in fault
        self.running = share > 0.01 and not self.is_failed
        self.power_w = 120.0
        if self.running:
            lift = 0.06 * (outdoor_c - 7.0) if self.is_heating else 0.08 * (35.0 - outdoor_c)
            cop = max(1.8, (3.4 + lift)) * (0.85 + 0.5 * share - 0.4 * share * share)
            self.power_w += max(share, 0.08) * self.rated_w / cop * (1.0 + fault.get("low_efficiency", 0.0) / 100.0)
