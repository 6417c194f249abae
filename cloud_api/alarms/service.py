"""Use cases of alarms: take verdicts, acknowledge, shelve, show. The transaction decides whose rows are seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.alarms import communication, repository, states, wording
from cloud_api.alarms.model import Alarm, AlarmId, JournalEntry, OpenAlarm, Report
from cloud_api.alarms.states import Policy, State, Suppression, Transition
from cloud_api.faults import causes
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound

SHELF_MAX = timedelta(days=30)
OPEN_MAX = 500
JOURNAL_MAX = 200

# A fault rule's own delays are in its verdict already. A fault that comes back soon is the same case.
_NOTHING_KNOWN = datetime.min.replace(tzinfo=UTC)
_FAULT_POLICY = Policy(hold_back=timedelta(minutes=2), reopen_within=timedelta(hours=2))


class AlarmNotFound(NotFound):
    """There is no such alarm, or it is not yours to see."""

    code = "alarm_not_found"


def policy_of(rule: str, own: Policy | None = None) -> Policy:
    """Return how a rule alarms; `own` is what a condition keeps for itself (delays of a limit)."""
    if own is not None:
        return own
    if rule in communication.RULES:
        return communication.policy(rule)
    return replace(_FAULT_POLICY, hold_back=causes.hold_back(rule))


async def report(
    conn: AsyncConnection, reports: Sequence[Report], now: datetime, holds: Mapping[str, timedelta] | None = None
) -> list[AlarmId]:
    """Take verdicts (each holds from its event time on) and return the alarms that changed.

    A condition row appears with its first fault. Applying the same reports again changes nothing. `holds` gives the
    hold-back by subject where it differs from the rule's own.
    """
    known = await _known(conn, reports)
    new = {_key(r): r for r in reports if r.verdict is Verdict.FAULT and _key(r) not in known}
    if new:
        known |= {(a.site_id, a.subject, a.rule): a for a in await repository.insert_alarms(conn, list(new.values()))}
    changed: dict[AlarmId, tuple[Alarm, Policy, tuple[Transition, ...]]] = {}
    for said in sorted(reports, key=lambda r: r.at):
        alarm = known.get(_key(said))
        if alarm is None:
            continue
        policy = policy_of(said.rule, said.policy or alarm.policy)
        if holds and said.subject in holds:
            policy = replace(policy, hold_back=holds[said.subject])
        state, transitions = states.observe(alarm.state, policy, said.verdict, said.at)
        state, more = states.advance(state, policy, now, said.known_until)
        if state == alarm.state:
            continue
        params = _params(alarm, said, policy)
        alarm = replace(alarm, state=state, params=params, severity=said.severity, policy=said.policy or alarm.policy)
        known[_key(said)] = alarm
        before = changed[alarm.id][2] if alarm.id in changed else ()
        changed[alarm.id] = (alarm, policy, (*before, *transitions, *more))
    if changed:
        async with conn.pipeline():
            for alarm, policy, transitions in changed.values():
                await _store(conn, alarm, policy, transitions, now)
    return list(changed)


async def run_timers(conn: AsyncConnection, now: datetime) -> list[AlarmId]:
    """Fire the timers that have ended: delays, shelves, hold-backs, repeated annunciation."""
    changed = []
    for alarm in await repository.alarms_with_timer_due(conn, now):
        policy = policy_of(alarm.rule, alarm.policy)
        state, transitions = states.advance(alarm.state, policy, now)
        await _store(conn, _with_state(alarm, state), policy, transitions, now)
        changed.append(alarm.id)
    return changed


async def store(
    conn: AsyncConnection, alarm: Alarm, state: State, policy: Policy, transitions: Sequence[Transition], now: datetime
) -> None:
    """Write the state that a condition's evaluator brought about, with its journal lines."""
    await _store(conn, _with_state(alarm, state), policy, transitions, now)


async def set_explained(conn: AsyncConnection, alarm: Alarm, now: datetime, *, is_explained: bool) -> bool:
    """Suppress an alarm by design, or release it; returns whether anything changed."""
    policy = policy_of(alarm.rule, alarm.policy)
    if is_explained:
        state, transitions = states.suppress_by_design(alarm.state, now)
    else:
        state, transitions = states.unsuppress(alarm.state, now, only=Suppression.BY_DESIGN)
        state, more = states.advance(state, policy, now)
        transitions += more
    if state == alarm.state:
        return False
    await _store(conn, _with_state(alarm, state), policy, transitions, now)
    return True


