"""Late data: judge a limit again over what is stored, and correct its alarm to what sorted data would have said.

What people were told stays on record. An episode that is over before anyone could be told is written down silently,
unless it was critical.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from cloud_api.alarms import repository, service, states
from cloud_api.alarms.limits import FAULT, OK, Limit, Memory, fold, instant, say
from cloud_api.alarms.model import Alarm, AlarmId, Report
from cloud_api.alarms.states import Kind, Policy, State, Transition
from cloud_api.alarms.wording import limit_params
from cloud_api.faults.evaluation import VERDICTS
from cloud_api.faults.model import Verdict

log = structlog.get_logger()
queries = repository.queries

# How far back a limit is judged again, and how many values that may take.
LOOK_BACK_MAX = timedelta(days=7)
HISTORY_MAX = 700_000
_BEFORE_MAX = 1000
_BEFORE_SPAN = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One occurrence as the data tell it; `cleared_at` is None while it lasts."""

    opened_at: datetime
    cleared_at: datetime | None
    reopened_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Where a limit stands after it was judged again."""

    verdict: int
    last_value: float
    frontier_ms: int
    since_ms: int | None
    has_alarm: bool
    changed: list[AlarmId] = field(default_factory=list)


def standing(limit: Limit, before: int, value: float | None, quality: int) -> int:
    """Return the verdict that the newest value gives when `before` was said last."""
    memory = Memory(verdict=before, last_value=float("nan"))
    return say(limit, memory, float("nan") if value is None else value, quality)


async def judge_again(
    conn: AsyncConnection, limit: Limit, late_from: datetime, now: datetime, described: dict[int, dict[str, Any]]
) -> Judged:
    """Judge a limit from before `late_from` on and make its alarm say so."""
    policy = limit.policy
    alarm = next(iter(await repository.alarms_by_keys(conn, [(limit.site_id, limit.subject, limit.rule)])), None)
    margin = max(policy.on_delay, policy.off_delay, policy.reopen_within) + timedelta(seconds=1)
    known = await _occurrences(conn, alarm, late_from - margin)
    start = max(
        limit.valid_from - timedelta(milliseconds=1),
        now - LOOK_BACK_MAX,
        min([late_from, *(row["opened_at"] for row in known)]) - margin,
    )
    memory, state = await _before(conn, limit, start, known)
    if state.fault_since and not state.active and start > limit.valid_from:
        # The condition held already, and nothing says since when: look further back once.
        start = max(limit.valid_from - timedelta(milliseconds=1), now - LOOK_BACK_MAX, start - 10 * margin)
        memory, state = await _before(conn, limit, start, known)
    history = await repository.rows(
        conn, queries.point_history, {"point_id": limit.point_id, "start": start, "limit": HISTORY_MAX}
    )
    rows = [(row["at_ms"], row["value"], row["quality"]) for row in history]
    changes = fold(limit, memory, rows)
    frontier_ms = rows[-1][0] if rows else int(start.timestamp() * 1000)
    # Delays that ended live were known to be complete then: what has happened is not undone for want of newer data.
    acted = [at for at in (alarm.state.opened_at, alarm.state.cleared_at) if at] if alarm else []
    after, transitions = replay(state, policy, changes, max([instant(frontier_ms), *acted]))
    changed = await _correct(
        conn, limit, alarm, known, after, episodes(transitions, _going_on(known, start)), now, described
    )
    return Judged(
        verdict=memory.verdict,
        last_value=memory.last_value,
        frontier_ms=frontier_ms,
        since_ms=changes[-1][0] if changes else None,
        has_alarm=alarm is not None or bool(changed),
        changed=changed,
    )


def replay(
    state: State, policy: Policy, changes: Sequence[tuple[int, int]], until: datetime
) -> tuple[State, tuple[Transition, ...]]:
    """Let the machine run over changes of verdicts, as it does live; pure."""
    done: tuple[Transition, ...] = ()
    for at_ms, verdict in changes:
        state, more = states.observe(state, policy, VERDICTS[verdict], instant(at_ms))
        done += more
    state, more = states.advance(state, policy, until)
    return state, done + more


def episodes(transitions: Sequence[Transition], going_on: Episode | None) -> list[Episode]:
    """Return the occurrences in a machine's transitions; a fault that comes back soon continues its own. Pure."""
    found = [going_on] if going_on else []
    for transition in transitions:
        match transition.kind:
            case Kind.OPENED:
                found.append(Episode(opened_at=transition.at, cleared_at=None, reopened_count=0))
            case Kind.REOPENED if found:
                found[-1] = replace(found[-1], cleared_at=None, reopened_count=found[-1].reopened_count + 1)
            case Kind.CLEARED if found:
                found[-1] = replace(found[-1], cleared_at=transition.at)
            case _:
                pass
    return found


