"""The dashboards: which panels, with which queries, in which place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from cloud_api.db.queries import load_queries
from grafana.panels import DATASOURCE, Limit, bars, columns, course, number, rows
from grafana.texts import Language, text

TIME_ZONE = "Asia/Shanghai"
GRID_WIDTH = 24
GOOD, BAD, CRITICAL = "#1c7444", "#b26a00", "#b3261e"

queries = load_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A panel's builder with its size on the grid of 24 columns."""

    panel: Any
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Titles and queries in one language."""

    language: Language

    def title(self, key: str) -> str:
        """Return a title."""
        return text(key, self.language)

    def sql(self, name: str) -> str:
        """Return a query, without its comment."""
        lines = getattr(queries, name).replace("{language}", self.language).replace("{zone}", TIME_ZONE).splitlines()
        return "\n".join(line for line in lines if not line.startswith("--"))


def overview(words: Words) -> list[Placed]:
    """Return the wall: power, energy today, floors, tenants, air, alarms, devices."""
    t, q = words.title, words.sql
    some: list[Limit] = [(None, GOOD), (1, BAD)]
    share: list[Limit] = [(None, GOOD), (0.85, BAD), (1.0, CRITICAL)]
    contract = number(t("share_of_contract"), q("share_of_contract"), "percentunit", decimals=0, limits=share)
    silent = number(t("silent_devices"), q("silent_devices"), "none", decimals=0, limits=some)
    return [
        Placed(width=4, height=4, panel=number(t("power_now"), q("power_now"), "kwatt")),
        Placed(width=4, height=4, panel=number(t("energy_today"), q("energy_today"), "kwatth", decimals=0)),
        Placed(
            width=4,
            height=4,
            panel=contract,
        ),
        Placed(width=4, height=4, panel=number(t("outdoor"), q("outdoor"), "celsius")),
        Placed(width=4, height=4, panel=number(t("open_alarms"), q("open_alarms"), "none", decimals=0, limits=some)),
        Placed(width=4, height=4, panel=silent),
        Placed(width=12, height=8, panel=course(t("power_course"), q("main_power"), "kwatt")),
        Placed(width=12, height=8, panel=course(t("floor_power"), q("floor_power"), "kwatt", stacked=True)),
        Placed(width=8, height=10, panel=bars(t("tenant_power"), q("tenant_today"), "kwatth")),
        Placed(width=8, height=10, panel=course(t("co2"), q("co2"), "ppm", decimals=0, from_zero=False)),
        Placed(width=8, height=10, panel=course(t("temperature"), q("temperature"), "celsius", from_zero=False)),
    ]


def energy(words: Words) -> list[Placed]:
    """Return what was used, by day, tenant and meter, and how good the ledger is."""
    t, q = words.title, words.sql
    by_tenant = course(t("tenant_day_energy"), q("tenant_day_energy"), "kwatth", stacked=True)
    return [
        Placed(width=12, height=9, panel=columns(t("day_energy"), q("day_energy"), "kwatth")),
        Placed(width=12, height=9, panel=by_tenant),
        Placed(width=8, height=14, panel=bars(t("meter_energy"), q("meter_energy"), "kwatth", decimals=0)),
        Placed(width=8, height=14, panel=course(t("balance"), q("balance"), "kwatth", from_zero=False)),
        Placed(width=8, height=14, panel=columns(t("quality"), q("quality"), "none")),
        Placed(width=24, height=8, panel=rows(t("doubtful"), q("doubtful"))),
    ]


def health(words: Words) -> list[Placed]:
    """Return whether gateways and devices answer."""
    t, q = words.title, words.sql
    return [
        Placed(width=24, height=5, panel=rows(t("gateways"), q("gateways"))),
        Placed(width=8, height=9, panel=bars(t("states"), q("device_states"), "none", decimals=0)),
        Placed(width=16, height=9, panel=rows(t("silent_list"), q("devices"))),
        Placed(width=24, height=10, panel=rows(t("stale_points"), q("stale_points"))),
    ]


def alarms(words: Words) -> list[Placed]:
    """Return what needs somebody, and how the system of alarms does."""
    t, q = words.title, words.sql
    return [
        Placed(width=24, height=9, panel=rows(t("alarm_list"), q("alarms"))),
        Placed(width=12, height=9, panel=columns(t("alarms_per_day"), q("alarms_per_day"), "none")),
        Placed(width=8, height=9, panel=bars(t("alarm_subjects"), q("alarm_subjects"), "none", decimals=0)),
        Placed(width=4, height=9, panel=number(t("time_to_ack"), q("time_to_acknowledge"), "s", decimals=0)),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard: its panels, the period it opens with, and how often it asks again."""

    key: str
    panels: Callable[[Words], Sequence[Placed]]
    time_from: str
    refresh: str

    def build(self, language: Language) -> model.Dashboard:
        """Return the dashboard in one language."""
        words = Words(language=language)
        board = (
            dashboard.Dashboard(f"Wattlease · {words.title(self.key)}")
            .uid(f"wattlease-{self.key}-{language}")
            .tags(["wattlease", language])
            .timezone(TIME_ZONE)
            .time(self.time_from, "now")
            .refresh(self.refresh)
            .with_variable(
                dashboard.QueryVariable("site")
                .label(words.title("site"))
                .datasource(DATASOURCE)
                .query(words.sql("sites"))
                .refresh(model.VariableRefresh.ON_DASHBOARD_LOAD)
            )
        )
        x = y = tallest = 0
        for number_, placed in enumerate(self.panels(words), start=1):
            if x + placed.width > GRID_WIDTH:
                x, y, tallest = 0, y + tallest, 0
            position = model.GridPos(x=x, y=y, w=placed.width, h=placed.height)
            board = board.with_panel(placed.panel.id(number_).grid_pos(position))
            x, tallest = x + placed.width, max(tallest, placed.height)
        return board.build()


BOARDS = (
    Board(key="overview", panels=overview, time_from="now-24h", refresh="10s"),
    Board(key="energy", panels=energy, time_from="now-30d", refresh="15m"),
    Board(key="health", panels=health, time_from="now-6h", refresh="10s"),
    Board(key="alarms", panels=alarms, time_from="now-30d", refresh="30s"),
)