async def open_alarms(
    conn: AsyncConnection,
    *,
    site_id: int | None = None,
    organisation_id: int | None = None,
    with_suppressed: bool = False,
    limit: int = 100,
) -> list[OpenAlarm]:
    """Return what someone still has to look at, worst and newest first (at most 500)."""
    values = {
        "site_id": site_id,
        "organisation_id": organisation_id,
        "with_suppressed": with_suppressed,
        "limit": min(limit, OPEN_MAX),
    }
    return [_shown(row) for row in await repository.rows(conn, repository.queries.open_alarms, values)]


async def open_counts(conn: AsyncConnection) -> dict[int, int]:
    """Return how many alarms are shown as open, by severity 1 to 4."""
    counted = {r["severity"]: r["shown"] for r in await repository.rows(conn, repository.queries.open_counts, {})}
    return {severity: counted.get(severity, 0) for severity in (1, 2, 3, 4)}


async def alarm(conn: AsyncConnection, alarm_id: AlarmId) -> OpenAlarm:
    """Return one alarm, open or not; raises AlarmNotFound."""
    found = await repository.rows(conn, repository.queries.alarm_by_id, {"id": alarm_id})
    if not found:
        raise AlarmNotFound
    return _shown(found[0])


async def journal(conn: AsyncConnection, alarm_id: AlarmId) -> list[JournalEntry]:
    """Return the newest 200 lines of an alarm's journal, newest first."""
    return await repository.journal(conn, alarm_id, JOURNAL_MAX)


async def occurrences(conn: AsyncConnection, alarm_id: AlarmId) -> list[dict[str, Any]]:
    """Return the newest 50 occurrences of an alarm."""
    values = {"alarm_id": alarm_id, "limit": 50}
    return await repository.rows(conn, repository.queries.occurrences_of_alarm, values)


async def acknowledge(conn: AsyncConnection, clock: Clock, alarm_id: AlarmId, *, actor: str) -> None:
    """Record that `actor` has seen the alarm. A second acknowledgement is refused, saying so."""
    now = clock.now()
    await _act(conn, now, alarm_id, actor, "", lambda state, _policy: states.acknowledge(state, now))


async def reset(conn: AsyncConnection, clock: Clock, alarm_id: AlarmId, *, actor: str) -> None:
    """Release the latch of an alarm whose cause has gone."""
    now = clock.now()
    await _act(conn, now, alarm_id, actor, "", lambda state, _policy: states.reset(state, now))


async def shelve(
    conn: AsyncConnection, clock: Clock, alarm_id: AlarmId, *, until: datetime, reason: str, actor: str
) -> None:
    """Put an alarm aside until `until` with a reason; at most 30 days."""
    now = clock.now()
    if not reason.strip():
        raise Invalid("a shelf needs a reason: say why the alarm is put aside")
    if until.tzinfo is None or not now < until <= now + SHELF_MAX:
        raise Invalid("a shelf must end in the future, within {days} days", days=SHELF_MAX.days)
    await _act(conn, now, alarm_id, actor, reason.strip(), lambda state, _policy: states.shelve(state, now, until))


async def unshelve(conn: AsyncConnection, clock: Clock, alarm_id: AlarmId, *, actor: str) -> None:
    """End a shelf before its time; with the condition still true the alarm sounds again."""
    now = clock.now()
    await _act(
        conn,
        now,
        alarm_id,
        actor,
        "",
        lambda state, _policy: states.unsuppress(state, now, only=Suppression.SHELVED),
    )


async def take_out_of_service(
    conn: AsyncConnection, clock: Clock, subject: str, *, until: datetime, reason: str, actor: str = "system"
) -> int:
    """Silence all alarms of a subject for maintenance until `until`; evaluation goes on. Returns how many changed."""
    now = clock.now()
    found = await repository.rows(conn, repository.queries.alarms_in_service, {"subject": subject})
    for row in found:
        alarm = repository.alarm_from_row(row)
        state, transitions = states.take_out_of_service(alarm.state, now, until)
        changed = replace(alarm, state=state, suppression_reason=reason)
        await _store(conn, changed, policy_of(alarm.rule, alarm.policy), transitions, now, actor=actor, reason=reason)
    return len(found)


