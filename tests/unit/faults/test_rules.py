import pytest
import yaml

from cloud_api.faults.catalogue import catalogue, load_catalogue, rule_named
from cloud_api.faults.expressions import ExpressionError, compile_expression
from cloud_api.faults.rules import RuleError, bind

GOOD = {
    "id": "TST-01",
    "severity": 3,
    "title": {"zh": "测试", "en": "Test"},
    "when": "sat > limit",
    "params": {"limit": "30 degC"},
    "delay": "10 min",
    "playbook": {"zh": ["看"], "en": ["Look"]},
}


def family(tmp_path, *rules):
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"family": "test", "brick": [], "rules": list(rules)}, allow_unicode=True))
    return [path]


def test_all_fault_conditions_of_guideline_36_and_most_of_the_appendix_are_there():
    rules = catalogue().rules
    appendix = {r.id for r in rules.values() if r.id[-4:].isdigit() and len(r.id.split("-")[1]) == 4}
    assert len(appendix) >= 90
    references = {r.spec.reference for r in rules.values() if r.family == "ahu"}
    assert {f"ASHRAE Guideline 36 FC{n}" for n in range(1, 16)} <= references


def test_every_rule_speaks_both_languages_and_says_what_to_check():
    for rule in catalogue().rules.values():
        assert rule.spec.title.zh != rule.spec.title.en
        assert len(rule.spec.playbook.zh) == len(rule.spec.playbook.en) >= 1


def test_a_bad_mixing_box_suppresses_what_rests_on_mixed_air():
    suppressed = {r.id for r in catalogue().rules.values() if "AHU-0028" in r.spec.suppressed_by}
    assert suppressed == {f"AHU-{n:04}" for n in (2, 3, 5, 6, 8, 10, 12, 14, 15, 21, 30)} | {"RTU-0005", "RTU-0006"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"when": "sta > limit"}, "'sta' is neither a role nor a parameter"),
        ({"when": "sat > limit and __import__('os')"}, "no function"),
        ({"when": "sat.real > limit"}, "not part of the rule language"),
        ({"when": "sat > "}, "invalid syntax"),
        ({"params": {"limit": "30 parsec"}}, "unknown unit 'parsec'"),
        ({"params": {"limit": "-3 K"}}, "must not be negative"),
        ({"params": {"limit": "warm"}}, "does not start with a number"),
        ({"delay": "10 Pa"}, "is a pressure"),
        ({"delay": "90 d"}, "35 days"),
        ({"playbook": {"zh": ["看"], "en": []}}, "playbook.en"),
        ({"playbook": {"zh": ["看", "修"], "en": ["Look"]}}, "2 steps in zh and 1 in en"),
        ({"suppressed_by": ["NOPE-01"]}, "NOPE-01, which does not exist"),
        ({"suppressed_by": ["TST-01"]}, "circle"),
        ({"severity": 7}, "severity"),
        ({"when": "1 > limit" + " + 1" * 2000}, "2000 characters"),
        ({"when": "avg(sat, limit) > 1", "params": {"limit": "0 s"}}, "between 1 s and 35 days"),
    ],
)
def test_a_wrong_rule_is_refused_by_name_and_reason(tmp_path, change, message):
    with pytest.raises(RuleError, match=message):
        load_catalogue(family(tmp_path, GOOD | change))


def test_a_circle_of_suppression_over_two_rules_is_refused(tmp_path):
    other = GOOD | {"id": "TST-02", "suppressed_by": ["TST-01"]}
    with pytest.raises(RuleError, match="TST-01, TST-02"):
        load_catalogue(family(tmp_path, GOOD | {"suppressed_by": ["TST-02"]}, other))


def test_missing_roles_are_listed_even_behind_a_derived_one():
    bound = bind(catalogue().rules["AHU-0006"], frozenset({"oat", "mat", "clg_vlv_cmd", "htg_vlv_cmd", "oa_dmpr_cmd"}))
    assert bound.missing == ("rat",)


