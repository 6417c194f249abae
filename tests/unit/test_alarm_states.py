from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.alarms import states
from cloud_api.alarms.states import Kind, NotAllowed, Policy, State, Suppression
from cloud_api.faults.model import Verdict

T0 = datetime(2026, 3, 2, 8, tzinfo=UTC)
DELAYED = Policy(on_delay=timedelta(minutes=5), off_delay=timedelta(minutes=2))


def at(minutes):
    return T0 + timedelta(minutes=minutes)


def run(policy, *steps, until=None):
    state, journal = State(), []
    for minutes, verdict in steps:
        state, done = states.observe(state, policy, verdict, at(minutes))
        journal += done
    if until is not None:
        state, done = states.advance(state, policy, at(until))
        journal += done
    return state, [(t.kind.value, (t.at - T0).total_seconds() / 60) for t in journal]


def test_a_fault_opens_exactly_when_the_on_delay_has_elapsed():
    state, journal = run(DELAYED, (0, Verdict.FAULT), until=4.99)
    assert (state.isa_state, journal) == ("A", [])
    state, journal = run(DELAYED, (0, Verdict.FAULT), until=7)
    assert state.isa_state == "B"
    assert journal == [("opened", 5), ("annunciated", 5)]


def test_a_delay_counts_in_event_time_even_when_nobody_looked_until_the_fault_had_gone():
    _, journal = run(DELAYED, (0, Verdict.FAULT), (30, Verdict.OK), until=60)
    assert journal == [("opened", 5), ("annunciated", 5), ("cleared", 32)]


def test_unknown_restarts_the_on_delay_and_never_clears():
    _, journal = run(DELAYED, (0, Verdict.FAULT), (4, Verdict.NO_EVAL), (6, Verdict.FAULT), until=10.9)
    assert journal == []
    state, journal = run(DELAYED, (0, Verdict.FAULT), (6, Verdict.NO_EVAL), until=600)
    assert state.active
    assert journal == [("opened", 5), ("annunciated", 5)]


def test_unknown_then_the_same_fault_does_not_fire_again():
    _, journal = run(Policy(), (0, Verdict.FAULT), (1, Verdict.NO_EVAL), (9, Verdict.FAULT), until=60)
    assert [kind for kind, _ in journal] == ["opened", "annunciated"]


def test_the_path_of_isa_18_2_from_normal_to_normal():
    state, _ = run(Policy(), (0, Verdict.FAULT))
    assert state.isa_state == "B"
    acked, _ = states.acknowledge(state, at(1))
    assert acked.isa_state == "C"
    assert states.observe(acked, Policy(), Verdict.OK, at(2))[0].isa_state == "A"
    returned, _ = states.observe(state, Policy(), Verdict.OK, at(2))
    assert returned.isa_state == "D"
    assert states.acknowledge(returned, at(3))[0].isa_state == "A"


def test_a_latched_alarm_waits_for_acknowledgement_and_reset():
    policy = Policy(is_latching=True)
    state, _ = run(policy, (0, Verdict.FAULT), (1, Verdict.OK))
    assert state.isa_state == "E"
    with pytest.raises(NotAllowed, match="acknowledge"):
        states.reset(state, at(2))
    state, _ = states.acknowledge(state, at(2))
    assert state.isa_state == "F"
    assert states.reset(state, at(3))[0].isa_state == "A"


def test_a_shelf_ends_by_itself_and_the_alarm_sounds_again_when_still_in_fault():
    state, _ = run(Policy(), (0, Verdict.FAULT))
    state, _ = states.acknowledge(state, at(1))
    state, _ = states.shelve(state, at(2), at(60))
    assert state.isa_state == "G"
    state, journal = states.advance(state, Policy(), at(61))
    assert [t.kind for t in journal] == [Kind.UNSHELVED, Kind.REALARMED]
    assert journal[0].at == at(60)
    assert state.isa_state == "B"


