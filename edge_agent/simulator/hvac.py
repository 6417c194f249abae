"""Air handlers, fan coils and room units: controls and heat, quasi-steady within a minute."""

from collections.abc import Mapping

from edge_agent.simulator.spaces import AIR_W_K_L_S, Space

FAN_RISE_K = 1.0
COIL_COOLING_W_L_S = 26.0  # Rated heat of an air handler's coils per litre of air per second.
COIL_HEATING_W_L_S = 24.0
TRIM_PER_K = 0.012  # Per minute and kelvin of supply-air error.
ROOM_COOLING_W_M2 = 95.0
ROOM_HEATING_W_M2 = 75.0
COOL_TO_C, HEAT_TO_C = 25.0, 21.5  # Occupied; the thermostats have one band for the year.
EMPTY_OFF_MIN = 25  # A room unit stays on so long after the last person left.
COOL_BACK_C, HEAT_BACK_C = 32.0, 14.0  # Nobody there.

Fault = Mapping[str, float]  # Kind of fault → its size, for one piece of equipment, as it is in this minute.
NO_FAULT: Fault = {}


class AirHandler:
    """A mixing-box air handler with heating and cooling coil and a variable supply fan. Shares are 0…1."""

    __slots__ = (
        "code",
        "cooling_cmd",
        "cooling_w",
        "damper_cmd",
        "damper_min",
        "damper_pos",
        "economizing",
        "fan_status",
        "fan_w",
        "flow_l_s",
        "heating_cmd",
        "heating_w",
        "is_neutral",
        "is_on",
        "is_scheduled",
        "mat_c",
        "power_w",
        "pressure_pa",
        "pressure_sp_pa",
        "rat_c",
        "sat_c",
        "sat_sp_c",
        "spaces",
        "speed",
        "trim",
    )

    def __init__(self, code: str, spaces: list[Space], design: Mapping[str, float], *, is_neutral: bool) -> None:
        """`is_neutral`: room units do the cooling and heating, the air handler brings tempered fresh air."""
        self.code, self.spaces, self.is_neutral = code, spaces, is_neutral
        self.flow_l_s, self.fan_w = design["supply_flow_l_s"], 1000.0 * design["fan_kw"]
        self.damper_min = design["minimum_outside_air_fraction"]
        area = sum(space.area_m2 for space in spaces)
        for space in spaces:
            space.supply_share = space.area_m2 / area
        self.is_on = self.is_scheduled = self.fan_status = self.economizing = False
        self.damper_cmd = self.damper_pos = self.cooling_cmd = self.heating_cmd = self.speed = 0.0
        self.cooling_w = self.heating_w = self.power_w = 0.0
        self.mat_c = self.rat_c = self.sat_c = 20.0
        self.trim = 0.0  # What the controller has learned to add to its valve: 1 is a whole stroke.
        self.sat_sp_c, self.pressure_pa, self.pressure_sp_pa = 18.0, 0.0, 220.0

    def step(self, outdoor_c: float, cold: float, hot: float, noise: float, fault: Fault) -> None:
        """One minute. `cold` and `hot` are the plant's ability to serve the coils, 0…1 and a little above."""
        self.is_on = self.is_scheduled or "after_hours" in fault
        self.fan_status = self.is_on and "supply_fan_failed" not in fault
        spaces = self.spaces
        room = sum(space.temperature_c * space.supply_share for space in spaces)
        self.rat_c += 0.5 * (room + 0.3 - self.rat_c)
        if not self.fan_status:
            self._rest(room, fault)
            return
        self._set_points(outdoor_c)
        self._control(outdoor_c, cold, hot)
        self._move_damper(fault)
        flow = self.flow_l_s * self.speed
        share = self.damper_pos
        mixed = self.rat_c + share * (outdoor_c - self.rat_c)
        self.mat_c += 0.6 * (mixed - self.mat_c)
        cooling, heating = self._coils(flow, cold, hot, fault)
        leaving = self.mat_c + FAN_RISE_K + (heating - cooling) / (AIR_W_K_L_S * flow)
        self.sat_c += 0.55 * (leaving - self.sat_c)
        self.cooling_w, self.heating_w = cooling, heating
        self.power_w = self.fan_w * self.speed**2.7 + 60.0
        self.pressure_pa = self.pressure_sp_pa + 4.0 * noise
        for space in spaces:
            supply = flow * space.supply_share * self._terminal(space)
            space.supply_l_s = supply
            space.fresh_l_s = supply * share

    def _rest(self, room: float, fault: Fault) -> None:
        self.damper_cmd = self.cooling_cmd = self.heating_cmd = self.speed = 0.0
        self.cooling_w = self.heating_w = self.power_w = self.pressure_pa = 0.0
        self.economizing = False
        self.trim = 0.0
        self._move_damper(fault)
        self.mat_c += 0.05 * (room - self.mat_c)
        self.sat_c += 0.05 * (room - self.sat_c)
        for space in self.spaces:
            space.supply_l_s = space.fresh_l_s = 0.0

    def _set_points(self, outdoor_c: float) -> None:
        """Supply air and duct pressure follow the weather and the number of people."""
        low_c, high_c, cold_sp, warm_sp = (12.0, 26.0, 20.0, 15.0) if self.is_neutral else (12.0, 24.0, 24.0, 14.0)
        share = min(1.0, max(0.0, (outdoor_c - low_c) / (high_c - low_c)))
        self.sat_sp_c += 0.1 * (cold_sp + share * (warm_sp - cold_sp) - self.sat_sp_c)
        people = sum(space.people for space in self.spaces)
        seats = sum(space.head_count for space in self.spaces) or 40
        wanted = 0.55 + 0.35 * min(1.0, people / (0.7 * seats))
        self.speed = wanted if self.speed == 0.0 else self.speed + 0.2 * (wanted - self.speed)
        self.pressure_sp_pa = 150.0 + 110.0 * (self.speed - 0.5) / 0.4

    def _control(self, outdoor_c: float, cold: float, hot: float) -> None:
        """Heating, free cooling, mechanical cooling in sequence (ASHRAE Guideline 36, dry-bulb changeover)."""
        target = self.sat_sp_c - FAN_RISE_K
        rat = self.rat_c
        # Changeover with a band of 1.5 K, so that the damper does not chatter at equal temperatures.
        self.economizing = outdoor_c < rat - (1.5 if self.economizing else 3.0)
        damper, cooling, heating = self.damper_min, 0.0, 0.0
        least = rat + self.damper_min * (outdoor_c - rat)
        if least < target - 0.1:
            heating = AIR_W_K_L_S * (target - least) / (COIL_HEATING_W_L_S * max(hot, 0.05))
        elif self.economizing:
            damper = 1.0 if outdoor_c >= target else min(1.0, (target - rat) / (outdoor_c - rat))
            mixed = rat + damper * (outdoor_c - rat)
            if mixed > target + 0.4:
                cooling = AIR_W_K_L_S * (mixed - target) / (COIL_COOLING_W_L_S * max(cold, 0.05))
        else:
            cooling = AIR_W_K_L_S * (least - target) / (COIL_COOLING_W_L_S * max(cold, 0.05))
        # Integral action on the active coil: a valve that does not deliver is driven to its end.
        error = self.sat_c - self.sat_sp_c
        if heating > 0.0:
            self.trim = min(1.0, max(-0.2, self.trim - TRIM_PER_K * error))
            heating += self.trim
        elif cooling > 0.0:
            self.trim = min(1.0, max(-0.2, self.trim + TRIM_PER_K * error))
            cooling += self.trim
        else:
            self.trim *= 0.9
        self.damper_cmd += 0.35 * (max(self.damper_min, damper) - self.damper_cmd)
        # A valve that wants less than 2 % stays shut.
        self.cooling_cmd = self._valve(self.cooling_cmd, cooling)
        self.heating_cmd = self._valve(self.heating_cmd, heating)

    @staticmethod
    def _valve(now: float, wanted: float) -> float:
        moved = now + 0.4 * (min(1.0, max(0.0, wanted)) - now)
        return moved if moved > 0.02 else 0.0

    def _move_damper(self, fault: Fault) -> None:
        stuck = fault.get("oa_damper_stuck")
        self.damper_pos = self.damper_cmd if stuck is None else stuck / 100.0

    def _coils(self, flow: float, cold: float, hot: float, fault: Fault) -> tuple[float, float]:
        cooling = fault["cooling_valve_stuck"] / 100.0 if "cooling_valve_stuck" in fault else self.cooling_cmd
        cooling = max(cooling, fault.get("cooling_valve_leak", 0.0) / 100.0)
        heating = max(self.heating_cmd, fault.get("heating_valve_leak", 0.0) / 100.0)
        return COIL_COOLING_W_L_S * flow * cooling * cold, COIL_HEATING_W_L_S * flow * heating * hot

    def _terminal(self, space: Space) -> float:
        """Dampers of spaces without room units open to the side that needs air."""
        if self.is_neutral:
            return 1.0
        error = (space.temperature_c - 23.2) * (1.0 if self.sat_c < space.temperature_c else -1.0)
        return min(3.2, max(0.4, 0.8 + 0.8 * error))