async def return_to_service(conn: AsyncConnection, clock: Clock, subject: str, *, actor: str) -> int:
    """Bring the alarms of a subject back before the end of their maintenance; returns how many changed."""
    now = clock.now()
    found = await repository.rows(conn, repository.queries.alarms_out_of_service, {"subject": subject})
    for row in found:
        alarm = repository.alarm_from_row(row)
        state, transitions = states.unsuppress(alarm.state, now, only=Suppression.OUT_OF_SERVICE)
        policy = policy_of(alarm.rule, alarm.policy)
        await _store(conn, _with_state(alarm, state), policy, transitions, now, actor=actor)
    return len(found)


async def _act(conn: AsyncConnection, now: datetime, alarm_id: AlarmId, actor: str, reason: str, action: Any) -> None:
    alarm = await repository.alarm_for_change(conn, alarm_id)
    if alarm is None:
        raise AlarmNotFound
    policy = policy_of(alarm.rule, alarm.policy)
    # Delays of a limit end where its data are complete; its evaluator knows that, a person's click does not.
    known_until = _NOTHING_KNOWN if alarm.subject.startswith("point:") else None
    state, before = states.advance(alarm.state, policy, now, known_until)
    state, transitions = action(state, policy)
    alarm = replace(_with_state(alarm, state), suppression_reason=reason or alarm.suppression_reason)
    await _store(conn, alarm, policy, (*before, *transitions), now, actor=actor, reason=reason)
    await repository.notify_live(conn, [alarm.id])


def _params(alarm: Alarm, said: Report, policy: Policy) -> Mapping[str, Any]:
    if said.verdict is not Verdict.FAULT:
        return alarm.params
    cleared_at, since = alarm.state.cleared_at, alarm.params.get("since")
    is_relapse = cleared_at is not None and said.at + policy.on_delay - cleared_at < policy.reopen_within
    # The same case goes on: it began when it was first told.
    return {**said.params, "since": since} if since and (alarm.state.active or is_relapse) else said.params


def _key(report: Report) -> tuple[int, str, str]:
    return report.site_id, report.subject, report.rule


async def _known(conn: AsyncConnection, reports: Sequence[Report]) -> dict[tuple[int, str, str], Alarm]:
    keys = sorted({_key(r) for r in reports})
    found = await repository.alarms_by_keys(conn, keys) if keys else []
    return {(a.site_id, a.subject, a.rule): a for a in found}


async def _store(
    conn: AsyncConnection,
    alarm: Alarm,
    policy: Policy,
    transitions: Sequence[Transition],
    now: datetime,
    *,
    actor: str = "system",
    reason: str = "",
) -> None:
    await repository.store(
        conn,
        alarm,
        transitions,
        next_timer_at=states.next_timer_at(alarm.state, policy),
        recorded_at=now,
        actor=actor,
        reason=reason,
    )


def _with_state(alarm: Alarm, state: State) -> Alarm:
    reason = alarm.suppression_reason if state.suppression is not Suppression.NONE else ""
    return replace(alarm, state=state, suppression_reason=reason)


def _shown(row: Mapping[str, Any]) -> OpenAlarm:
    alarm = repository.alarm_from_row(row)
    state = alarm.state
    opened_at = state.opened_at or state.fault_since
    if opened_at is None:
        raise AlarmNotFound
    zh, en = wording.sentences(alarm.rule, alarm.params, opened_at, ZoneInfo(row["time_zone"]))
    return OpenAlarm(
        id=alarm.id,
        site_id=alarm.site_id,
        subject=alarm.subject,
        rule=alarm.rule,
        severity=alarm.severity,
        isa_state=state.isa_state,
        active=state.active,
        acknowledged=state.acknowledged,
        suppression=state.suppression.value,
        suppressed_until=state.suppressed_until,
        suppression_reason=alarm.suppression_reason,
        since=wording.began_at(alarm.params, opened_at),
        opened_at=opened_at,
        cleared_at=state.cleared_at,
        sentence_zh=zh,
        sentence_en=en,
        occurrence=state.occurrence,
        params=alarm.params,
    )