def test_evaluation_goes_on_while_shelved_so_a_repaired_fault_stays_quiet():
    state, _ = run(Policy(), (0, Verdict.FAULT))
    state, _ = states.shelve(state, at(2), at(60))
    state, _ = states.observe(state, Policy(), Verdict.OK, at(30))
    state, journal = states.advance(state, Policy(), at(61))
    assert [t.kind for t in journal] == [Kind.UNSHELVED]
    assert not state.active


def test_a_shelf_without_an_end_in_the_future_is_refused():
    state, _ = run(Policy(), (0, Verdict.FAULT))
    with pytest.raises(NotAllowed):
        states.shelve(state, at(2), at(2))


def test_an_explained_alarm_never_sounds_and_needs_no_acknowledgement():
    policy = Policy(hold_back=timedelta(minutes=2))
    state, _ = run(policy, (0, Verdict.FAULT))
    state, _ = states.suppress_by_design(state, at(1))
    state, journal = states.advance(state, policy, at(30))
    assert journal == ()
    state, journal = states.observe(state, policy, Verdict.OK, at(40))
    assert [t.kind for t in journal] == [Kind.CLEARED]
    assert state.acknowledged


def test_a_relapse_within_the_window_is_the_same_occurrence_and_is_not_announced_again():
    policy = Policy(reopen_within=timedelta(minutes=30))
    state, journal = run(policy, (0, Verdict.FAULT), (10, Verdict.OK), (20, Verdict.FAULT), (25, Verdict.OK))
    assert [kind for kind, _ in journal] == ["opened", "annunciated", "cleared", "reopened", "cleared"]
    assert state.occurrence == 1
    state, journal = run(policy, (0, Verdict.FAULT), (10, Verdict.OK), (41, Verdict.FAULT))
    assert state.occurrence == 2


def test_an_acknowledged_alarm_sounds_again_after_the_re_alarm_time():
    policy = Policy(realarm_after=timedelta(hours=4))
    state, _ = run(policy, (0, Verdict.FAULT))
    state, _ = states.acknowledge(state, at(10))
    state, journal = states.advance(state, policy, at(251))
    assert [(t.kind, t.at) for t in journal] == [(Kind.REALARMED, at(250))]


steps = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(list(Verdict))), min_size=1, max_size=40
)  # Pauses in minutes before each verdict.


@given(steps, st.lists(st.integers(0, 600), max_size=30))
def test_how_often_the_machine_is_asked_does_not_change_what_happens(pauses, asked):
    policy = Policy(on_delay=timedelta(minutes=7), off_delay=timedelta(minutes=3), hold_back=timedelta(minutes=2))
    script, now = [], 0
    for pause, verdict in pauses:
        now += pause
        script.append((now, verdict))
    end = now + 60
    expected, journal = run(policy, *script, until=end)
    state, seen = State(), []
    times = sorted({(m, 1, None) for m in asked if m <= end} | {(m, 0, None) for m in ()}, key=lambda t: t[0])
    events = [(m, i, v) for i, (m, v) in enumerate(script)] + [(m, -1, None) for m, _, _ in times]
    for minutes, index, verdict in sorted(events, key=lambda e: (e[0], e[1])):
        step = (
            states.observe(state, policy, verdict, at(minutes))
            if index >= 0
            else states.advance(state, policy, at(minutes))
        )
        state, done = step
        seen += done
    state, done = states.advance(state, policy, at(end))
    seen += done
    assert state == expected
    assert [(t.kind.value, (t.at - T0).total_seconds() / 60) for t in seen] == journal


@given(steps)
def test_an_active_alarm_is_never_lost(pauses):
    state, now = State(), 0
    for pause, verdict in pauses:
        now += pause
        state, _ = states.observe(state, Policy(), verdict, at(now))
        if verdict is Verdict.FAULT:
            assert state.active
            assert state.is_open
        assert state.suppression is Suppression.NONE
