from pathlib import Path

import pytest

from cloud_api.billing import coverage
from cloud_api.billing.calendar import built_in
from cloud_api.billing.tariff_file import TariffFileInvalid, dump_tariff, load_dumped, load_tariff, parse_tariff

TEMPLATES = sorted((Path(coverage.__file__).parent / "tariffs").glob("*.yaml"))
HEAD = "tariff: t\nname: {zh: 测, en: t}\nversions:\n  - version: v1\n    valid_from: 2026-01-01\n"
ENERGY = "    components:\n      - {code: e, name: {zh: 电, en: e}, kind: energy, price: 1}\n"


def problems(text):
    with pytest.raises(TariffFileInvalid) as refused:
        parse_tariff(text)
    return "\n".join(map(str, refused.value.problems))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_every_template_is_valid_and_prices_each_minute_of_a_year_once(path):
    tariff = load_tariff(path).tariff
    minutes = coverage.minutes_of_year(
        tariff, built_in(tariff.holiday_calendar), 2028 if "two-part" in path.stem else 2025
    )
    assert sum(minutes.values()) == (527_040 if "two-part" in path.stem else 525_600)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_a_tariff_survives_the_form_that_the_database_keeps(path):
    tariff = load_tariff(path).tariff
    assert load_dumped(dump_tariff(tariff)) == tariff


def test_a_hole_and_an_overlap_are_named_with_season_day_type_and_time():
    text = (
        HEAD
        + '    windows:\n      - {bucket: a, hours: ["08:00-22:00"]}\n      - {bucket: b, start: 21:00, end: "24:00"}\n'
        + ENERGY
    )
    found = problems(text)
    assert "season year, day type any: 00:00-08:00 is in no bucket" in found
    assert "21:00-22:00 is in a and in b" in found


def test_a_missing_month_is_named():
    text = HEAD + "    seasons:\n      - {code: s, months: [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]}\n" + ENERGY
    assert "no season holds 07-01 to 07-31" in problems(text)


def test_a_leap_day_needs_a_season_too():
    text = HEAD + "    seasons:\n      - {code: a, starts: 03-01, ends: 02-29}\n" + ENERGY
    assert "no season holds 02-29 to 02-29" in problems(text)


def test_day_types_that_leave_days_out_are_refused():
    text = (
        HEAD.replace("versions", "holiday_calendar: CN\nversions")
        + "    day_types:\n      - {code: w, when: {kind: workday}}\n      - {code: e, when: {kind: weekend}}\n"
        + ENERGY
    )
    assert "some days have no day type, such as fri holiday" in problems(text)


def test_prices_stay_exact_and_are_never_read_through_a_float():
    tariff = parse_tariff(HEAD + ENERGY.replace("price: 1", "price: 0.1000000000000000055511151231257827")).tariff
    assert str(tariff.versions[0].components[0].price) == "0.1000000000000000055511151231257827"


def test_a_repeated_key_is_refused_instead_of_silently_winning():
    assert "line 5: 'valid_from' stands there twice" in problems(
        HEAD.replace("version: v1", "valid_from: 2025-01-01") + ENERGY
    )


def test_an_unknown_key_is_named_with_its_line():
    assert "line 6, versions[0].colour: is not a known key" in problems(HEAD + "    colour: red\n" + ENERGY)


def test_two_versions_in_force_on_one_day_are_refused_and_so_is_a_day_without_one():
    second = "  - version: v2\n    valid_from: 2026-07-01\n" + ENERGY
    assert "versions v1 and v2 are both in force from 2026-07-01" in problems(HEAD + ENERGY + second)
    ended = HEAD + "    valid_to: 2026-06-30\n" + ENERGY + second
    assert "no version is in force from 2026-06-30 to 2026-07-01" in problems(ended)


def test_a_bucket_without_a_price_is_refused():
    text = (
        HEAD
        + '    windows:\n      - {bucket: a, hours: ["00:00-12:00"]}\n      - {bucket: b, hours: ["12:00-24:00"]}\n'
        + ENERGY.replace("price: 1", "prices: {a: 1}")
    )
    assert "component e: has no price for bucket b" in problems(text)


def test_a_floating_component_needs_a_ratio_for_every_bucket():
    assert "bucket All day has no ratio" in problems(HEAD + ENERGY.replace("price: 1", "price: 1, floats: true"))


def test_the_last_tier_may_not_end():
    text = HEAD + ENERGY.replace("price: 1", "tiers: {steps: [{up_to: 10, price: 1}, {up_to: 20, price: 2}]}")
    assert "the last tier ends at 20" in problems(text)


@pytest.mark.parametrize("months", [0, 37, 10**9])
def test_a_ratchet_looks_back_a_bounded_number_of_months(months):
    demand = f"demand: {{rule: ratchet, ratchet: {{percent: 80, months_back: {months}}}}}"
    text = HEAD + ENERGY.replace("kind: energy, price: 1", f"kind: demand, price: 1, {demand}")
    assert "ratchet.months_back counts from 1 to 36" in problems(text)


def test_vat_as_a_percentage_is_refused_with_the_remedy():
    assert "write 0.13 for 13 %" in problems(HEAD + ENERGY.replace("price: 1", "price: 1, vat_rate: 13"))


def test_nested_aliases_that_name_billions_of_values_are_refused_at_once():
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
    )
    assert "more than" in problems(bomb)


@pytest.mark.parametrize(
    "text", ["", "- a", "tariff: [", "42", "tariff: t\nname: {zh: a, en: b}\nversions: []", "tariff: t\nversions: 3"]
)
def test_what_is_no_tariff_gives_a_clear_refusal(text):
    assert problems(text)
