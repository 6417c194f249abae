"""Measured trends of a real room in place of the model of one space.

A map file (YAML) says which columns mean what; see `ReplayMap`. Energy of a row is spread over its minutes in whole
watts without losing any: what the meter counts is what the file says, to the resolution of the meter.
"""

import csv
import gzip
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.simulator.people import LAST_EXIT_S, Direction, Passage, card_number
from edge_agent.simulator.plan import Plan

ROWS_MAX = 1_000_000
MAP_BYTES_MAX = 64 * 1024
WS_PER_KWH = 3_600_000


class ReplayError(ValueError):
    """A trend or map file that a person must mend; the text names file, line and remedy."""


class ReplayMap(BaseModel):
    """Which space is driven, and what the columns of the file are. Columns that are not named are not used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    time: str  # ISO 8601 with an offset; a space before the offset is allowed.
    period_s: Annotated[int, Field(ge=60, le=3600, multiple_of=60)]
    energy_kwh: Annotated[list[str], Field(min_length=1)]  # Energy of each row's period; the columns are added up.
    people: str | None = None
    co2_ppm: str | None = None
    temperature_c: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured in one period; None where the file has no value."""

    at_s: int  # Beginning, seconds since 1970.
    energy_ws: int
    people: int | None
    co2_ppm: float | None
    temperature_c: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A measured room, moved in time so that its first row begins at `begin_minute`."""

    space: str
    period_s: int
    rows: tuple[Measured, ...]
    starts: tuple[int, ...]  # Minute since 1970 at which each row is played.
    energy_before_ws: tuple[int, ...]  # Of all earlier rows.

    def at(self, minute: int) -> Measured | None:
        """Return the row that is played in a minute, or None in a gap."""
        index = bisect_right(self.starts, minute) - 1
        if index < 0 or (minute - self.starts[index]) * 60 >= self.period_s:
            return None
        return self.rows[index]

    def power_w(self, minute: int) -> int | None:
        """Return the mean power of a minute in whole watts; summed over time it keeps to the energy of the file."""
        row = self.at(minute)
        if row is None:
            return None
        index = bisect_right(self.starts, minute) - 1
        inside_s = (minute - self.starts[index]) * 60
        before = self.energy_before_ws[index]
        counted = before + row.energy_ws * inside_s // self.period_s
        after = before + row.energy_ws * (inside_s + 60) // self.period_s
        return after // 60 - counted // 60

    def passages(self, plan: Plan, day: date, midnight_minute: int) -> Iterator[Passage]:
        """Yield who must have come and gone on a day for the counts to be what they are; all leave before midnight."""
        floor = next(item.floor for item in plan.spaces if item.code == self.space)
        draw = Random(f"{plan.seed}/replay/{self.space}/{day.isoformat()}")
        inside: list[int] = []  # Who is in: the number of the person.
        for second, wanted in [*self._counts(midnight_minute), (LAST_EXIT_S, 0)]:
            while len(inside) != wanted:
                direction = Direction.IN if len(inside) < wanted else Direction.OUT
                person = len(inside) if direction is Direction.IN else inside[-1]
                inside.append(person) if direction is Direction.IN else inside.pop()
                card = card_number(plan.seed, f"replay/{self.space}", person)
                walk = draw.randint(40, 55) * (1 if direction is Direction.OUT else -1)
                for door, at in (("main", second + walk), (floor, second)):
                    if door == "main" or floor != "1F":
                        yield Passage(second=max(0, at), door=door, direction=direction, space=self.space, card=card)

    def _counts(self, midnight_minute: int) -> Iterator[tuple[int, int]]:
        """Yield (second of the day, people) of each row that is played on a day."""
        first = bisect_right(self.starts, midnight_minute - 1)
        for start, row in zip(self.starts[first:], self.rows[first:], strict=True):
            second = (start - midnight_minute) * 60
            if second >= LAST_EXIT_S:
                return
            if row.people is not None:
                yield second + 57, row.people  # After the walk from the entrance.


def load_replay(data_path: Path, map_path: Path, *, begin_minute: int, plan: Plan) -> Replay:
    """Read trend and map; raises ReplayError."""
    mapping = _read_map(map_path)
    if mapping.space not in {item.code for item in plan.spaces}:
        raise ReplayError(f"{map_path}: space: “{mapping.space}” does not stand in the building file")
    rows = tuple(_read_rows(data_path, mapping))
    if not rows:
        raise ReplayError(f"{data_path}: no row with a time and an energy")
    for earlier, later in pairwise(rows):
        if later.at_s < earlier.at_s + mapping.period_s:
            at = datetime.fromtimestamp(later.at_s).astimezone().isoformat()
            raise ReplayError(f"{data_path}: the row of {at} comes before the one above it ends; sort the file by time")
    total, before = 0, []
    for row in rows:
        before.append(total)
        total += row.energy_ws
    return Replay(
        space=mapping.space,
        period_s=mapping.period_s,
        rows=rows,
        starts=tuple(begin_minute + (row.at_s - rows[0].at_s) // 60 for row in rows),
        energy_before_ws=tuple(before),
    )


def _read_map(path: Path) -> ReplayMap:
    try:
        if path.stat().st_size > MAP_BYTES_MAX:
            raise ReplayError(f"{path}: larger than {MAP_BYTES_MAX} bytes")
        return ReplayMap.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ReplayError(f"{path}: {where}: {first['msg']}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path}: cannot be read: {error}") from error


def _read_rows(path: Path, mapping: ReplayMap) -> Iterator[Measured]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            wanted = [mapping.time, *mapping.energy_kwh, mapping.people, mapping.co2_ppm, mapping.temperature_c]
            missing = [name for name in wanted if name is not None and name not in (reader.fieldnames or ())]
            if missing:
                there = ", ".join(reader.fieldnames or ())
                raise ReplayError(f"{path}:1: no column {', '.join(missing)}; there are: {there}")
            for number, row in enumerate(reader, start=2):
                if number > ROWS_MAX:
                    raise ReplayError(f"{path}: more than {ROWS_MAX} rows; cut the file")
                yield _measured(path, number, row, mapping)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path}: cannot be read: {error}") from error


def _measured(path: Path, number: int, row: dict[str, Any], mapping: ReplayMap) -> Measured:
    try:
        at = _instant(row[mapping.time])
        energy_kwh = sum(float(row[name] or 0.0) for name in mapping.energy_kwh)
        people = _number(row, mapping.people)
        return Measured(
            at_s=round(at.timestamp()),
            energy_ws=round(energy_kwh * WS_PER_KWH),
            people=None if people is None else round(people),
            co2_ppm=_number(row, mapping.co2_ppm),
            temperature_c=_number(row, mapping.temperature_c),
        )
    except ValueError as error:
        raise ReplayError(f"{path}:{number}: {error}") from error


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text.strip().replace(" ", "T", 1).replace(" ", ""))
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return at


def _number(row: dict[str, Any], name: str | None) -> float | None:
    return float(row[name]) if name is not None and row[name] else None