class RoomUnit:
    """A fan coil or a VRF indoor unit with its thermostat."""

    __slots__ = ("code", "cooling", "empty_min", "fan", "heating", "is_on", "is_refrigerant", "set_point_c", "space")

    def __init__(self, code: str, space: Space, *, is_refrigerant: bool) -> None:
        """`is_refrigerant`: served by the VRF outdoor unit instead of chilled and hot water."""
        self.code, self.space, self.is_refrigerant = code, space, is_refrigerant
        self.cooling = self.heating = self.fan = 0.0  # Outputs of the thermostat, 0…1.
        self.is_on = False
        self.empty_min = EMPTY_OFF_MIN  # Minutes since the last person left.
        self.set_point_c = HEAT_TO_C

    def step(self, cold: float, hot: float, *, is_early: bool, fault: Fault) -> None:
        """One minute; `is_early` starts the unit before people come."""
        space = self.space
        self.empty_min = 0 if space.people else self.empty_min + 1
        self.is_on = space.is_let and (self.empty_min < EMPTY_OFF_MIN or is_early or "after_hours" in fault)
        cool_to, heat_to = (COOL_TO_C, HEAT_TO_C) if self.is_on else (COOL_BACK_C, HEAT_BACK_C)
        here = space.temperature_c
        self.cooling = self._valve(self.cooling, here - cool_to + 0.3)
        self.heating = self._valve(self.heating, heat_to - here + 0.3)
        if self.cooling or self.heating:
            self.set_point_c = cool_to if self.cooling else heat_to
        if self.is_refrigerant and cold != hot:  # The outdoor unit says whether this is the season of one or the other.
            self.set_point_c = cool_to if cold else heat_to
        wanted = max(self.cooling, self.heating)
        self.fan = 0.0 if not (self.is_on or wanted) else (1.0 if wanted > 0.66 else 0.66 if wanted > 0.33 else 0.33)
        blowing = 0.0 if "fan_failed" in fault else self.fan
        leak_cold = max(self.cooling, fault.get("cooling_valve_leak", 0.0) / 100.0)
        leak_hot = max(self.heating, fault.get("heating_valve_leak", 0.0) / 100.0)
        moved = 0.15 + 0.85 * min(1.0, blowing * 1.5)
        space.fan = blowing
        space.cooling_w = ROOM_COOLING_W_M2 * space.area_m2 * leak_cold * cold * moved
        space.heating_w = ROOM_HEATING_W_M2 * space.area_m2 * leak_hot * hot * moved

    @staticmethod
    def _valve(now: float, wanted: float) -> float:
        moved = now + 0.3 * (min(1.0, max(0.0, wanted)) - now)
        return moved if moved > 0.02 else 0.0
