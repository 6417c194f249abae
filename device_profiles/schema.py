"""What a profile file may say: the pydantic models behind `profile.schema.json`."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from device_profiles.model import DataType, Function, Order
from device_profiles.vocabulary import PointKind

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=60)]
Address = Annotated[int, Field(ge=0, le=65535)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


def _ratio(value: Any) -> Fraction:
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError("must be a number such as 0.01 or a ratio such as 1/128") from error


Ratio = Annotated[
    Fraction,
    BeforeValidator(_ratio),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?\d+/\d+$"}]}),
]


def _sentinel(value: Any) -> str:
    text = f"{value:X}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    text = text.replace(" ", "").removeprefix("0x").upper()
    if not re.fullmatch(r"(?:[0-9A-F]{4})+", text):
        raise ValueError("must be whole words in hexadecimal between quotes, such as 'FFC0 0000'")
    return text


Sentinel = Annotated[str, BeforeValidator(_sentinel)]

_STEP = re.compile(r"\.([A-Za-z_][\w]*)|\[(\d+)\]|\['([^']*)'\]")


def parse_path(text: str) -> tuple[str | int, ...]:
    """Return a JSONPath that names exactly one value (`$.a['em:0'][2]`), as its steps; raises ValueError for others."""
    if not text.startswith("$"):
        raise ValueError("a path starts with $")
    steps: list[str | int] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"cannot read the path from “{text[position:]}”; use .key, ['any key'] or [0]")
        name, index, quoted = match.groups()
        steps.append(int(index) if index is not None else name if name is not None else quoted)
        position = match.end()
    return tuple(steps)


def _checked_path(text: str) -> str:
    parse_path(text)
    return text


Path = Annotated[str, AfterValidator(_checked_path), Field(max_length=200)]


def _checked_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


Regex = Annotated[str, AfterValidator(_checked_regex), Field(max_length=200)]


def _checked_zone(text: str) -> str:
    if text != "site" and text not in available_timezones():
        raise ValueError("is not a time zone; write `site` or an IANA name such as Asia/Shanghai")
    return text


Zone = Annotated[str, AfterValidator(_checked_zone)]


class Strict(BaseModel):
    """A section of a file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelFile(Strict):
    """A text in both languages."""

    en: Text
    zh: Text


class ProductFile(Strict):
    """What is printed on the device."""

    brand: Text
    model: Text


class WriteFile(Strict):
    """Guard rails of a point that may be set; numbers are in the point's unit, states are words."""

    range: tuple[Ratio, Ratio] | None = None
    step: Ratio | None = None
    address: Address | None = Field(None, description="Where to write, when it is not the address that is read.")
    function: Literal[Function.COIL, Function.HOLDING] | None = None
    read_back: Name | None = Field(None, description="Point that shows the new value; by default the point itself.")
    min_on_s: int = Field(default=0, ge=0)
    min_off_s: int = Field(default=0, ge=0)
    min_interval_s: int = Field(default=5, ge=1)
    release_after_s: int | None = Field(None, ge=1)
    release_value: Ratio | None = None


class PointFile(Strict):
    """What every point may say, whatever carries it."""

    name: Name
    quantity: Name | None = Field(None, description="By default the beginning of the name: active_power_l1.")
    kind: PointKind | None = None
    label: LabelFile | None = None
    brick: str | None = None
    device_unit: str | None = Field(None, description="The unit of raw × scale when it is not the quantity's.")
    scale: Ratio = Field(Fraction(1), description="value = raw × scale + offset, exact.")
    offset: Ratio = Fraction(0)
    exact: bool | None = Field(None, description="By default true for counters that bills are made from.")
    decimals: int | None = Field(None, ge=0, le=12, description="Decimals of an exact value.")
    range: tuple[Decimal, Decimal] | None = Field(None, description="Plausible values; outside is uncertain.")
    rate: Literal["fast", "normal", "slow", "setup"] | None = None
    optional: bool = False


class ModbusPointFile(PointFile):
    """A point in a register map."""

    address: Address = Field(description="Zero-based, as on the wire.")
    doc_address: str | int | None = Field(None, description="What the maker's document prints, when it differs.")
    type: DataType
    count: int | None = Field(None, ge=1, le=125, description="Registers, for strings and mantissa_exponent.")
    function: Function | None = None
    also: Function | None = None
    word_order: Order | None = None
    byte_order: Order | None = None
    sentinels: list[Sentinel] | None = Field(None, description="Words as they arrive that mean no value.")
    bit: int | None = Field(None, ge=0, le=63)
    mask: int | None = Field(None, ge=1)
    shift: int | None = Field(None, ge=0, le=63)
    states: dict[int, str] | None = Field(None, description="Raw number → word.")
    multiply_by: list[Name] = []
    exponent: Name | None = None
    unit_code: Name | None = None
    overlaps: bool = False
    transform: Literal["quadrant_power_factor"] | None = Field(None, description="|x| > 1 is leading: |PF| = 2 - |x|.")
    write: WriteFile | None = None


