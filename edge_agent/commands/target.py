"""Which device a technician means: options of `read`, `scan` and `write`, or a device of a site file."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from device_profiles.wording import say
from edge_agent.commissioned import Commissioned
from edge_agent.settings import Bus, ModbusDevice, RtuBus

Tcp = Annotated[str | None, typer.Option("--tcp", metavar="HOST[:PORT]", help="Modbus TCP.")]
RtuOverTcp = Annotated[str | None, typer.Option("--rtu-over-tcp", metavar="HOST:PORT", help="Serial server.")]
Serial = Annotated[str | None, typer.Option("--serial", metavar="DEVICE", help="Serial line, such as /dev/ttyUSB0.")]
Baud = Annotated[int, typer.Option(help="Of the serial line.")]
Parity = Annotated[str, typer.Option(help="none, even or odd.")]
StopBits = Annotated[int, typer.Option(help="1 or 2.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.")]
SiteFile = Annotated[Path | None, typer.Option("--site", help="Take bus and profile from this site file.")]

_BUS: TypeAdapter[Bus] = TypeAdapter(Bus)


def bus_of(
    tcp: str | None,
    rtu_over_tcp: str | None,
    serial: str | None,
    *,
    baud: int,
    parity: str,
    stop_bits: int,
    timeout: float,
    device: dict[str, Any],
    tongue: str = "en",
) -> Bus:
    """Build the bus that the options describe; exits with a message when they describe none."""
    given = [(kind, text) for kind, text in (("tcp", tcp), ("rtu_over_tcp", rtu_over_tcp), ("rtu", serial)) if text]
    if len(given) != 1:
        text = "say where: one of --tcp HOST[:PORT], --rtu-over-tcp HOST:PORT, --serial DEVICE"
        raise typer.BadParameter(say(text, tongue))
    kind, text = given[0]
    data: dict[str, Any] = {"name": "bus", "transport": kind, "response_timeout_s": timeout, "devices": [device]}
    if kind == "rtu":
        data |= {"serial": text, "baud": baud, "parity": parity, "stop_bits": stop_bits}
    else:
        match = re.fullmatch(r"\[?([^\]]+?)\]?(?::(\d+))?", text)
        if match is None:
            raise typer.BadParameter(say(f"{text}: write HOST or HOST:PORT", tongue))
        data["host"] = match[1]
        if match[2]:
            data["port"] = int(match[2])
        if kind == "rtu_over_tcp":
            data["baud"] = baud
    try:
        return _BUS.validate_python(data)
    except ValidationError as error:
        found = error.errors()[0]
        text = say(f"{found['msg']} (found {found['input']})", tongue)
        raise typer.BadParameter(f"{found['loc'][-1]}: {text}") from error


def device_of(commissioned: Commissioned, name: str, tongue: str) -> tuple[Bus, ModbusDevice, Any]:
    """Return bus, device and profile of a device of a site file; exits with a message when it is not there."""
    for bus, device in commissioned.site.modbus_devices():
        if device.name == name:
            return bus, device, commissioned.profiles[name]
    names = [device.name for _, device in commissioned.site.modbus_devices()]
    near = get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"Modbus devices there: {', '.join(names[:20])}"
    raise typer.BadParameter(say(f"{commissioned.site.gateway} has no Modbus device “{name}”; {hint}", tongue))


def endpoint_of(bus: Bus, unit: int) -> str:
    """Address a device the way the catalogue does."""
    text = f"{bus.endpoint}/{unit}"
    return f"{text} ({bus.baud} {bus.parity} {bus.stop_bits})" if isinstance(bus, RtuBus) else text
