"""What a chart shows, as JSON for static/charts.js: names and numbers here, colours and drawing there.

A gap is None: it stays a gap in the line. Values are already in the unit that is written on the axis.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi.responses import JSONResponse

# band-low and band-high come as a pair: the lower edge, and the height of the band above it.
Style = Literal["line", "thin", "dashed", "step", "area", "bar", "band-low", "band-high"]
Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line or one set of bars; `colour` names a CSS variable (cat-1 … cat-8, tou-peak, muted, accent)."""

    name: str
    values: Sequence[Value]
    style: Style = "line"
    colour: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A horizontal line with its name: a threshold, a contract."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeChart:
    """Series over instants; the axis is written in `zone`. `start` and `end` fix the axis where data may be missing."""

    zone: ZoneInfo
    unit: str
    instants: Sequence[datetime]
    series: Sequence[Series]
    decimals: int = 1
    stacked: bool = False
    from_zero: bool = True
    direct_labels: bool = False
    limits: Sequence[Limit] = field(default_factory=tuple)
    start: datetime | None = None
    end: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what charts.js draws."""
        return _cartesian(self) | {
            "zone": str(self.zone),
            "x": {
                "kind": "time",
                "values": [_ms(at) for at in self.instants],
                "from": _ms(self.start) if self.start else None,
                "to": _ms(self.end) if self.end else None,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryChart:
    """Series over named categories: days, floors, tenants. `horizontal` suits long names."""

    unit: str
    categories: Sequence[str]
    series: Sequence[Series]
    decimals: int = 1
    stacked: bool = False
    horizontal: bool = False
    from_zero: bool = True
    direct_labels: bool = False
    limits: Sequence[Limit] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """Return what charts.js draws."""
        return _cartesian(self) | {
            "horizontal": self.horizontal,
            "x": {"kind": "category", "values": list(self.categories)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatChart:
    """One number per column and row, such as hours across days; cells are (column, row, value)."""

    unit: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Sequence[tuple[int, int, Value]]
    decimals: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return what charts.js draws."""
        x = {"kind": "category", "values": list(self.columns)}
        cells = [list(c) for c in self.cells]
        return {
            "kind": "heat",
            "unit": self.unit,
            "decimals": self.decimals,
            "x": x,
            "y": list(self.rows),
            "cells": cells,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowChart:
    """What flows from where to where (Sankey): nodes are (name, colour or None), links (from, to, quantity)."""

    unit: str
    nodes: Sequence[tuple[str, str | None]]
    links: Sequence[tuple[str, str, float]]
    decimals: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return what charts.js draws."""
        return {
            "kind": "sankey",
            "unit": self.unit,
            "decimals": self.decimals,
            "nodes": [{"name": name, "colour": colour} for name, colour in self.nodes],
            "links": [{"source": a, "target": b, "value": quantity} for a, b, quantity in self.links],
        }


Chart = TimeChart | CategoryChart | HeatChart | FlowChart


def chart_response(chart: Chart) -> JSONResponse:
    """Answer a chart's address."""
    return JSONResponse(chart.as_json(), headers={"Cache-Control": "no-store"})


def _cartesian(chart: TimeChart | CategoryChart) -> dict[str, Any]:
    return {
        "kind": "cartesian",
        "unit": chart.unit,
        "decimals": chart.decimals,
        "stacked": chart.stacked,
        "from_zero": chart.from_zero,
        "direct_labels": chart.direct_labels,
        "limits": [asdict(limit) for limit in chart.limits],
        "series": [{**asdict(one), "values": list(one.values)} for one in chart.series],
    }


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