class BlockFile(Strict):
    """Points that repeat: the n-th copy stands at address + n × stride."""

    name: Name
    count: int = Field(ge=1, le=256, description="Copies that the device can have.")
    default: int = Field(default=1, ge=0, description="Copies that are read when the site file does not list them.")
    first: int = Field(default=0, ge=0, description="Number of the first copy in names.")
    stride: int | dict[Function, int]
    points: list[ModbusPointFile] = Field(min_length=1)


class LimitsFile(Strict):
    """What the device's Modbus stack can take."""

    registers_per_read: int = Field(default=125, ge=1, le=125)
    bits_per_read: int = Field(default=2000, ge=1, le=2000)
    gap_max: int = Field(default=16, ge=0, le=124)
    pause_ms: int = Field(default=0, ge=0, le=10_000)
    pause_after_connect_ms: int = Field(default=0, ge=0, le=60_000)
    timeout_ms: int = Field(default=1000, ge=10, le=60_000)
    single_point: bool = False
    words_per_address: Literal[1, 2] = Field(default=1, description="2 where one address holds a value of 32 bits.")
    holes: list[tuple[Function, Address, Address]] = []


class SerialFile(Strict):
    """Factory settings of the serial port."""

    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1


class IdentityFile(Strict):
    """What a point must say before data are trusted."""

    point: Name
    matches: Regex | None = None
    one_of: list[int] = []


EventField = Literal["sequence", "door", "direction", "result", "credential", "method"]


class ModbusEventFile(Strict):
    """How points become an event."""

    kind: Literal["door.access"]
    sequence: Name
    fields: dict[EventField, Name] = {}
    constants: dict[EventField, str] = {}
    clear: ModbusPointFile | None = None


class HeadFile(Strict):
    """What all profiles say first."""

    profile: Name
    category: Literal["meter", "heat", "water", "hvac", "sensor", "counter", "access", "gateway"]
    label: LabelFile
    products: list[ProductFile] = Field(min_length=1)
    source: Text
    confidence: Literal["documented", "captured", "certified"]
    notes: str = ""
    rates: dict[Literal["fast", "normal", "slow", "setup"], int] = {}


class ModbusDefaults(Strict):
    """What points do not repeat."""

    function: Function = Function.HOLDING
    also: Function | None = None
    word_order: Order = Order.BIG
    byte_order: Order = Order.BIG
    sentinels: dict[DataType, list[Sentinel]] = Field(
        default={}, description="Per type, for every point without its own."
    )


class ModbusFile(HeadFile):
    """A register map."""

    kind: Literal["modbus"]
    extends: Name | None = Field(None, description="A profile this one differs from in a few points.")
    omit: list[Name] = Field([], description="Points of the extended profile that this variant lacks.")
    defaults: ModbusDefaults = Field(default_factory=ModbusDefaults)
    limits: LimitsFile = Field(default_factory=LimitsFile)
    serial: SerialFile = Field(default_factory=SerialFile)
    identity: list[IdentityFile] = []
    points: list[ModbusPointFile] = []
    blocks: list[BlockFile] = []
    events: list[ModbusEventFile] = []


class MqttPointFile(PointFile):
    """A point in a payload."""

    path: Path | None = Field(None, description="Where the value stands; absent for a text payload.")
    states: dict[str, str] | None = Field(None, description="Text in the payload → word.")
    sentinels: list[str | int] = []
    missing: Literal["unchanged", "zero", "invalid"] = "unchanged"


class TimeFile(Strict):
    """Where the payload says when it was measured."""

    path: Path
    format: str = Field("iso8601", description="s, ms, iso8601 or a strptime pattern.")
    zone: Zone | None = Field(None, description="IANA name, or `site`, when the text has no zone.")


class MqttEventFile(Strict):
    """How a payload becomes an event."""

    kind: Literal["door.access"]
    where: dict[Path, list[str | int]] = {}
    fields: dict[EventField, Path]
    values: dict[EventField, dict[str, str]] = {}
    constants: dict[EventField, str] = {}


class MessageFile(Strict):
    """One topic of the device."""

    topic: Annotated[str, Field(min_length=1, max_length=500)]
    payload: Literal["json", "text"] = "json"
    qos: Literal[0, 1, 2] = 1
    retained: Literal["use", "ignore"] = "use"
    time: TimeFile | None = None
    sequence: Path | None = None
    points: list[MqttPointFile] = []
    events: list[MqttEventFile] = []
    example: str = Field(min_length=1, description="A payload as the device sends it.")


class AvailabilityFile(Strict):
    """Where the device says whether it is there."""

    topic: str
    path: Path = "$"
    online: list[str] = ["online"]
    offline: list[str] = ["offline"]


class MqttFile(HeadFile):
    """A set of topics and payload shapes."""

    kind: Literal["mqtt"]
    messages: list[MessageFile] = Field(min_length=1)
    availability: AvailabilityFile | None = None


ProfileFile = Annotated[ModbusFile | MqttFile, Field(discriminator="kind")]
