"""Builders for tariffs and loads, short enough to read in a test."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cloud_api.billing.calendar import PLAIN, built_in
from cloud_api.billing.charge import Cycle
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.policy import Policy
from cloud_api.billing.run_model import RunInputs, SiteFacts
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.billing.timetable import cut_by_day
from cloud_api.kit.period import local_days

SHANGHAI = ZoneInfo("Asia/Shanghai")
OWNER = 1
NAME = {"zh": "测", "en": "t"}


@pytest.fixture(scope="session")
def china():
    return built_in("CN")


@pytest.fixture
def tariff():
    """Make a tariff of one version from the YAML below `versions: - …`."""

    def make(components, *, more="", **top):
        head = "\n".join(f"{key}: {value}" for key, value in top.items())
        body = "\n".join("    " + line for line in (more + "\ncomponents:\n" + components).strip().splitlines())
        text = f"tariff: t\nname: {{zh: 测, en: t}}\n{head}\nversions:\n  - version: v1\n    valid_from: 2020-01-01\n{body}\n"
        return parse_tariff(text).tariff

    return make


def month(year, number, first=None, after=None):
    starts_on = date(year, number, 1)
    ends_on = date(year + number // 12, number % 12 + 1, 1)
    return Cycle(starts_on=starts_on, ends_on=ends_on, billed_from=first or starts_on, billed_to=after or ends_on)


def flat_load(start, end, kwh="1", minutes=15, zone=SHANGHAI):
    """Every interval of local [start, end) with the same energy."""
    at = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(ZoneInfo("UTC"))
    stop = datetime.fromisoformat(end).replace(tzinfo=zone).astimezone(ZoneInfo("UTC"))
    step = timedelta(minutes=minutes)
    intervals = []
    while at < stop:
        intervals.append(LoadInterval(at, at + step, Decimal(kwh)))
        at += step
    return Load(intervals=tuple(intervals), minutes=minutes, gaps=())


def run_inputs(tariff, first, after, **more):
    """Return the inputs of a run of an empty site, with what a test adds."""
    period = local_days(first, after, tariff.zone)
    site = SiteFacts(
        id=1, organisation_id=1, code="s", name=NAME, issuer={"code": "s", **NAME}, time_zone="Asia/Shanghai",
        currency="CNY", owner_id=OWNER,
    )  # fmt: skip
    return RunInputs(**{
        "site": site, "utility": "electricity", "starts_on": first, "ends_on": after, "period": period,
        "tariff": tariff, "tariff_revision": 1, "tariff_sha256": "", "landlord_tariff": tariff, "calendar": PLAIN,
        "policy": Policy(), "runs": cut_by_day(tariff, PLAIN, period), "parts": [], "energy": {}, "readings": {},
        "tenants": {}, "tenancies": [], "spaces": [], "used_before": {}, "earlier": {},
    } | more)  # fmt: skip