async def _occurrences(conn: AsyncConnection, alarm: Alarm | None, since: datetime) -> list[dict[str, Any]]:
    if alarm is None:
        return []
    return await repository.rows(conn, queries.occurrences_since, {"alarm_id": alarm.id, "since": since})


def _going_on(known: Sequence[dict[str, Any]], start: datetime) -> Episode | None:
    for row in known:
        if row["opened_at"] <= start:
            return Episode(
                opened_at=row["opened_at"], cleared_at=row["cleared_at"], reopened_count=row["reopened_count"]
            )
    return None


async def _before(
    conn: AsyncConnection, limit: Limit, start: datetime, known: Sequence[dict[str, Any]]
) -> tuple[Memory, State]:
    """Return what was so at `start`: from the values before it, and from what was going on."""
    values = {
        "point_id": limit.point_id,
        "start": start,
        "oldest": start - _BEFORE_SPAN,
        "limit": _BEFORE_MAX,
    }
    rows = await repository.rows(conn, queries.point_before, values)
    memory = Memory()
    fold(limit, memory, [(row["at_ms"], row["value"], row["quality"]) for row in reversed(rows)])
    going_on = _going_on(known, start)
    active = going_on is not None and (going_on.cleared_at is None or going_on.cleared_at > start)
    since = max(start, limit.valid_from)
    state = State(
        verdict=VERDICTS[memory.verdict],
        fault_since=since if memory.verdict == FAULT else None,
        ok_since=since if memory.verdict == OK else None,
        active=active,
        occurrence=1 if going_on else 0,
        opened_at=going_on.opened_at if going_on else None,
        cleared_at=going_on.cleared_at if going_on and not active else None,
        is_annunciated=True,
    )
    return memory, state


async def _correct(
    conn: AsyncConnection,
    limit: Limit,
    alarm: Alarm | None,
    known: Sequence[dict[str, Any]],
    after: State,
    derived: Sequence[Episode],
    now: datetime,
    described: dict[int, dict[str, Any]],
) -> list[AlarmId]:
    if alarm is None:
        if not derived and after.fault_since is None:
            return []
        alarm = (await repository.insert_alarms(conn, [_report(limit, now, described)]))[0]
    alarm = replace(alarm, policy=limit.policy, severity=limit.severity)
    if derived and (point := described.get(limit.point_id)):
        alarm = replace(alarm, params=limit_params(limit.kind.value, limit.value, derived[-1].opened_at, point))
    alarm, touched = await _correct_history(conn, limit, alarm, known, derived, now, described)
    state, transitions = _now(alarm.state, limit.policy, after, derived)
    if state != alarm.state or touched:
        await service.store(conn, alarm, state, limit.policy, transitions, now)
        return [alarm.id]
    return []


async def _correct_history(
    conn: AsyncConnection,
    limit: Limit,
    alarm: Alarm,
    known: Sequence[dict[str, Any]],
    derived: Sequence[Episode],
    now: datetime,
    described: dict[int, dict[str, Any]],
) -> tuple[Alarm, bool]:
    """Move, add and disprove occurrences that are over; what lasts is the machine's."""
    unmatched = list(known)
    touched = False
    for episode in derived:
        row = next((r for r in unmatched if _overlap(r, episode)), None)
        if row is not None:
            unmatched.remove(row)
            is_same = (row["opened_at"], row["cleared_at"]) == (episode.opened_at, episode.cleared_at)
            if not is_same:
                await _move(conn, alarm, row["occurrence"], episode)
                alarm = _moved(alarm, row, episode)
                if episode is not derived[-1] and row["occurrence"] == alarm.state.occurrence:
                    alarm = await _end(conn, alarm, episode, now)
                await _write(conn, alarm, [_line(Kind.CORRECTED, episode.opened_at, row["occurrence"])], now)
                touched = True
        elif episode.cleared_at is not None:
            is_last = episode is derived[-1] and not alarm.state.active
            number = alarm.state.occurrence + 1 if is_last else await _number_below(conn, alarm)
            alarm = await _add_past(conn, limit, alarm, episode, number, now, described.get(limit.point_id))
            touched = True
    for row in unmatched:
        await conn.execute(queries.disprove_occurrence, {"alarm_id": alarm.id, "occurrence": row["occurrence"]})
        await _write(conn, alarm, [_line(Kind.CORRECTED, row["opened_at"], row["occurrence"])], now)
        touched = True
    return alarm, touched


