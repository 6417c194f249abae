"""What rules say on a bill, written in both languages when the bill is made: an issued bill keeps its words."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cloud_api.billing.charge import said, unsaid
from cloud_api.kit.i18n import LANGUAGES, Catalogue, Text, load_catalogue, use_language

_LOCALE = Path(__file__).resolve().parents[1] / "web" / "locale"
UNITS_ZH = {"month": "月", "day": "天", "h": "小时", "m2·d": "㎡·天", "p·d": "人·天", "m3": "m³"}
"""Units of lines that Chinese readers write otherwise."""
UNITS_EN = {"m2·d": "m²·d", "m3": "m³", "p·d": "people·d"}


@cache
def _catalogue() -> Catalogue:
    return load_catalogue(_LOCALE)


def in_both(text: Text) -> dict[str, str]:
    """Return a text in each language."""
    written = {}
    for language in LANGUAGES:
        with use_language(language):
            written[language] = _catalogue().say(text)
    return written


def said_in_both(text: Text | None) -> dict[str, Any] | None:
    """Return a line's note as a snapshot keeps it: its message and values, and what they say in both languages."""
    return None if text is None else said(text) | in_both(text)


def note_of(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return the note of a line of a snapshot in Chinese and English; the first bills kept English alone."""
    found = line.get("said")
    if not found:
        return line.get("note", ""), line.get("note", "")
    if "zh" not in found:
        found = in_both(unsaid(found))
    return found["zh"], found["en"]


def unit_of(unit: str) -> tuple[str, str]:
    """Return how Chinese and English readers write the unit of a line."""
    return UNITS_ZH.get(unit, unit), UNITS_EN.get(unit, unit)
