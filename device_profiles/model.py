"""What a loaded profile is: frozen values that the agent decodes with and the simulator encodes with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from device_profiles.vocabulary import PointKind


class Function(StrEnum):
    """The four tables of a Modbus device."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def read_code(self) -> int:
        """The function code that reads this table: 1, 2, 3 or 4."""
        return {"coil": 1, "discrete": 2, "holding": 3, "input": 4}[self.value]

    @property
    def is_bits(self) -> bool:
        """Whether an address of this table is one bit."""
        return self in (Function.COIL, Function.DISCRETE)


class DataType(StrEnum):
    """How the words of one value are read."""

    BOOL = "bool"
    UINT8_HIGH = "uint8_high"
    UINT8_LOW = "uint8_low"
    INT8_HIGH = "int8_high"
    INT8_LOW = "int8_low"
    UINT16 = "uint16"
    INT16 = "int16"
    UINT32 = "uint32"
    INT32 = "int32"
    UINT64 = "uint64"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    SIGN_MAGNITUDE16 = "sign_magnitude16"  # Highest bit is the sign, the others the magnitude.
    SIGN_MAGNITUDE32 = "sign_magnitude32"
    BCD16 = "bcd16"  # Four bits per decimal digit.
    BCD32 = "bcd32"
    BCD64 = "bcd64"
    STRING = "string"  # Two characters per register, high byte first.
    STRING_LOW = "string_low"  # One character per register, in the low byte.
    HEX = "hex"  # The registers as hexadecimal digits without leading zeros: card and serial numbers.
    MBUS_UNIT = "mbus_unit"  # An M-Bus value information field: what one count is worth.
    MANTISSA_EXPONENT = "mantissa_exponent"  # Integer of 1, 2 or 4 registers, then an int16 power of ten.
    INTEGER_FRACTION = "integer_fraction"  # int32, then a float32 fraction.
    CLOCK = "clock"  # Year (two or four digits), month, day, hour, minute, second: one register each.

    @property
    def is_text(self) -> bool:
        """Whether a value is a string."""
        return self in (DataType.STRING, DataType.STRING_LOW, DataType.HEX)

    @property
    def is_float(self) -> bool:
        """Whether the raw value is an IEEE number."""
        return self in (DataType.FLOAT16, DataType.FLOAT32, DataType.FLOAT64, DataType.INTEGER_FRACTION)

    @property
    def word_count(self) -> int | None:
        """Registers of one value; None where the point must say it."""
        return WORD_COUNTS.get(self)


WORD_COUNTS: Mapping[DataType, int] = {
    **dict.fromkeys(
        (
            DataType.BOOL,
            DataType.UINT8_HIGH,
            DataType.UINT8_LOW,
            DataType.INT8_HIGH,
            DataType.INT8_LOW,
            DataType.UINT16,
            DataType.INT16,
            DataType.FLOAT16,
            DataType.SIGN_MAGNITUDE16,
            DataType.BCD16,
            DataType.MBUS_UNIT,
        ),
        1,
    ),
    **dict.fromkeys((DataType.UINT32, DataType.INT32, DataType.FLOAT32, DataType.SIGN_MAGNITUDE32, DataType.BCD32), 2),
    **dict.fromkeys((DataType.UINT64, DataType.INT64, DataType.FLOAT64, DataType.BCD64, DataType.INTEGER_FRACTION), 4),
    DataType.CLOCK: 6,
}


