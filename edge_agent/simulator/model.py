"""The building as one physical system, stepped minute by minute from local midnight.

`Building` is a function of plan, seed, time and injected faults: two processes that start from the same day's state
reach the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from edge_agent.simulator.calendar import DayKind, day_kind
from edge_agent.simulator.electricity import STEP_S, MeterTree
from edge_agent.simulator.hvac import NO_FAULT, Fault
from edge_agent.simulator.people import Direction, Passage, day_passages, passage_order
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.replay import Replay
from edge_agent.simulator.services import Services, kept, put
from edge_agent.simulator.spaces import Space
from edge_agent.simulator.water import WaterMain
from edge_agent.simulator.weather import Climate, Weather

MINUTE_MS = 60_000
DAY_MIN = 1440
STATE_VERSION = 1
LEFT_ON_FROM, LEFT_ON_UNTIL = 20.0, 7.0  # Local hours in which what is left on draws power.
_SPACE_KEYS = ("temperature_c", "co2_ppm", "wander", "fan", "cooling_w", "heating_w", "supply_l_s", "fresh_l_s")
_CORRIDORS = frozenset({"corridor", "lobby"})

FaultsAt = Callable[[int], Mapping[str, Fault]]  # Minute since 1970 → equipment or device → faults.


def no_faults(_minute: int) -> Mapping[str, Fault]:
    """Return the faults of a building in good order: none."""
    return {}


class Building:
    """State at the beginning of `minute` (since 1970, UTC) and the powers that hold until its end."""

    def __init__(
        self, plan: Plan, start: datetime, faults: FaultsAt = no_faults, replays: Sequence[Replay] = ()
    ) -> None:
        """Make a building at rest at local midnight before `start`; call `run_to` to move on."""
        self.plan = plan
        self.faults_at = faults
        self.replays = tuple(replays)
        self.climate = Climate(plan.seed)
        self.spaces = {
            item.code: Space(
                code=item.code, floor=item.floor, kind=item.kind, activity=item.activity, area_m2=item.area_m2
            )
            for item in plan.spaces
        }
        activities = {item.code: item.activity for item in plan.spaces}
        corridors = {s.floor: s for s in self.spaces.values() if activities[s.code] in _CORRIDORS}
        # Each space leans on its floor's corridor, the corridors on the core of the building.
        self._neighbours = [(s, corridors.get(s.floor)) for s in self.spaces.values() if s.floor in corridors]
        self.services = Services(plan, self.spaces, activities)
        self.power = MeterTree(plan)
        self.water = WaterMain(plan.seed)
        self.people_in = self.people_out = 0  # Counters of the main entrance, never reset.
        self.door_sequence = dict.fromkeys(["main", *sorted({item.floor for item in plan.spaces})], 0)
        self._begin_day(start.astimezone(plan.zone).date())
        self.minute = self.day_start_minute
        self._settle()
        self.midnight = self._checkpoint()
        self._prepare_minute()

    @property
    def at_ms(self) -> int:
        """The instant of the state, milliseconds since 1970."""
        return self.minute * MINUTE_MS

    @property
    def second(self) -> int:
        """Second of the local day at the beginning of the minute."""
        return (self.minute - self.day_start_minute) * STEP_S

    @property
    def is_open_day(self) -> bool:
        """Whether the house is open as on a working day."""
        return self.kind in {DayKind.WORKDAY, DayKind.EXCHANGED}

    def run_to(self, minute: int) -> None:
        """Step until the state is that of `minute`."""
        while self.minute < minute:
            self.step()

    def step(self) -> None:
        """Count the energy of this minute, then move to the next."""
        self.power.end_minute()
        self.water.end_minute()
        self.minute += 1
        if self.minute - self.day_start_minute == DAY_MIN:
            self._begin_day(self.day + timedelta(days=1))
            self.midnight = self._checkpoint()
        self._prepare_minute()

    def _begin_day(self, day: date) -> None:
        self.day = day
        self.day_start_minute = _midnight_minute(self.plan, day)
        self.kind = day_kind(day)
        self.noise = Random(f"{self.plan.seed}/noise/{day.isoformat()}")
        self.passages = self._passages_of(day)
        self._next_passage = 0
        self.present = 0
        for space in self.spaces.values():
            lease = self.plan.lease_of(space.code, day)
            space.begin_day(None if lease is None else lease.head_count)

    def _passages_of(self, day: date) -> list[Passage]:
        """Return who passes which door on a day; replayed spaces bring their own people."""
        replayed = {replay.space for replay in self.replays}
        passages = [item for item in day_passages(self.plan, day) if item.space not in replayed]
        for replay in self.replays:
            passages += replay.passages(self.plan, day, self.day_start_minute)
        return sorted(passages, key=passage_order)

    def _settle(self) -> None:
        """Guess a plausible building after a night, where no earlier state is known."""
        outdoor = self.climate.at(self.day, 0).temperature_c
        for space in self.spaces.values():
            space.temperature_c = 21.5 + 0.35 * max(-6.0, min(10.0, outdoor - 18.0))
        self.services.settle(21.5)

    def _prepare_minute(self) -> None:
        """From the state at its beginning, work out everything that holds during the minute."""
        second = self.second
        hour = second / 3600.0
        self.weather: Weather = self.climate.at(self.day, second)
        self.faults = self.faults_at(self.minute)
        moved = self._move_people(second)
        self._draw_power(hour)
        for replay in self.replays:
            power_w = replay.power_w(self.minute)
            if power_w is not None:
                self.spaces[replay.space].electric_w = power_w
        self.services.process_w = 0.93 * self.spaces["5F-S"].electric_w
        self.services.step(
            hour=hour,
            is_open_day=self.is_open_day,
            outdoor_c=self.weather.temperature_c,
            noise=2.0 * self.noise.random() - 1.0,
            faults=self.faults,
        )
        self._step_air()
        self.power.begin_minute(self.minute, self._loads(hour, moved), self.faults)
        self.water.begin_minute(self.minute, self.present, self.faults.get("water-main", NO_FAULT).get("leak", 0.0))

    def _move_people(self, second: int) -> int:
        """Let everybody through whose time has come; returns how many passed a door."""
        passages, index = self.passages, self._next_passage
        first = index
        while index < len(passages) and passages[index].second < second + STEP_S:
            passage = passages[index]
            index += 1
            self.door_sequence[passage.door] += passage.card is not None
            if passage.door == "main":
                self.people_in += passage.direction is Direction.IN
                self.people_out += passage.direction is Direction.OUT
                self.present += passage.direction
            space = self.spaces[passage.space]
            if space.floor in {passage.door, "1F"}:
                space.people += passage.direction
        self._next_passage = index
        return index - first

    def _draw_power(self, hour: float) -> None:
        random = self.noise.random
        sun = self.weather.solar_w_m2
        open_day = self.is_open_day
        for space in self.spaces.values():
            open_here = open_day or (space.people > 0 and space.kind == "tenant")
            space.draw_power(hour, is_open_day=open_here, sun_w_m2=sun, noise=2.0 * random() - 1.0)

    def _step_air(self) -> None:
        outdoor, sun = self.weather.temperature_c, self.weather.solar_w_m2
        supply = self.services.supply_c()
        for space, corridor in self._neighbours:
            if corridor is None or corridor is space:
                neighbour = 21.0 + 0.25 * (space.temperature_c - 21.0)
            else:
                neighbour = corridor.temperature_c
            space.step_air(outdoor, sun, neighbour, supply.get(space.code, space.temperature_c))
        for replay in self.replays:
            self._measured_air(replay)
        # The server room and the electrical room have cooling of their own.
        self.spaces["5F-S"].temperature_c = 23.4 + 0.4 * math.sin(self.minute / 7.0)
        self.spaces["1F-E"].temperature_c = min(self.spaces["1F-E"].temperature_c, 30.0)

    def _measured_air(self, replay: Replay) -> None:
        """Put what was measured in place of what was worked out."""
        row, space = replay.at(self.minute), self.spaces[replay.space]
        if row is not None and row.temperature_c is not None:
            space.temperature_c = row.temperature_c
        if row is not None and row.co2_ppm is not None:
            space.co2_ppm = row.co2_ppm

    def _loads(self, hour: float, moved: int) -> dict[str, int]:
        """Return the power of everything in whole watts."""
        dark = self.weather.solar_w_m2 < 6.0
        loads = {
            **{code: space.electric_w for code, space in self.spaces.items()},
            **self.services.loads(),
            # Two lifts: standby, and about 25 Wh for every trip of a little more than one person.
            "lifts": int(950 + 1050 * min(14, moved) * (0.7 + 0.6 * self.noise.random())),
            "outdoor": (1100 if dark else 160) + (5200 if dark and 16.0 <= hour < 22.5 else 0),
        }
        if hour >= LEFT_ON_FROM or hour < LEFT_ON_UNTIL:
            for meter in self.plan.meters:
                left_on_kw = self.faults.get(meter.code, NO_FAULT).get("night_load", 0.0)
                if left_on_kw and meter.loads:
                    loads[meter.loads[0]] += int(1000 * left_on_kw)
        return loads

    def _checkpoint(self) -> dict[str, Any]:
        """Return the state at the local midnight that has just come, before anything moved; plain JSON."""
        return {
            "version": STATE_VERSION,
            "seed": self.plan.seed,
            "day": self.day.isoformat(),
            "electricity": self.power.kept(),
            "water": self.water.kept(),
            "counters": [self.people_in, self.people_out],
            "doors": dict(self.door_sequence),
            "spaces": {code: kept(space, _SPACE_KEYS) for code, space in self.spaces.items()},
            "services": self.services.kept(),
        }

    @classmethod
    def restore(
        cls, plan: Plan, state: Mapping[str, Any], faults: FaultsAt = no_faults, replays: Sequence[Replay] = ()
    ) -> "Building":
        """Return a building as its `midnight` was kept; raises ValueError when that is another building's."""
        if state.get("version") != STATE_VERSION or state.get("seed") != plan.seed:
            raise ValueError("the kept state is of another version or seed")
        day = date.fromisoformat(state["day"])
        building = cls(plan, datetime(day.year, day.month, day.day, tzinfo=plan.zone), no_faults)
        if set(state["spaces"]) != set(building.spaces):
            raise ValueError("the kept state belongs to a building with other spaces")
        building._take(state)
        building.faults_at = faults
        building.replays = tuple(replays)
        building._begin_day(day)
        building.midnight = building._checkpoint()
        building._prepare_minute()
        return building

    def _take(self, state: Mapping[str, Any]) -> None:
        self.power.take(state["electricity"])
        self.water.take(state.get("water", {}))
        self.people_in, self.people_out = state["counters"]
        self.door_sequence = dict(state["doors"])
        for code, space in self.spaces.items():
            put(space, _SPACE_KEYS, state["spaces"][code])
        self.services.take(state["services"])


def _midnight_minute(plan: Plan, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=plan.zone).timestamp()) // 60
