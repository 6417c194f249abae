from datetime import datetime

import pytest

from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building, no_faults
from edge_agent.simulator.people import card_holders, day_passages
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.summary import summarise


def building(plan: Plan, day: str, faults=no_faults) -> Building:
    return Building(plan, datetime.fromisoformat(day).replace(tzinfo=plan.zone), faults)


def at_noon(plan: Plan, day: str, faults=no_faults) -> Building:
    made = building(plan, day, faults)
    made.run_to(made.minute + 12 * 60)
    return made


def children_of(plan: Plan) -> dict[str, list[str]]:
    return {m.code: [c.code for c in plan.meters if c.parent == m.code] for m in plan.meters}


def test_every_meter_counts_its_children_its_loads_and_its_losses_in_each_minute(plan: Plan) -> None:
    made = building(plan, "2026-10-19")
    tree, children = made.power, children_of(plan)
    opening, opening_loads = list(tree.meter_ws), list(tree.load_ws)
    for _ in range(1440):
        made.step()
        for meter in plan.meters:
            index = tree.meters[meter.code]
            below = sum(tree.meter_ws[tree.meters[c]] - opening[tree.meters[c]] for c in children[meter.code])
            own = sum(tree.load_ws[tree.loads[load]] - opening_loads[tree.loads[load]] for load in meter.loads)
            assert tree.meter_ws[index] - opening[index] == below + own + tree.loss_ws[index]


def test_tenants_common_areas_plant_and_losses_are_the_main_meter(plan: Plan) -> None:
    made = building(plan, "2026-10-20")
    opening, loads = list(made.power.meter_ws), list(made.power.load_ws)
    made.run_to(made.minute + 1440)
    used = sum(now - before for now, before in zip(made.power.load_ws, loads, strict=True))
    main = made.power.meter_ws[0] - opening[0]
    assert main == used + sum(made.power.loss_ws)
    assert 0.015 < sum(made.power.loss_ws) / main < 0.03


def test_registers_run_on_and_stay_additive_inside_a_minute(plan: Plan) -> None:
    made = at_noon(plan, "2026-10-19")
    tree, parent = made.power, "meter-f3"
    for ms in range(0, 60_000, 1700):
        later = [
            tree.energy_at(index, ms + 1700 if ms + 1700 < 60_000 else 59_999) for index in range(len(tree.meters))
        ]
        now = [tree.energy_at(index, ms) for index in range(len(tree.meters))]
        assert all(b >= a for a, b in zip(now, later, strict=True))
        loss = tree.loss_w[tree.meters[parent]] * ms / 1000
        below = sum(now[tree.meters[c]] - tree.meter_ws[tree.meters[c]] for c in children_of(plan)[parent])
        # Each register is cut to whole watt-seconds on its own.
        assert abs(now[tree.meters[parent]] - tree.meter_ws[tree.meters[parent]] - below - loss) <= 6
    end = [tree.energy_at(index, 60_000) for index in range(len(tree.meters))]
    made.step()
    assert end == made.power.meter_ws


def test_the_same_seed_gives_the_same_building(plan: Plan) -> None:
    one, other = at_noon(plan, "2026-10-21"), at_noon(plan, "2026-10-21")
    assert one.power.meter_ws == other.power.meter_ws
    assert [s.temperature_c for s in one.spaces.values()] == [s.temperature_c for s in other.spaces.values()]


def test_a_restart_from_the_kept_midnight_reaches_the_same_minute(plan: Plan) -> None:
    whole = building(plan, "2026-10-19")
    whole.run_to(whole.minute + 1440 + 600)
    again = Building.restore(plan, whole.midnight)
    again.run_to(whole.minute)
    assert again.power.meter_ws == whole.power.meter_ws
    assert again.power.load_w == whole.power.load_w
    assert again.people_in == whole.people_in
    assert again.door_sequence == whole.door_sequence
    assert [s.co2_ppm for s in again.spaces.values()] == [s.co2_ppm for s in whole.spaces.values()]


def test_a_restart_with_a_fault_in_the_past_reaches_the_same_minute(plan: Plan) -> None:
    journal = FaultJournal()
    midnight = building(plan, "2026-10-19").at_ms
    journal.set("ahu-3", "oa_damper_stuck", at_ms=midnight + 9 * 3_600_000)
    journal.set("meter-t301", "phase_loss", at_ms=midnight + 10 * 3_600_000)
    journal.clear("meter-t301", at_ms=midnight + 11 * 3_600_000)
    whole = at_noon(plan, "2026-10-19", journal.at_minute)
    again = Building.restore(plan, whole.midnight, journal.at_minute)
    again.run_to(whole.minute)
    assert again.power.missed_ws == whole.power.missed_ws
    assert again.power.missed_ws[again.power.meters["meter-t301"]] > 0
    assert again.services.air_handlers["ahu-3"].mat_c == whole.services.air_handlers["ahu-3"].mat_c


