"""`edge-agent scan`: who answers on a bus, and which profiles fit."""

import asyncio
import json
from typing import Annotated

import typer

from device_profiles.wording import say
from edge_agent.commands.language import DEFAULT, Language, language
from edge_agent.commands.target import Baud, Parity, RtuOverTcp, Serial, StopBits, Tcp, Timeout, bus_of
from edge_agent.commissioning.probe import open_line
from edge_agent.commissioning.scan import Found, modbus_profiles
from edge_agent.commissioning.scan import scan as scan_bus
from edge_agent.drivers.modbus.errors import LinkDown
from edge_agent.settings import Bus

WORDS = {
    "en": {"nobody": "Nobody answered.", "unit": "unit", "unknown": "answers, but no profile fits", "asking": "asking"},
    "zh": {"nobody": "没有设备应答。", "unit": "站号", "unknown": "有应答，但没有匹配的模板", "asking": "正在询问"},
}


def scan(
    tcp: Tcp = None,
    rtu_over_tcp: RtuOverTcp = None,
    serial: Serial = None,
    units: Annotated[str, typer.Option(help="Unit ids, such as 1-32,100,247.")] = "1-32",
    baud: Baud = 9600,
    parity: Parity = "none",
    stop_bits: StopBits = 1,
    timeout: Timeout = 0.3,
    lang: Language = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per unit found.")] = False,
) -> None:
    """Ask every unit id of a bus, and rank the profiles that would explain its answers."""
    tongue = language(lang)
    words = WORDS[tongue]
    wanted = parse_units(units, tongue)
    device = {"name": "scan", "profile": "scan", "unit": wanted[0]}
    options = {"baud": baud, "parity": parity, "stop_bits": stop_bits, "timeout": timeout}
    bus = bus_of(tcp, rtu_over_tcp, serial, device=device, tongue=tongue, **options)
    try:
        found = asyncio.run(_scan(bus, wanted, words, as_json=as_json))
    except LinkDown as error:
        typer.echo(say(str(error), tongue), err=True)
        raise typer.Exit(2) from error
    if not found and not as_json:
        typer.echo(words["nobody"])
    raise typer.Exit(0 if found else 3)


async def _scan(bus: Bus, units: list[int], words: dict[str, str], *, as_json: bool) -> int:
    count = 0
    async with open_line(bus) as line:
        async for unit, found in scan_bus(line, units, modbus_profiles(), timeout_s=bus.response_timeout_s):
            if found is None:
                typer.echo(f"\r{words['asking']} {unit} ", nl=False, err=True)
                continue
            count += 1
            typer.echo(_json(found) if as_json else _text(found, words))
    typer.echo("\r" + " " * 24 + "\r", nl=False, err=True)
    return count


def parse_units(text: str, tongue: str = "en") -> list[int]:
    """`"1-3,7"` → [1, 2, 3, 7]; exits with a message for anything else."""
    units: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            units += range(int(first), int(last or first) + 1)
        except ValueError as error:
            told = say(f"--units {text}: write numbers and ranges such as 1-32,100", tongue)
            raise typer.BadParameter(told) from error
    if not units or min(units) < 0 or max(units) > 255:
        raise typer.BadParameter(say(f"--units {text}: unit ids are 0 to 255", tongue))
    return units


def _text(found: Found, words: dict[str, str]) -> str:
    fits = ", ".join(f"{fit.label} {fit.score:.2f}" for fit in found.fits if fit.score > 0)
    return f"\r{words['unit']} {found.unit:3}  {fits or words['unknown']}"


def _json(found: Found) -> str:
    fits = [{"profile": fit.label, "score": round(fit.score, 3)} for fit in found.fits]
    return json.dumps({"unit": found.unit, "profiles": fits})
