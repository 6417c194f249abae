"""Line protocol of InfluxDB, as Telegraf writes it, read as observations of devices and points. Pure.

Which device and point a value belongs to, by its line alone:

- `power,device=meter-1,phase=l1 value=3,reactive=1` — a tag `device` names the device; the point is the measurement,
  the other tags' values in order of their keys (not `host`) and the field (not `value`): `power_l1`,
  `power_l1_reactive`.
- `modbus,name=m1,slave_id=1 voltage=230` — without it the whole series is the device: `modbus-m1-1-` and six digits
  that tell it from others written alike; the field is the point.
- A tag `unit` is the unit of the line's values.

Names are written in small letters, digits and hyphens (points: underscores); six digits of a hash follow a name that
had to be changed, so that two series never fall together. Text is not kept. Instants count to the millisecond.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from line_protocol_parser import LineFormatError, parse_line

from cloud_api.devices.model import SCALE_MAX
from cloud_api.ingest.names import digits, plain_name, valid_name

PRECISIONS = {"ns": 1_000_000, "us": 1_000, "ms": 1, "s": -1_000}  # How many make a millisecond; negative: the inverse.
_MANTISSA_MAX = 2**63 - 1
_DIGITS_MAX = 15  # As many decimal digits as every double keeps.


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One number of one line. `scale` is -1 where the decimal digits written are more than a mantissa holds."""

    device: str
    point: str
    at_ms: int
    value: float
    mantissa: int
    scale: int


@dataclass(slots=True)
class Lines:
    """What a body said: values, the devices they need (name: label, points with units), and lines without sense."""

    values: list[Value] = field(default_factory=list)
    devices: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    texts: int = 0


def read_lines(body: str, *, precision: str, now_ms: int, oldest_ms: int, latest_ms: int) -> Lines:
    """Read every line; one that makes no sense is a problem of its own and keeps none of its neighbours back."""
    found = Lines()
    for number, line in enumerate(body.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            parsed = parse_line(line)
        except LineFormatError as error:
            found.problems.append((number, str(error)))
            continue
        if parsed is None:  # A comment.
            continue
        at_ms = now_ms if parsed["time"] is None else _milliseconds(parsed["time"], precision)
        if not oldest_ms <= at_ms <= latest_ms:
            found.problems.append((number, _instant_problem(parsed["time"], precision, is_old=at_ms < oldest_ms)))
            continue
        _take(found, parsed, at_ms)
    return found


def _take(found: Lines, parsed: Mapping[str, Any], at_ms: int) -> None:
    tags = dict(parsed["tags"])
    unit = tags.pop("unit", "")[:400]
    named = tags.pop("device", None)
    if named is not None:
        tags.pop("host", None)
    device, label = _device(parsed["measurement"], tags, named)
    _, points = found.devices.setdefault(device, (label, {}))
    for key, value in parsed["fields"].items():
        if isinstance(value, str):
            found.texts += 1
            continue
        point = _point(parsed["measurement"], tags, key) if named is not None else valid_name(key, "_")
        points[point] = unit
        mantissa, scale = _exact(value)
        found.values.append(
            Value(device=device, point=point, at_ms=at_ms, value=float(value), mantissa=mantissa, scale=scale)
        )


def _milliseconds(time: int, precision: str) -> int:
    factor = PRECISIONS[precision]
    return time // factor if factor > 0 else time * -factor


def _instant_problem(time: int, precision: str, *, is_old: bool) -> str:
    what = "before the year 2000" if is_old else "more than ten minutes ahead of the cloud's clock"
    return f"the instant {time} {precision} is {what}; does `precision` say what the client writes?"


def _device(measurement: str, tags: Mapping[str, str], named: str | None) -> tuple[str, str]:
    if named is not None:
        return valid_name(named, "-"), named[:400]
    series = ",".join([measurement, *(f"{key}={tags[key]}" for key in sorted(tags))])
    words = "-".join([measurement, *(tags[key] for key in sorted(tags))])
    return f"{plain_name(words, '-')}-{digits(series)}", series[:400]


def _point(measurement: str, tags: Mapping[str, str], key: str) -> str:
    words = [measurement, *(tags[tag] for tag in sorted(tags))]
    return valid_name("_".join(words if key == "value" else [*words, key]), "_")


def _exact(value: float) -> tuple[int, int]:
    """Return mantissa and scale of the digits that were written: the shortest decimal that gives this double."""
    if isinstance(value, int):
        return (int(value), 0) if abs(value) <= _MANTISSA_MAX else (0, -1)
    if value.is_integer() and abs(value) < 10**_DIGITS_MAX:
        return int(value), 0
    sign, figures, exponent = Decimal(repr(value)).as_tuple()
    if not isinstance(exponent, int) or not -SCALE_MAX <= exponent <= 0 or len(figures) > _DIGITS_MAX:
        return 0, -1
    mantissa = int("".join(map(str, figures)))
    return (-mantissa if sign else mantissa), -exponent