async def _add_past(
    conn: AsyncConnection,
    limit: Limit,
    alarm: Alarm,
    episode: Episode,
    number: int,
    now: datetime,
    point: dict[str, Any] | None,
) -> Alarm:
    """Write down an occurrence that is over; a critical one is told all the same."""
    assert episode.cleared_at is not None
    is_told = limit.severity == 1
    if number > alarm.state.occurrence:
        past = replace(
            alarm.state,
            occurrence=number,
            opened_at=episode.opened_at,
            cleared_at=episode.cleared_at,
            is_annunciated=is_told,
            acknowledged=alarm.state.acknowledged and not is_told,
        )
        alarm = replace(alarm, state=past)
    kinds = (Kind.OPENED, Kind.ANNUNCIATED, Kind.CLEARED) if is_told else (Kind.OPENED, Kind.CLEARED)
    lines = [_line(k, episode.cleared_at if k is Kind.CLEARED else episode.opened_at, number) for k in kinds]
    told_of = alarm
    if point:
        told_of = replace(alarm, params=limit_params(limit.kind.value, limit.value, episode.opened_at, point))
    await _write(conn, told_of, lines, now, is_told=is_told)
    return alarm


def _now(
    state: State, policy: Policy, after: State, derived: Sequence[Episode]
) -> tuple[State, tuple[Transition, ...]]:
    """Bring the live state to where the data say it is; the machine itself opens and clears."""
    now_true = replace(state, verdict=after.verdict, fault_since=after.fault_since, ok_since=after.ok_since)
    done: tuple[Transition, ...] = ()
    if after.active and not state.active:
        opened_at = derived[-1].opened_at
        begun = replace(now_true, fault_since=opened_at - policy.on_delay, ok_since=None)
        now_true, done = states.advance(begun, policy, opened_at)
    elif not after.active and state.active:
        # Disproved, it ends when it began; else when the data say so.
        cleared_at = max(at for at in (after.cleared_at, state.opened_at) if at)
        ended = replace(now_true, verdict=Verdict.OK, fault_since=None, ok_since=cleared_at - policy.off_delay)
        now_true, done = states.advance(ended, policy, cleared_at)
    return replace(now_true, verdict=after.verdict, fault_since=after.fault_since, ok_since=after.ok_since), done


def _moved(alarm: Alarm, row: dict[str, Any], episode: Episode) -> Alarm:
    state = alarm.state
    if row["occurrence"] != state.occurrence:
        return alarm
    if state.active:
        return replace(alarm, state=replace(state, opened_at=episode.opened_at))
    # An episode that goes on after all is opened again by the machine, which looks at when it had been cleared.
    cleared_at = episode.cleared_at or state.cleared_at
    return replace(alarm, state=replace(state, opened_at=episode.opened_at, cleared_at=cleared_at))


async def _end(conn: AsyncConnection, alarm: Alarm, episode: Episode, now: datetime) -> Alarm:
    """Let the machine clear an occurrence that is still active here although others have followed it."""
    if not alarm.state.active or episode.cleared_at is None:
        return alarm
    policy = alarm.policy or Policy()
    ended = replace(alarm.state, verdict=Verdict.OK, fault_since=None, ok_since=episode.cleared_at - policy.off_delay)
    state, done = states.advance(ended, policy, episode.cleared_at)
    await service.store(conn, alarm, state, policy, done, now)
    return replace(alarm, state=state)


async def _number_below(conn: AsyncConnection, alarm: Alarm) -> int:
    # The machine numbers occurrences upwards from 1 as they begin; what is found later is numbered downwards.
    row = await (await conn.execute(queries.number_below, {"alarm_id": alarm.id})).fetchone()
    return row[0] if row else -1


async def _move(conn: AsyncConnection, alarm: Alarm, occurrence: int, episode: Episode) -> None:
    values = {
        "alarm_id": alarm.id,
        "occurrence": occurrence,
        "opened_at": episode.opened_at,
        "cleared_at": episode.cleared_at,
        "reopened_count": episode.reopened_count,
    }
    await conn.execute(queries.correct_occurrence, values)


async def _write(
    conn: AsyncConnection, alarm: Alarm, lines: Sequence[Transition], now: datetime, *, is_told: bool = False
) -> None:
    await repository.store(
        conn,
        alarm,
        lines,
        next_timer_at=states.next_timer_at(alarm.state, alarm.policy or Policy()),
        recorded_at=now,
        is_told=is_told,
    )


def _overlap(row: dict[str, Any], episode: Episode) -> bool:
    starts_before_end = episode.cleared_at is None or row["opened_at"] <= episode.cleared_at
    ends_after_start = row["cleared_at"] is None or row["cleared_at"] >= episode.opened_at
    return starts_before_end and ends_after_start


def _line(kind: Kind, at: datetime, occurrence: int) -> Transition:
    return Transition(kind=kind, at=at, occurrence=occurrence)


def _report(limit: Limit, at: datetime, described: dict[int, dict[str, Any]]) -> Report:
    point = described.get(limit.point_id)
    return Report(
        organisation_id=limit.organisation_id,
        site_id=limit.site_id,
        subject=limit.subject,
        rule=limit.rule,
        severity=limit.severity,
        verdict=Verdict.NO_EVAL,
        at=at,
        params=limit_params(limit.kind.value, limit.value, at, point) if point else {},
    )
