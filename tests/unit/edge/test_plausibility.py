import pytest

from edge_agent.commissioning.plausibility import verdicts

SOUND = {
    "voltage_l1": 231.0, "voltage_l2": 230.0, "voltage_l3": 229.5, "voltage_ll_l1_l2": 399.0,
    "current_l1": 10.0, "current_l2": 9.0, "current_l3": 11.0,
    "power_factor_l1": 0.95, "power_factor_l2": 0.95, "power_factor_l3": 0.95, "power_factor_total": 0.95,
    "active_power_l1": 2194.0, "active_power_l2": 1966.0, "active_power_l3": 2398.0, "active_power_total": 6558.0,
    "reactive_power_total": 2155.0, "apparent_power_total": 6903.0, "frequency": 50.02,
    "active_energy_import": 12_345.6,
}  # fmt: skip


def failed(values, before=None) -> set[str]:
    return {verdict.rule for verdict in verdicts(values, before) if not verdict.passed}


def test_a_sound_meter_passes_every_rule():
    assert len({verdict.rule for verdict in verdicts(SOUND)}) >= 6
    assert failed(SOUND) == set()


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"voltage_l1": 2310.0}, {"voltage", "phase_power"}),
        ({"voltage_l1": 1e-40}, {"voltage", "phase_power"}),
        ({"frequency": 500.2}, {"frequency"}),
        ({"power_factor_l1": 95.0}, {"power_factor", "phase_power"}),
        ({"active_power_total": 6.558}, {"total_power", "three_phase_power", "apparent_power"}),
        ({"apparent_power_total": 69.0}, {"apparent_power"}),
    ],
)
def test_a_wrong_scale_breaks_the_rules_that_know_the_quantity(change, rules):
    assert failed({**SOUND, **change}) == rules


def test_energy_that_runs_backwards_is_seen_between_two_readings():
    assert failed(SOUND, {"active_energy_import": 12_345.7}) == {"energy_monotone"}
    assert failed(SOUND, {"active_energy_import": 12_345.6}) == set()


def test_a_phase_without_voltage_is_possible():
    assert "voltage" not in failed({"voltage_l1": 0.0, "voltage_l2": 230.0})


def test_small_loads_are_not_judged_by_their_resolution():
    assert failed({"active_power_l1": 12.0, "voltage_l1": 230.0, "current_l1": 0.1, "power_factor_l1": 0.9}) == set()


def test_every_verdict_speaks_both_languages():
    for verdict in verdicts(SOUND):
        is_formula = verdict.rule in {"three_phase_power", "apparent_power"}  # The same in every language.
        assert (verdict.text("zh") == verdict.text("en")) is is_formula
