import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from cloud_api.billing import what_if
from cloud_api.billing.calendar import PLAIN
from cloud_api.billing.charge import Facts
from cloud_api.billing.cli import tariff_app
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.billing.urdb import UrdbInvalid, as_file, to_tariff

SUMMER = [[0] * 8 + [1] * 12 + [0] * 4] * 12
WINTER = [[0] * 24] * 12
WEEKDAY = [[0] * 8 + [1 if 5 <= m <= 8 else 0] * 12 + [0] * 4 for m in range(12)]
RECORD = {
    "label": "test-rate", "name": "Test rate", "startdate": 1388534400,
    "energyratestructure": [[{"max": 600, "rate": 0.08, "adj": 0.01}, {"rate": 0.11, "adj": 0.01}], [{"max": 600, "rate": 0.20}, {"rate": 0.26}]],
    "energyweekdayschedule": WEEKDAY, "energyweekendschedule": WINTER,
    "flatdemandstructure": [[{"rate": 5.5}], [{"rate": 9}]], "flatdemandmonths": [0] * 5 + [1] * 4 + [0] * 3,
    "demandratestructure": [[{"rate": 0}], [{"rate": 3.25}]], "demandweekdayschedule": WEEKDAY, "demandweekendschedule": WINTER,
    "fixedchargefirstmeter": 12.5, "fixedchargeunits": "$/month", "demandwindow": 60,
}  # fmt: skip


def exact(record):
    return json.loads(json.dumps(record), parse_float=Decimal, parse_int=Decimal)


def hourly_2018():
    """A load with a daily and a yearly course; 2018 begins on a Monday and has no leap day, as SAM's year."""
    start = datetime(2018, 1, 1, tzinfo=UTC)
    return [
        (start + timedelta(hours=h), Decimal((h * 7919) % 4000) / 1000 + Decimal(((h % 24) * 13) % 40) / 10)
        for h in range(8760)
    ]


def sam_bill(record, load):
    """The same year by NREL's SAM: an independent calculation of energy, demand and fixed charges."""
    from PySAM import Utilityrate5

    m = Utilityrate5.new()
    m.Lifetime.assign({"analysis_period": 1, "system_use_lifetime_output": 0, "inflation_rate": 0})
    m.SystemOutput.assign({"degradation": [0], "gen": [0.0] * 8760})
    m.Load.assign({"load": [float(q) for _, q in load], "load_escalation": [0]})
    energy = [
        [p + 1, t + 1, float(tier.get("max", 1e38)), 0, float(tier["rate"]) + float(tier.get("adj", 0)), 0]
        for p, tiers in enumerate(record["energyratestructure"])
        for t, tier in enumerate(tiers)
    ]
    one_based = lambda table: [[cell + 1 for cell in row] for row in table]  # noqa: E731
    flat = [
        [m, 1, 1e38, float(record["flatdemandstructure"][record["flatdemandmonths"][m]][0]["rate"])] for m in range(12)
    ]
    tou = [[p + 1, 1, 1e38, float(tiers[0]["rate"])] for p, tiers in enumerate(record["demandratestructure"])]
    m.ElectricityRates.assign({
        "en_electricity_rates": 1, "ur_metering_option": 0, "rate_escalation": [0], "ur_nm_credit_month": 11,
        "ur_nm_credit_rollover": 0, "ur_monthly_fixed_charge": record["fixedchargefirstmeter"], "ur_monthly_min_charge": 0,
        "ur_annual_min_charge": 0, "ur_nm_yearend_sell_rate": 0, "ur_sell_eq_buy": 0, "ur_en_ts_sell_rate": 0, "ur_en_ts_buy_rate": 0,
        "ur_ts_sell_rate": [0], "ur_ts_buy_rate": [0], "ur_ec_sched_weekday": one_based(record["energyweekdayschedule"]),
        "ur_ec_sched_weekend": one_based(record["energyweekendschedule"]), "ur_ec_tou_mat": energy, "ur_dc_enable": 1,
        "ur_dc_sched_weekday": one_based(record["demandweekdayschedule"]), "ur_dc_sched_weekend": one_based(record["demandweekendschedule"]),
        "ur_dc_tou_mat": tou, "ur_dc_flat_mat": flat, "ur_enable_billing_demand": 0, "ur_billing_demand_lookback_period": 0,
        "ur_yearzero_usage_peaks": [0] * 12, "ur_billing_demand_lookback_percentages": [[0, 0]] * 12, "ur_billing_demand_minimum": 0,
        "ur_dc_billing_demand_periods": [[1, 1], [2, 1]], "TOU_demand_single_peak": 0,
    })  # fmt: skip
    m.execute()
    return m.Outputs.export()  # The outputs live only as long as the module.


