"""Topic and payload to frames and events, by profile. Pure.

A device and its profile are compiled into routes once; `read` then takes one message. What cannot be read is named in
`problems` and never becomes a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from jsonpath import JSONPointer

from device_profiles.model import Availability, EventRule, Message, MqttPoint, MqttProfile
from device_profiles.vocabulary import PointKind
from edge_agent.drivers.mqtt import payload as payloads
from edge_agent.drivers.mqtt.privacy import hash_credential
from edge_agent.drivers.mqtt.timestamps import Moment, moment
from edge_agent.drivers.mqtt.topics import fill
from edge_agent.model import DeviceState, Event, Frame, Quality

TEXT_LENGTH_MAX = 100
INTEGER_MAX = 2**63 - 1
RESULTS = ("granted", "denied")
DIRECTIONS = ("in", "out")
_MISSING = object()

Value = tuple[float | int | None, Quality]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One message as the broker delivered it."""

    topic: str
    payload: bytes
    received_at_ms: int
    is_retained: bool = False


@dataclass(slots=True, kw_only=True)
class Reading:
    """What one message says."""

    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    state: DeviceState | None = None
    sequence: str | None = None  # The device's own number of this message: a repeat is a duplicate.
    attributes: dict[str, str] = field(default_factory=dict)  # Texts, for the catalogue.
    problems: list[str] = field(default_factory=list)  # Names of counters.
    wants_rebirth: bool = False  # A Sparkplug node must announce itself before it can be understood.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PointReader:
    point: MqttPoint
    pointer: JSONPointer | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _EventReader:
    rule: EventRule
    fields: Mapping[str, JSONPointer]
    where: Sequence[tuple[JSONPointer, tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """One topic of one device: compile with `routes_of`, then `read` its messages."""

    device: str
    topic: str
    qos: int
    message: Message | None  # None: the topic tells only whether the device is there.
    availability: Availability | None
    zone: ZoneInfo
    key: bytes
    points: Sequence[_PointReader] = ()
    events: Sequence[_EventReader] = ()
    time: JSONPointer | None = None
    sequence: JSONPointer | None = None
    state: JSONPointer | None = None

    def read(self, arrival: Arrival) -> Reading:
        """Return what the message says; never raises for anything a device can send."""
        try:
            if self.message is None:
                return self._availability(arrival)
            return self._message(self.message, arrival)
        except payloads.PayloadError as error:
            return Reading(problems=[error.code])

    def _availability(self, arrival: Arrival) -> Reading:
        """Read JSON or plain text, whichever this version of the device sends."""
        assert self.availability is not None
        text = payloads.parse_text(arrival.payload)
        if text[:1] in {"{", "["} and self.state is not None:
            text = payloads.text_of(_at(self.state, payloads.parse_json(arrival.payload)))
        word = text.casefold()
        if word in (known.casefold() for known in self.availability.online):
            return Reading(state=DeviceState.ONLINE)
        if word in (known.casefold() for known in self.availability.offline):
            return Reading(state=DeviceState.OFFLINE)
        return Reading(problems=["unknown_state"])

    def _message(self, message: Message, arrival: Arrival) -> Reading:
        if arrival.is_retained and message.retained == "ignore":
            return Reading(problems=["retained_ignored"])
        if not arrival.payload:
            return Reading(problems=["empty"])  # How a retained message is deleted.
        document: Any = payloads.parse_text(arrival.payload) if message.text else payloads.parse_json(arrival.payload)
        when = moment(message.time, self._time(document), arrival.received_at_ms, self.zone)
        reading = Reading(state=None if arrival.is_retained else DeviceState.ONLINE)
        if when.problem is not None:
            reading.problems.append(when.problem)
        if self.sequence is not None:
            number = _at(self.sequence, document)
            if isinstance(number, (str, int, Decimal)):
                reading.sequence = payloads.text_of(number)[:TEXT_LENGTH_MAX]
        self.read_points(document, when, arrival, reading)
        if not arrival.is_retained:  # A retained badge was shown long ago, and counted then.
            self._read_events(document, when, arrival, reading)
        return reading

    def _time(self, document: Any) -> Any:
        value = None if self.time is None else _at(self.time, document)
        return None if value is _MISSING else value

    def read_points(self, document: Any, when: Moment, arrival: Arrival, reading: Reading) -> None:
        """Add the values of a document to a reading."""
        is_old = arrival.is_retained and (self.time is None or when.problem is not None)
        found: dict[bool, list[tuple[str, Value]]] = {False: [], True: []}
        for reader in self.points:
            point = reader.point
            raw = document if reader.pointer is None else _at(reader.pointer, document)
            if point.is_text:
                if isinstance(raw, str) and not point.is_secret:
                    reading.attributes[point.name] = raw[:TEXT_LENGTH_MAX]
                continue
            if is_old and point.is_cumulative:
                continue  # An old counter with a new time would move consumption to another interval.
            value = _value(point, raw, reading.problems)
            if value is None:
                continue
            doubtful = when.problem is not None or (is_old and point.kind is PointKind.SENSOR)
            if doubtful and value[1] is Quality.GOOD:
                value = (value[0], Quality.UNCERTAIN)
            found[point.is_billing].append((point.name, value))
        for is_billing, values in found.items():
            if values:
                reading.frames.append(_frame(self.device, when.at_ms, values, is_billing=is_billing))

    def _read_events(self, document: Any, when: Moment, arrival: Arrival, reading: Reading) -> None:
        for reader in self.events:
            if not all(payloads.text_of(_at(pointer, document)) in words for pointer, words in reader.where):
                continue
            reading.events.append(
                Event(
                    kind=reader.rule.kind,
                    device=self.device,
                    at_ms=when.at_ms,
                    received_at_ms=arrival.received_at_ms,
                    data={**self._access(reader, document), "device_at_ms": when.device_at_ms},
                )
            )

    def _access(self, reader: _EventReader, document: Any) -> dict[str, Any]:
        """Return the canonical door event; what is not known to be granted is never granted."""
        said: dict[str, str] = dict(reader.rule.constants)
        for name, pointer in reader.fields.items():
            value = _at(pointer, document)
            if value is _MISSING or value is None or isinstance(value, (dict, list)):
                continue
            text = payloads.text_of(value)
            words = reader.rule.values.get(name)
            said[name] = text if words is None else words.get(text, "unknown")
        sequence = said.get("sequence", "")
        return {
            "door": said.get("door", self.device)[:TEXT_LENGTH_MAX],
            "direction": said.get("direction") if said.get("direction") in DIRECTIONS else "unknown",
            "result": said.get("result") if said.get("result") in RESULTS else "unknown",
            "method": said.get("method", "unknown")[:TEXT_LENGTH_MAX],
            "credential": hash_credential(said.get("credential", ""), self.key),
            "sequence": int(sequence) if sequence.isdecimal() and len(sequence) < 19 else None,
        }


def routes_of(
    device: str,
    profile: MqttProfile,
    parameters: Mapping[str, object],
    *,
    zone: ZoneInfo,
    key: bytes,
    disabled: frozenset[str] = frozenset(),
) -> list[Route]:
    """Compile the topics of one device. Raises TopicError when a parameter of a topic is missing."""
    routes = [
        Route(
            device=device,
            topic=fill(message.topic, parameters),
            qos=message.qos,
            message=message,
            availability=None,
            zone=zone,
            key=key,
            points=[
                _PointReader(point=point, pointer=None if message.text else _pointer(point.path))
                for point in message.points
                if point.name not in disabled
            ],
            events=[_event_reader(rule) for rule in message.events],
            time=_pointer(message.time.path) if message.time else None,
            sequence=_pointer(message.sequence) if message.sequence else None,
        )
        for message in profile.messages
    ]
    if profile.availability is not None:
        availability = profile.availability
        routes.append(
            Route(
                device=device,
                topic=fill(availability.topic, parameters),
                qos=1,
                message=None,
                availability=availability,
                zone=zone,
                key=key,
                state=_pointer(availability.path),
            )
        )
    return routes


def _event_reader(rule: EventRule) -> _EventReader:
    return _EventReader(
        rule=rule,
        fields={name: _pointer(path) for name, path in rule.fields.items() if not isinstance(path, str)},
        where=[(_pointer(path), words) for path, words in rule.where.items()],
    )


def _pointer(path: Sequence[str | int]) -> JSONPointer:
    return JSONPointer.from_parts(path, unicode_escape=False)


def _at(pointer: JSONPointer, document: Any) -> Any:
    return pointer.resolve(document, default=_MISSING) if isinstance(document, (dict, list)) else _MISSING


def _frame(device: str, at_ms: int, values: list[tuple[str, Value]], *, is_billing: bool) -> Frame:
    return Frame(
        device=device,
        observed_at_ms=at_ms,
        points=tuple(name for name, _ in values),
        values=tuple(value for _, (value, _) in values),
        qualities=tuple(quality for _, (_, quality) in values),
        is_billing=is_billing,
    )


def _value(point: MqttPoint, raw: Any, problems: list[str]) -> Value | None:
    """Return value and quality; None when the message says nothing about the point."""
    if raw is _MISSING:
        return {"unchanged": None, "zero": (0, Quality.GOOD)}.get(point.missing, (None, Quality.INVALID))
    if raw is None:
        return None if point.is_optional else (None, Quality.INVALID)
    if payloads.text_of(raw) in point.sentinels:
        return (None, Quality.INVALID)
    value = _coded(point, raw) if point.codes else _measured(point, raw)
    if value is None:
        problems.append("unknown_state" if point.codes else "value_unreadable")
        return (None, Quality.INVALID)
    return value


def _coded(point: MqttPoint, raw: Any) -> Value | None:
    code = point.codes.get(payloads.text_of(raw))
    return None if code is None else (code, Quality.GOOD)


def _number(raw: Any) -> Decimal | int | None:
    if isinstance(raw, bool):
        return int(raw)
    if isinstance(raw, (int, Decimal)):
        return raw if abs(raw) < 10**payloads.EXPONENT_MAX else None
    if isinstance(raw, str) and len(raw) < 40:
        try:
            number = Decimal(raw)
        except InvalidOperation:
            return None
        return number if number.is_finite() and abs(number.adjusted()) <= payloads.EXPONENT_MAX else None
    return None


def _measured(point: MqttPoint, raw: Any) -> Value | None:
    number = _number(raw)
    if number is None:
        return None
    exact = Fraction(number) * point.multiplier + point.offset
    quality = Quality.GOOD
    if (point.low is not None and exact < point.low) or (point.high is not None and exact > point.high):
        quality = Quality.UNCERTAIN
    if point.scale is None:
        return (int(exact) if point.states else float(exact), quality)
    mantissa = round(exact * 10**point.scale)
    return (mantissa, quality) if abs(mantissa) <= INTEGER_MAX else None
