"""From spaces with areas to a drawing: each floor a row, each space as wide as its share of the widest floor. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 1000
ROW = 74
GAP = 4
NARROWEST = 56  # Its energy can be read.


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A space in the drawing; `state` is vacant, occupied, common or plant."""

    x: float
    y: float
    width: float
    height: float
    state: str
    space: Mapping[str, Any]


def state_of(space: Mapping[str, Any]) -> str:
    """Return what colours a space."""
    if space["use"] in {"common", "plant"}:
        return str(space["use"])
    if space["use"] == "shared":
        return "common"
    return "occupied" if space["lease_id"] is not None else "vacant"


def boxes(spaces: Sequence[Mapping[str, Any]]) -> tuple[list[Box], int]:
    """Lay one building out, its highest floor on top; returns the boxes and the height of the drawing."""
    floors: dict[Any, list[Mapping[str, Any]]] = {}
    for space in sorted(spaces, key=lambda s: -s["level_number"]):
        floors.setdefault((space["level_number"], space["floor"]), []).append(space)
    widest = max((sum(_area(s) for s in row) for row in floors.values()), default=1.0)
    found: list[Box] = []
    for n, row in enumerate(floors.values()):
        widths = [max(WIDTH * _area(s) / widest, NARROWEST) for s in row]
        scale = min(1.0, (WIDTH - GAP * (len(row) - 1)) / sum(widths))
        x = 0.0
        for space, width in zip(row, widths, strict=True):
            shown = width * scale
            found.append(
                Box(
                    x=round(x, 1),
                    y=n * (ROW + GAP),
                    width=round(shown, 1),
                    height=ROW,
                    state=state_of(space),
                    space=space,
                )
            )
            x += shown + GAP
    return found, max(len(floors) * (ROW + GAP) - GAP, 0)


def _area(space: Mapping[str, Any]) -> float:
    return float(space["area_m2"] or 0)