def test_parameters_can_be_given_in_other_units_and_unknown_ones_are_refused():
    rule = catalogue().rules["AHU-0028"].with_params({"sensor_tolerance": "3.6 degF"})
    assert rule.params["sensor_tolerance"] == pytest.approx(2.0)
    with pytest.raises(RuleError, match="it has sensor_tolerance"):
        rule.with_params({"tolerance": 1})


def test_a_bad_rule_is_left_out_with_file_and_line_and_blocks_no_other(tmp_path):
    (path,) = family(
        tmp_path,
        GOOD,
        GOOD | {"id": "TST-02", "when": "sta > limit"},
        GOOD | {"id": "TST-03", "playbook": {"zh": ["看"]}},
        GOOD | {"id": "TST-04", "params": {"limit": "30 parsec"}},
        GOOD | {"id": "TST-05", "suppressed_by": ["TST-02"]},
        GOOD | {"id": "TST-06", "suppressed_by": ["TST-07"]},
        GOOD | {"id": "TST-07", "suppressed_by": ["TST-06"]},
    )
    broken = tmp_path / "broken.yaml"
    broken.write_text("family: [")
    problems = []
    found = load_catalogue([broken, path], problems)
    assert set(found.rules) == {"TST-01", "TST-05"}
    assert len(problems) == 6
    lines = path.read_text().splitlines()
    assert any(
        p.startswith(f"test.yaml:{1 + next(i for i, t in enumerate(lines) if 'TST-02' in t)}: ") for p in problems
    )
    assert any("TST-03" in p and "playbook.en" in p for p in problems)
    assert any("broken.yaml: not YAML" in p for p in problems)
    assert any("circle: TST-06, TST-07" in p for p in problems)


def test_two_faults_that_explain_each_other_are_refused(tmp_path):
    files = family(tmp_path, GOOD | {"explained_by": ["TST-02"]}, GOOD | {"id": "TST-02", "explained_by": ["TST-01"]})
    with pytest.raises(RuleError, match="explained_by runs in a circle: TST-01, TST-02"):
        load_catalogue(files)


def test_the_shipped_rules_have_no_problem_and_cover_the_whole_appendix_of_clusters():
    assert catalogue().problems == ()
    clusters = {c for r in catalogue().rules.values() for c in r.spec.cluster}
    triggers = {c for r in catalogue().rules.values() if r.spec.is_trigger for c in r.spec.cluster}
    assert clusters == triggers == {f"C{n:02}" for n in range(1, 11)}


def test_a_parameter_that_makes_the_rule_impossible_is_refused_before_it_is_kept():
    with pytest.raises(RuleError, match=r"AHU-0004.*between 1 s and 35 days"):
        catalogue().rules["AHU-0004"].with_params({"count_window": "0 s"})
    with pytest.raises(RuleError, match="not a usable number"):
        catalogue().rules["AHU-0028"].with_params({"sensor_tolerance": "nan K"})


def test_an_expression_that_is_nested_too_deeply_is_refused_not_a_crash():
    with pytest.raises(ExpressionError, match="nested too deeply"):
        compile_expression("1" + "+1" * 5000, frozenset(), {})


def test_a_rule_of_any_kind_can_be_placed_on_any_role():
    stuck = rule_named("PNT-04/sat")
    assert (stuck.id, bind(stuck, frozenset({"sat"})).missing) == ("PNT-04/sat", ())
    assert "sat" in bind(stuck, frozenset({"mat"})).missing
    assert (stuck.spec.title.en, stuck.spec.title.zh) == (
        "Value is stuck: Supply air temperature",
        "数值长时间不变：送风温度",
    )
    proof = rule_named("PNT-05/sf_cmd,sf_status")
    assert proof.spec.when.startswith("held(sf_cmd and not sf_status")
    with pytest.raises(RuleError, match="looks at command, status: name 2 roles"):
        rule_named("PNT-05/sf_cmd")
    with pytest.raises(RuleError, match="no role 'nonsense'"):
        rule_named("PNT-04/nonsense")
    with pytest.raises(RuleError, match="no rule 'XYZ-01'"):
        rule_named("XYZ-01/sat")
