"""What the checks' findings are called, what their evidence says and what to do about them: for pages and commands."""

from collections.abc import Mapping
from typing import Any

from cloud_api.kit.i18n import Text

CHECKS: Mapping[str, Text] = {
    "missing": Text("energy not known"),
    "estimated": Text("long estimate"),
    "zero_run": Text("zero all along"),
    "stuck": Text("the same value again and again"),
    "negative": Text("negative"),
    "incomplete": Text("intervals are not there"),
    "jump": Text("jump"),
    "power_factor": Text("poor power factor"),
    "load_factor": Text("all in a few intervals"),
    "sibling": Text("other channels of the meter are silent"),
    "duplicate": Text("the same run as before"),
    "spike": Text("spike"),
    "over_capacity": Text("more than the connected load"),
    "high": Text("far more than on like days"),
    "low": Text("far less than on like days"),
    "clock": Text("the clock is wrong"),
    "ratio": Text("CT × PT differs from the registry"),
    "balance": Text("the sub-meters do not add up"),
}
"""Findings by the name of their check."""
_LABELS: Mapping[str, Text] = {
    "hours": Text("hours"),
    "intervals": Text("intervals"),
    "quantity": Text("quantity"),
    "third": Text("third highest"),
    "total": Text("that day"),
    "usual": Text("like days"),
    "limit_kw": Text("connected load"),
    "expected": Text("expected"),
    "before": Text("before"),
    "power_factor": Text("power factor"),
    "limit": Text("limit"),
    "load_factor": Text("load factor"),
    "channels": Text("channels"),
    "hours_before": Text("hours earlier"),
    "drift_min": Text("minutes beside the reference"),
    "limit_s": Text("limit in seconds"),
    "device_ratio": Text("CT × PT in the device"),
    "factor": Text("factor in the cloud"),
    "registry_ratio": Text("CT × PT in the registry"),
    "residual": Text("not counted below"),
}
_UNITS = {"power_kw": "kW", "share_pct": "%"}
_CHANNELS: Mapping[str, Text] = {
    "active_energy_import": Text("active energy"),
    "active_energy_export": Text("active energy fed back"),
    "reactive_energy_import": Text("reactive energy"),
    "reactive_energy_export": Text("reactive energy fed back"),
}
STEPS: Mapping[str, Text] = {
    "missing": Text("Enter what was used, or the reset and its readings on the meter's page."),
    "estimated": Text("Accept it, or import the readings of the gap."),
    "zero_run": Text("Ask whether anything ran; if so, look at the meter and its fuses."),
    "stuck": Text("Read the meter on the spot; a frozen register is set right by a reading."),
    "negative": Text("Look at the direction of the transformers, or at a reset that nobody told of."),
    "incomplete": Text("Look at the meter's line and at the gateway; late data close the gap."),
    "jump": Text("Compare with the readings around it and exclude what is wrong."),
    "power_factor": Text("Look at the compensation and at the wiring of the kvarh channel."),
    "load_factor": Text("Compare with the readings around the peak; if it was real, accept it with the reason."),
    "sibling": Text("Look at the points of these channels on the gateway; the power factor of the bill needs them."),
    "duplicate": Text(
        "Look whether a file was imported twice or the meter repeats a block; undo the import or estimate anew."
    ),
    "spike": Text("Compare with the readings around it; estimate anew if it was not used."),
    "over_capacity": Text("Look at the factor of the transformers and at the connected load in the registry."),
    "high": Text("Ask what ran; if nothing did, read the meter on the spot."),
    "low": Text("Ask who was away; if nobody was, look at the meter and its wiring."),
    "clock": Text("Set the clock of the meter or of its gateway."),
    "ratio": Text("Read the plates of the transformers and set the registry or the factor."),
    "balance": Text("Open the balance: it names the meter that would explain the difference."),
}
"""What to do first about a finding."""


def evidence(detail: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what a finding's evidence names, and its values; words are messages of the catalogue."""
    return [(_label(key), _values(value)) for key, value in detail.items()]


def _label(key: str) -> str:
    return _LABELS[key].message if key in _LABELS else _UNITS.get(key, key)


def _values(value: Any) -> list[str]:
    if isinstance(value, list):
        return [_CHANNELS[v].message if v in _CHANNELS else str(v) for v in value]
    return [str(value)]
