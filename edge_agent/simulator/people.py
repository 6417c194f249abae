"""Who comes and goes: one day of arrivals and departures per space, drawn from the leases and the calendar.

Everybody is out of the building at local midnight, so each day stands alone: the plan of a day needs no other day.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from random import Random

from edge_agent.simulator.calendar import DayKind, day_kind
from edge_agent.simulator.plan import LeasePlan, Plan, SpacePlan

DAY_S = 86_400
LAST_EXIT_S = 23 * 3600 + 50 * 60
WALK_S = (40, 100)  # From the main entrance to the floor's door, lift included.


class Direction(IntEnum):
    """Seen from the building."""

    IN = 1
    OUT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One person passes one door. Visitors carry no card: counters see them, card readers do not."""

    second: int  # Of the local day.
    door: str  # `main`, or the code of a floor.
    direction: Direction
    space: str  # Where the person belongs.
    card: int | None


# Per activity: share of the head count that comes, by kind of day.
_ATTENDANCE = {
    "office": {DayKind.WORKDAY: 0.84, DayKind.EXCHANGED: 0.78, DayKind.WEEKEND: 0.07, DayKind.HOLIDAY: 0.02},
    "startup": {DayKind.WORKDAY: 0.88, DayKind.EXCHANGED: 0.85, DayKind.WEEKEND: 0.40, DayKind.HOLIDAY: 0.08},
    "laboratory": {DayKind.WORKDAY: 0.85, DayKind.EXCHANGED: 0.80, DayKind.WEEKEND: 0.22, DayKind.HOLIDAY: 0.10},
    "showroom": {DayKind.WORKDAY: 0.90, DayKind.EXCHANGED: 0.90, DayKind.WEEKEND: 0.30, DayKind.HOLIDAY: 0.10},
    "cafe": {DayKind.WORKDAY: 0.90, DayKind.EXCHANGED: 0.90, DayKind.WEEKEND: 0.45, DayKind.HOLIDAY: 0.0},
}
# Mean and spread of arrival and departure, hours.
_HOURS = {
    "office": ((8.95, 0.42), (18.5, 0.95)),
    "startup": ((9.6, 0.7), (20.3, 1.5)),
    "laboratory": ((8.8, 0.5), (18.9, 1.4)),
    "showroom": ((8.8, 0.2), (17.6, 0.3)),
    "cafe": ((7.4, 0.2), (19.2, 0.5)),
}
# Visitors of a workday: mean number, and minutes they stay.
_VISITORS = {"cafe": (110, (6, 35)), "showroom": (18, (20, 70)), "office": (2, (25, 100))}
_HALL_EVENING, _HALL_DAY = 0.30, 0.22  # Chance of an event in the road-show hall: workday evening, weekend day.


def day_passages(plan: Plan, day: date) -> list[Passage]:
    """All passages of one local day, in order of time; in and out balance per space and per door."""
    passages: list[Passage] = []
    for space in plan.spaces:
        draw = Random(f"{plan.seed}/people/{space.code}/{day.isoformat()}")
        passages.extend(_through_doors(space, _stays(plan, space, day, draw), draw))
    return sorted(passages, key=passage_order)


def passage_order(passage: Passage) -> tuple[int, str, int, str, int]:
    """Return the sort key that makes one order of passages, whatever made them."""
    return passage.second, passage.door, passage.direction, passage.space, passage.card or 0


def _stays(plan: Plan, space: SpacePlan, day: date, draw: Random) -> Iterator[tuple[int, int, int | None]]:
    """(arrival, departure, card) at the space itself, seconds of the day."""
    kind = day_kind(day)
    if space.activity == "hall":
        yield from _hall_event(kind, draw)
        return
    lease = plan.lease_of(space.code, day)
    if lease is None or space.activity not in _ATTENDANCE:
        return
    share = min(0.98, max(0.0, _ATTENDANCE[space.activity][kind] + draw.gauss(0.0, 0.035)))
    if kind in {DayKind.WORKDAY, DayKind.EXCHANGED} and day.weekday() == 4:
        share *= 0.95  # Fridays are thinner.
    for person in range(lease.head_count):
        if draw.random() < share:
            card = card_number(plan.seed, f"{lease.tenant}/{space.code}", person)
            yield from ((*stay, card) for stay in _working_day(space.activity, kind, draw))
    if kind in {DayKind.WORKDAY, DayKind.EXCHANGED} and space.activity in _VISITORS:
        mean, minutes = _VISITORS[space.activity]
        for _ in range(max(0, round(draw.gauss(mean, mean**0.5)))):
            start = round(3600 * draw.choice((draw.gauss(9.2, 0.7), draw.gauss(12.9, 0.8), draw.uniform(9.5, 17.0))))
            start = min(max(start, 8 * 3600 + 600), 18 * 3600)
            yield start, start + 60 * draw.randint(*minutes), None


