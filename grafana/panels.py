"""The few panel shapes that every dashboard is made of, on top of the typed builders of grafana-foundation-sdk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import barchart, bargauge, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

DATASOURCE_UID = "wattlease"
DATASOURCE = model.DataSourceRef(type_val="grafana-postgresql-datasource", uid=DATASOURCE_UID)
# One colour per name, the same on every panel.
PALETTE = model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
Limit = tuple[float | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(Dataquery, Builder[Dataquery]):
    """One SQL query on the schema `reporting`; `is_series` for rows with a column `time`."""

    text: str
    is_series: bool = False
    ref_id: str = "A"

    def build(self) -> Dataquery:
        """Return itself: the query needs no assembling."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the target as Grafana's PostgreSQL data source keeps it."""
        return {
            "refId": self.ref_id,
            "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
            "editorMode": "code",
            "rawQuery": True,
            "rawSql": self.text,
            "format": "time_series" if self.is_series else "table",
        }


def steps(*limits: Limit) -> dashboard.ThresholdsConfig:
    """Return absolute thresholds: (from, colour) in ascending order, the first from nowhere."""
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in limits])
    )


def number(
    title: str, sql: str, unit: str, *, decimals: int = 1, limits: Sequence[tuple[float | None, str]] = ()
) -> stat.Panel:
    """Return one large number; a colour only where limits say so."""
    panel = (
        stat.Panel()
        .title(title)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .no_value("–")
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE if limits else common.BigValueColorMode.NONE)
        .reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .with_target(Sql(text=sql))
    )
    return panel.thresholds(steps(*limits)) if limits else panel


def course(
    title: str, sql: str, unit: str, *, decimals: int = 1, stacked: bool = False, from_zero: bool = True
) -> timeseries.Panel:
    """Return thin lines over time; a gap in the data stays a gap."""
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .line_width(1)
        .fill_opacity(35 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .color_scheme(dashboard.FieldColor().mode(PALETTE))
        .legend(
            options.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .with_target(Sql(text=sql, is_series=True))
    )
    if stacked:
        panel = panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL))
    return panel.min(0) if from_zero else panel


def bars(title: str, sql: str, unit: str, *, decimals: int = 1) -> bargauge.Panel:
    """Return one horizontal bar per row: (name, value), the largest first as the query orders them."""
    return (
        bargauge.Panel()
        .title(title)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .min(0)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color("#0072B2"))
        .reduce_options(options.ReduceDataOptions().values(True).calcs([]).fields("/^value$/"))
        .with_target(Sql(text=sql))
    )


def columns(title: str, sql: str, unit: str, *, decimals: int = 0) -> barchart.Panel:
    """Return one column per day or category, stacked over the value columns of the query."""
    return (
        barchart.Panel()
        .title(title)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(decimals)
        .stacking(common.StackingMode.NORMAL)
        .color_scheme(dashboard.FieldColor().mode(PALETTE))
        .with_target(Sql(text=sql))
    )


def rows(title: str, sql: str) -> table.Panel:
    """Return a table with the columns as the query names them."""
    return table.Panel().title(title).datasource(DATASOURCE).no_value("–").with_target(Sql(text=sql))