def test_a_kept_state_of_another_seed_is_refused(plan: Plan) -> None:
    state = building(plan, "2026-10-19").midnight | {"seed": 1}
    with pytest.raises(ValueError, match="another version or seed"):
        Building.restore(plan, state)


def test_people_in_the_house_are_those_who_entered_and_have_not_left(plan: Plan) -> None:
    made = building(plan, "2026-10-19")
    highest = 0
    for _ in range(1440):
        made.step()
        assert made.present == made.people_in - made.people_out
        # On the way between the entrance and their floor people are in no space.
        assert 0 <= made.present - sum(space.people for space in made.spaces.values()) <= 40
        highest = max(highest, made.present)
    assert 180 < highest < 330
    assert made.present == 0


@pytest.mark.parametrize("day", ["2026-10-19", "2026-10-25", "2026-10-03", "2026-10-10"])
def test_doors_balance_over_a_day_and_never_let_out_who_is_not_in(plan: Plan, day: str) -> None:
    inside: dict[tuple[str, str], int] = {}
    for passage in day_passages(plan, datetime.fromisoformat(day).date()):
        key = (passage.door, passage.space)
        inside[key] = inside.get(key, 0) + passage.direction
        assert inside[key] >= 0
    assert not any(inside.values())


def test_a_card_is_in_the_house_once_at_a_time(plan: Plan) -> None:
    inside: set[int] = set()
    for passage in day_passages(plan, datetime(2026, 10, 19).date()):  # noqa: DTZ001
        if passage.door == "main" and passage.card is not None:
            if passage.direction > 0:
                assert passage.card not in inside
                inside.add(passage.card)
            else:
                inside.remove(passage.card)
    assert not inside


@pytest.mark.parametrize("day", ["2026-10-19", "2026-10-25", "2026-11-20"])
def test_every_card_that_passes_a_door_is_on_the_list_of_one_company_and_valid(plan: Plan, day: str) -> None:
    on = datetime.fromisoformat(day).date()
    holders = card_holders(plan)
    listed = {h.card: h for h in holders}
    assert len(listed) == len(holders)
    seen = [p for p in day_passages(plan, on) if p.card is not None]
    assert seen
    for passage in seen:
        holder, lease = listed[passage.card], plan.lease_of(passage.space, on)
        assert lease is not None
        assert holder.tenant == lease.tenant
        assert holder.first_day <= on <= (holder.last_day or on)


def test_nobody_comes_to_a_space_without_a_lease(plan: Plan) -> None:
    vacant = at_noon(plan, "2026-10-09").spaces["3F-03"]  # Let from 2026-10-12.
    let = at_noon(plan, "2026-10-12").spaces["3F-03"]
    assert (vacant.people, vacant.electric_w < 100) == (0, True)
    assert let.people > 5
    assert let.electric_w > 1000


def test_co2_follows_people_with_a_delay(plan: Plan) -> None:
    made = building(plan, "2026-10-19")
    space = made.spaces["4F-01"]
    levels, people = [], []
    for _ in range(1440):
        made.step()
        levels.append(space.co2_ppm)
        people.append(space.people)
    assert levels[6 * 60] < 700
    assert 650 < max(levels) < 1500
    assert levels.index(max(levels)) > people.index(max(people))
    assert levels[23 * 60] < max(levels) - 100


def test_co2_settles_where_supply_and_people_balance(plan: Plan) -> None:
    space = building(plan, "2026-10-19").spaces["3F-01"]
    space.people, space.fresh_l_s = 20, 200.0
    for _ in range(48 * 60):
        space.step_air(20.0, 0.0, 21.0, 18.0)
    infiltration = 0.12 * space.area_m2 * 2.9 * 1000 / 3600
    assert space.co2_ppm == pytest.approx(425 + 0.005 * 20 * 1e6 / (200 + infiltration), abs=1.0)


