"""Builders for tariffs and loads, short enough to read in a test."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cloud_api.billing.calendar import built_in
from cloud_api.billing.charge import Cycle
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.tariff_file import parse_tariff

SHANGHAI = ZoneInfo("Asia/Shanghai")


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