def test_a_year_of_energy_demand_and_fixed_charges_agrees_with_sam():
    load = hourly_2018()
    tariff = to_tariff(exact(RECORD), time_zone="Etc/UTC")
    profile = Load(intervals=tuple(LoadInterval(at, at + timedelta(hours=1), q) for at, q in load), minutes=60, gaps=())
    months = what_if.rate_months(tariff, PLAIN, profile, Facts())
    ours = {
        kind: sum(float(x.amount) for m in months for x in m.rated.lines if x.kind == kind)
        for kind in ("energy", "demand", "fixed")
    }
    sam = sam_bill(RECORD, load)
    energy = sum(sam["year1_monthly_ec_charge_without_system"])
    demand = sum(sam["year1_monthly_dc_fixed_without_system"]) + sum(sam["year1_monthly_dc_tou_without_system"])
    assert ours["energy"] == pytest.approx(energy, abs=0.005 * 12 * 8)
    assert ours["demand"] == pytest.approx(demand, abs=0.005 * 12 * 3)
    assert ours["fixed"] == pytest.approx(sum(sam["year1_monthly_fixed_without_system"]), abs=0.01)


def test_an_imported_record_is_a_valid_tariff_file_that_reads_back_the_same():
    tariff = to_tariff(exact(RECORD), time_zone="America/Denver")
    assert parse_tariff(as_file(tariff)).tariff == tariff


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"demandreactivepowercharge": 0.3}, "a reactive power charge cannot be represented"),
        ({"coincidentratestructure": [[{"rate": 2}]]}, "coincident demand cannot be represented"),
        ({"energyweekdayschedule": [[0] * 24] * 11}, "energyweekdayschedule has to be 12 rows of 24"),
        ({"energyratestructure": [[{"rate": 0.1, "max": 100}], [{"rate": 0.2}]]}, "use above it has no price"),
        (
            {"energyratestructure": [[{"rate": 0.1, "unit": "kWh/kW"}], [{"rate": 0.2}]]},
            "steps in kWh/kW cannot be represented",
        ),
        ({"energyratestructure": [[{"rate": 0.1}]]}, "names an energy period"),
        ({"fixedchargeunits": "$/year"}, "a fixed charge in $/year cannot be represented"),
    ],
)
def test_what_cannot_be_said_exactly_is_refused(change, words):
    with pytest.raises(UrdbInvalid) as refused:
        to_tariff(exact(RECORD | change), time_zone="Etc/UTC")
    assert words in str(refused.value)


def test_zero_as_a_limit_means_none_and_a_ratchet_may_be_a_fraction():
    record = RECORD | {
        "energyratestructure": [[{"rate": 0.1, "max": 0}], [{"rate": 0.2}]],
        "demandratchetpercentage": [0.8] * 12,
    }
    tariff = to_tariff(exact(record), time_zone="Etc/UTC")
    demand = next(c.demand for c in tariff.versions[0].components if c.code == "demand_1")
    assert demand.ratchet.percent == 80


def test_the_command_writes_a_file_that_can_be_rated(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"items": [RECORD | {"mincharge": 5, "minchargeunits": "$/day"}]}))
    (tmp_path / "load.csv").write_text("start,kwh\n2018-07-02 09:00,1\n2018-07-02 10:00,2\n")
    run = CliRunner().invoke(tariff_app, ["import-urdb", str(tmp_path / "r.json"), "--out", str(tmp_path / "t.yaml")])
    assert run.exit_code == 0, run.output
    rated = CliRunner().invoke(
        tariff_app, ["rate", str(tmp_path / "t.yaml"), "--intervals", str(tmp_path / "load.csv"), "--json"]
    )
    assert rated.exit_code == 0, rated.output
    components = json.loads(rated.stdout)["months"][0]["components"]
    assert components["energy"] == "0.60"