@pytest.mark.parametrize(
    ("day", "plant_share", "cooling", "heating"),
    [("2026-07-08", (0.22, 0.40), True, False), ("2027-01-13", (0.10, 0.35), False, True)],
)
def test_plant_follows_the_season(
    plan: Plan, day: str, plant_share: tuple[float, float], cooling: bool, heating: bool
) -> None:
    made = building(plan, day)
    opening = list(made.power.meter_ws)
    made.run_to(made.minute + 1440)
    used = {code: made.power.meter_ws[i] - opening[i] for code, i in made.power.meters.items()}
    assert plant_share[0] < used["meter-plant"] / used["meter-main"] < plant_share[1]
    assert (used["meter-chiller"] > 4 * used["meter-hp"]) is cooling
    assert (used["meter-hp"] > 2 * used["meter-chiller"]) is heating


@pytest.mark.parametrize("day", ["2026-07-08", "2026-10-19", "2027-01-13", "2027-04-14"])
def test_rooms_are_comfortable_at_work_all_year(plan: Plan, day: str) -> None:
    made = building(plan, day)
    made.run_to(made.minute + 1440 + 14 * 60)  # The day after, 14 h.
    offices = {s.code: s.temperature_c for s in made.spaces.values() if s.is_let and s.people}
    assert len(offices) > 10
    # The café has ovens and no fan coil of its own.
    assert all(20.5 < celsius < 27.2 for celsius in offices.values()), offices


def test_a_stuck_damper_shows_in_position_and_mixed_air(plan: Plan) -> None:
    journal = FaultJournal()
    midnight = building(plan, "2027-01-13").at_ms
    journal.set("ahu-3", "oa_damper_stuck", size=90, at_ms=midnight + 10 * 3_600_000)
    sound, broken = at_noon(plan, "2027-01-13"), at_noon(plan, "2027-01-13", journal.at_minute)
    good, bad = sound.services.air_handlers["ahu-3"], broken.services.air_handlers["ahu-3"]
    assert abs(good.damper_pos - good.damper_cmd) < 0.01
    assert bad.damper_pos - bad.damper_cmd > 0.3
    assert bad.mat_c < good.mat_c - 3
    assert broken.power.meter_w[broken.power.meters["meter-hp"]] > sound.power.meter_w[sound.power.meters["meter-hp"]]


def test_a_leaking_cooling_valve_cools_air_that_nobody_asked_to_cool(plan: Plan) -> None:
    journal = FaultJournal()
    midnight = building(plan, "2026-10-19").at_ms
    journal.set("ahu-5", "cooling_valve_leak", size=30, at_ms=midnight)
    sound, broken = at_noon(plan, "2026-10-19"), at_noon(plan, "2026-10-19", journal.at_minute)
    assert broken.services.chiller.load_w >= sound.services.chiller.load_w


def test_a_short_cycling_chiller_starts_many_times_an_hour(plan: Plan) -> None:
    journal = FaultJournal()
    midnight = building(plan, "2026-07-08").at_ms
    journal.set("chiller-1", "short_cycling", size=4, at_ms=midnight + 11 * 3_600_000)
    assert at_noon(plan, "2026-07-08", journal.at_minute).services.chiller.starts >= 6
    assert at_noon(plan, "2026-07-08").services.chiller.starts <= 2


def test_after_hours_running_is_seen_at_night(plan: Plan) -> None:
    journal = FaultJournal()
    made = building(plan, "2026-10-19", journal.at_minute)
    journal.set("ahu-3", "after_hours", at_ms=made.at_ms)
    made.run_to(made.minute + 120)
    unit = made.services.air_handlers["ahu-3"]
    assert (unit.is_scheduled, unit.fan_status) == (False, True)
    assert made.power.load_w[made.power.loads["ahu-3"]] > 500


def test_two_weeks_look_like_an_office_in_hangzhou(plan: Plan) -> None:
    figures = summarise(plan, datetime(2026, 10, 12, tzinfo=plan.zone), 14)
    assert 70 < figures.kwh_m2_year < 140
    assert 0.10 < figures.night_kw / figures.peak_kw < 0.40
    assert 1.5 < figures.workday_kwh / figures.free_day_kwh < 3.5
    assert 0.10 < figures.share("meter-plant") + figures.share("meter-vrf") < 0.40
    assert (
        0.35
        < sum(v for code, v in figures.energy_kwh.items() if code.startswith("meter-t"))
        / figures.energy_kwh["meter-main"]
        < 0.65
    )
    assert 0.015 < figures.losses_kwh / figures.energy_kwh["meter-main"] < 0.03
    assert figures.co2_p95_ppm < 1400
    assert 21.0 < figures.occupied_c[0] < figures.occupied_c[2] < 27.0
    assert figures.chiller_starts / figures.days < 6