def _working_day(activity: str, kind: DayKind, draw: Random) -> Iterator[tuple[int, int]]:
    (arrive_mean, arrive_sd), (leave_mean, leave_sd) = _HOURS[activity]
    arrive = draw.gauss(arrive_mean, arrive_sd)
    leave = draw.gauss(leave_mean, leave_sd)
    if kind in {DayKind.WEEKEND, DayKind.HOLIDAY}:
        arrive, leave = draw.uniform(9.0, 14.0), draw.uniform(14.5, 19.0)
    elif draw.random() < 0.07:
        leave += draw.uniform(1.5, 3.5)  # A late evening.
    first, last = round(arrive * 3600), min(round(leave * 3600), LAST_EXIT_S)
    first = max(first, 6 * 3600)
    last = max(last, first + 1800)
    if activity != "cafe" and first < 11 * 3600 and last > 15 * 3600 and draw.random() < 0.62:
        out = round(3600 * draw.gauss(11.95, 0.16))  # Lunch outside the building.
        back = out + 60 * draw.randint(28, 75)
        yield first, out
        yield back, last
    else:
        yield first, last


def _hall_event(kind: DayKind, draw: Random) -> Iterator[tuple[int, int, int | None]]:
    workday = kind in {DayKind.WORKDAY, DayKind.EXCHANGED}
    if kind is DayKind.HOLIDAY or draw.random() >= (_HALL_EVENING if workday else _HALL_DAY):
        return
    begin, hours = (18.9, 2.0) if workday else (draw.choice((9.5, 14.0)), 3.0)
    for _ in range(draw.randint(28, 85)):
        arrive = round(3600 * (begin + draw.gauss(-0.12, 0.16)))
        leave = round(3600 * (begin + hours + draw.gauss(0.05, 0.18)))
        yield arrive, min(max(leave, arrive + 900), LAST_EXIT_S), None


def _through_doors(space: SpacePlan, stays: Iterable[tuple[int, int, int | None]], draw: Random) -> Iterator[Passage]:
    """Each stay passes the main entrance and, above the ground floor, the door of the floor, both ways."""
    ground = space.floor == "1F"
    for arrive, leave, card in stays:
        walk_in, walk_out = (0, 0) if ground else (draw.randint(*WALK_S), draw.randint(*WALK_S))
        yield Passage(second=arrive - walk_in, door="main", direction=Direction.IN, space=space.code, card=card)
        yield Passage(second=leave + walk_out, door="main", direction=Direction.OUT, space=space.code, card=card)
        if not ground:
            yield Passage(second=arrive, door=space.floor, direction=Direction.IN, space=space.code, card=card)
            yield Passage(second=leave, door=space.floor, direction=Direction.OUT, space=space.code, card=card)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardHolder:
    """Whose a card is, as a company's list says it: the number, the company and the card's first and last day."""

    card: int
    tenant: str
    first_day: date
    last_day: date | None  # None: until further notice.


def card_holders(plan: Plan) -> list[CardHolder]:
    """Every card of the building's people; one of several leases of a company holds from the first to the last."""
    teams: dict[tuple[str, str], list[LeasePlan]] = {}
    for lease in plan.leases:
        teams.setdefault((lease.tenant, lease.space), []).append(lease)
    return [
        CardHolder(
            card=card_number(plan.seed, f"{tenant}/{space}", person),
            tenant=tenant,
            first_day=min(lease.first_day for lease in leases),
            last_day=None if any(x.last_day is None for x in leases) else max(x.last_day for x in leases if x.last_day),
        )
        for (tenant, space), leases in teams.items()
        for person in range(max(lease.head_count for lease in leases))
    ]


def card_number(seed: int, team: str, person: int) -> int:
    """Return the number on a person's access card: 26-bit Wiegand, 8-bit facility and 16-bit card."""
    draw = Random(f"{seed}/card/{team}")
    facility = 100 + draw.randrange(100)
    return facility * 100_000 + (draw.randrange(40_000) + person * 13) % 65_536