class Order(StrEnum):
    """Most significant first (`big`) or last (`little`)."""

    BIG = "big"
    LITTLE = "little"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """The guard rails of a point that may be set; limits are in the point's unit."""

    low: Fraction
    high: Fraction
    step: Fraction | None = None
    function: Function
    address: int
    read_back: str  # Name of the point that must show the new value.
    min_on_s: int = 0  # An equipment that was switched on stays on at least this long.
    min_off_s: int = 0
    min_interval_s: int = 5  # At most one write in this time.
    release_after_s: int | None = None  # Set back by itself when nobody renews it.
    release_value: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """A named signal of a device.

    `scale` is the number of decimals of an exact value (value = mantissa × 10^-scale) and None for all others.
    value = raw × multiplier + offset, in `unit`.
    """

    name: str
    quantity: str
    unit: str
    brick: str
    kind: PointKind
    label_en: str
    label_zh: str
    rate: str
    is_cumulative: bool
    exact: bool
    scale: int | None
    multiplier: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    low: float | None = None
    high: float | None = None
    states: Mapping[int, str] = field(default_factory=dict)  # Published code → word.
    is_optional: bool = False  # Some devices of this model lack it: mark it unsupported, keep the rest.
    write: Write | None = None

    @property
    def is_billing(self) -> bool:
        """Whether bills are made from it: such a point is exact and leaves the outbox last."""
        return self.exact and self.is_cumulative

    @property
    def is_text(self) -> bool:
        """Whether its value is a string: it goes into the catalogue, not into a frame."""
        return self.kind is PointKind.ATTRIBUTE

    @property
    def is_secret(self) -> bool:
        """Whether its value says who a person is: it leaves the agent only as a keyed hash, inside an event."""
        return self.quantity == "credential"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModbusPoint(Point):
    """A point in a Modbus table. `address` is zero-based, as on the wire; `count` is in registers (or bits).

    Where each address of a device is wider than a register, `address` counts registers: wire address × width.
    """

    function: Function
    address: int
    count: int
    type: DataType
    doc_address: str | None = None  # What the maker's document prints.
    also: Function | None = None  # Another table that holds the same value.
    word_order: Order = Order.BIG
    byte_order: Order = Order.BIG
    sentinels: tuple[tuple[int, ...], ...] = ()  # Words as they arrive that mean "no value".
    mask: int | None = None
    shift: int = 0
    codes: Mapping[int, int] = field(default_factory=dict)  # Raw number → published code.
    multiply_by: tuple[str, ...] = ()  # Points whose values multiply this one: CT and PT ratio.
    exponent: str | None = None  # Point that holds a power of ten for this one.
    unit_code: str | None = None  # Point of type mbus_unit for this one.
    overlaps: bool = False  # Shares registers with another point on purpose.
    transform: str | None = None  # quadrant_power_factor: |x| > 1 says leading, and |PF| = 2 - |x|.
    words_per_address: int = 1

    @property
    def wire_address(self) -> int:
        """The address that a request names, zero-based."""
        return self.address // self.words_per_address

    @property
    def end(self) -> int:
        """The first address after the value."""
        return self.address + self.count

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Points that must be known before this one can be decoded."""
        return self.multiply_by + tuple(name for name in (self.exponent, self.unit_code) if name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MqttPoint(Point):
    """A point in a payload: `path` leads to it from the root of the JSON document; empty for a text payload."""

    message: int  # Index into `MqttProfile.messages`.
    path: tuple[str | int, ...]
    codes: Mapping[str, int] = field(default_factory=dict)  # Text in the payload → published code.
    sentinels: tuple[str, ...] = ()  # JSON texts that mean "no value".
    missing: str = "unchanged"  # What an absent key means: unchanged | zero | invalid.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the device's Modbus stack can take."""

    registers_per_read: int = 125
    bits_per_read: int = 2000
    gap_max: int = 16  # Unused registers a read may bridge.
    pause_ms: int = 0  # Silence between an answer and the next request.
    pause_after_connect_ms: int = 0
    timeout_ms: int = 1000
    single_point: bool = False  # One point per request.
    words_per_address: int = 1  # 2 where one address holds 32 bits, and a read of n addresses brings 4n bytes.
    holes: tuple[tuple[Function, int, int], ...] = ()  # (function, first, last): never read across.


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """Factory settings of the serial port."""

    baud: int = 9600
    parity: str = "none"
    stop_bits: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a point must say before the data of a device are trusted."""

    point: str
    matches: str | None = None  # A regular expression for the whole text.
    one_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """How points (Modbus) or paths (MQTT) become one event."""

    kind: str
    fields: Mapping[str, str | tuple[str | int, ...]]
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # field → payload text → canonical word.
    constants: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[tuple[str | int, ...], tuple[str, ...]] = field(default_factory=dict)
    sequence: str | None = None  # Field or point that counts events: a jump of more than one is a loss.
    clear: ModbusPoint | None = None  # To be written with 0 after the event was taken.


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadTime:
    """Where a payload says when it was measured."""

    path: tuple[str | int, ...]
    format: str  # s | ms | iso8601 | a strptime pattern.
    zone: str | None = None  # IANA name, when the text has none; "site" for the site's zone.


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One topic of a device. `topic` may hold `{base}` and other parameters of the site file."""

    topic: str
    text: bool = False  # The payload is one plain text, not JSON.
    qos: int = 1
    retained: str = "use"  # A retained message at subscribe time: use | ignore.
    time: PayloadTime | None = None
    sequence: tuple[str | int, ...] | None = None  # Repeats of the same number are duplicates.
    points: tuple[MqttPoint, ...] = ()
    events: tuple[EventRule, ...] = ()
    example: str = ""  # A payload of the device; the simulator fills it with its own values.


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The topic on which the device (or its broker, by last will) says whether it is there."""

    topic: str
    path: tuple[str | int, ...] = ()
    online: tuple[str, ...] = ("online",)
    offline: tuple[str, ...] = ("offline",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseProfile:
    """What all profiles have. `revision` changes with every change of the decoded content."""

    name: str
    revision: str
    category: str
    label_en: str
    label_zh: str
    products: tuple[str, ...]
    source: str
    confidence: str
    notes: str
    rates: Mapping[str, int]  # Rate group → suggested seconds between readings.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModbusProfile(BaseProfile):
    """A register map."""

    points: tuple[ModbusPoint, ...]
    limits: Limits = Limits()
    serial: Serial = Serial()
    identity: tuple[Identity, ...] = ()
    events: tuple[EventRule, ...] = ()
    kind: str = "modbus"

    def point(self, name: str) -> ModbusPoint:
        """Return the point called `name`; raises KeyError."""
        return next_named(self.points, name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MqttProfile(BaseProfile):
    """A set of topics and payload shapes."""

    messages: tuple[Message, ...]
    availability: Availability | None = None
    parameters: tuple[str, ...] = ()  # Names in braces in the topics, to be given by the site file.
    kind: str = "mqtt"

    @property
    def points(self) -> tuple[MqttPoint, ...]:
        """The points of all messages."""
        return tuple(point for message in self.messages for point in message.points)

    def point(self, name: str) -> MqttPoint:
        """Return the point called `name`; raises KeyError."""
        return next_named(self.points, name)


Profile = ModbusProfile | MqttProfile
P = TypeVar("P", bound=Point)


def next_named(points: tuple[P, ...], name: str) -> P:
    """Return the first point called `name`; raises KeyError."""
    for point in points:
        if point.name == name:
            return point
    raise KeyError(name)
