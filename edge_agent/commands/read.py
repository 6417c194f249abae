"""`edge-agent read`: every point of one device, with raw words and a verdict."""

import asyncio
import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from device_profiles.catalog import load_modbus
from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile
from device_profiles.wording import say
from edge_agent.commands.language import DEFAULT, Language, Tongue, language
from edge_agent.commands.problems import show_problems
from edge_agent.commands.target import (
    Baud,
    Parity,
    RtuOverTcp,
    Serial,
    SiteFile,
    StopBits,
    Tcp,
    Timeout,
    bus_of,
    device_of,
    endpoint_of,
)
from edge_agent.commissioned import load_commissioned
from edge_agent.commissioning.probe import Probe, open_line, probe_device
from edge_agent.commissioning.record import keep_record, record_of
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.model import Quality
from edge_agent.settings import AgentSettings, Bus, ModbusDevice

WORDS = {
    "en": {
        "score": "score", "requests": "requests", "not_served": "The device does not serve",
        "better": "These orders would make more sense (site file: word_order, byte_order)",
        "kept": "Record kept in", "no_answer": "No answer from",
        "help": "check unit id, wiring (A/B), baud and parity; `edge-agent scan` finds who is there",
    },
    "zh": {
        "score": "得分", "requests": "次请求", "not_served": "设备不支持的点",
        "better": "以下字序更合理（写入站点文件 word_order、byte_order）",
        "kept": "调试记录已保存到", "no_answer": "无应答：",
        "help": "请检查站号、接线（A/B）、波特率与校验位；可用 edge-agent scan 查找设备",
    },
}  # fmt: skip


QUALITIES = {"en": {}, "zh": {Quality.GOOD: "良好", Quality.UNCERTAIN: "存疑", Quality.INVALID: "无效"}}


def read(
    name: Annotated[str | None, typer.Argument(help="A device of the site file given with --site.")] = None,
    site: SiteFile = None,
    profile: Annotated[str | None, typer.Option(help="Profile to read with.")] = None,
    extra: Annotated[Path | None, typer.Option("--profiles", help="File or folder with profiles of one's own.")] = None,
    unit: Annotated[int, typer.Option(min=0, max=255, help="Unit id.")] = 1,
    tcp: Tcp = None,
    rtu_over_tcp: RtuOverTcp = None,
    serial: Serial = None,
    baud: Baud = 9600,
    parity: Parity = "none",
    stop_bits: StopBits = 1,
    timeout: Timeout = 1.0,
    lang: Language = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Keep a commissioning record in EDGE_DATA_DIR.")] = False,
    note: Annotated[str, typer.Option(help="Goes into the record: display reading, place, remarks.")] = "",
) -> None:
    """Read every point of one device and say whether the values make sense together."""
    tongue = language(lang)
    words = WORDS[tongue]
    try:
        if site is not None and name is not None:
            bus, device, loaded = device_of(load_commissioned(site), name, tongue)
        elif profile is None:
            raise typer.BadParameter(say("give a device of a site file (NAME --site FILE), or --profile", tongue))
        else:
            entry = {"name": name or f"unit-{unit}", "profile": profile, "unit": unit}
            options = {"baud": baud, "parity": parity, "stop_bits": stop_bits, "timeout": timeout}
            bus = bus_of(tcp, rtu_over_tcp, serial, device=entry, tongue=tongue, **options)
            device, loaded = bus.devices[0], load_modbus(profile, extra=extra)
    except ProfileError as error:
        show_problems(error, tongue)
        raise typer.Exit(1) from error
    try:
        probe = asyncio.run(_probe(bus, device, loaded))
    except ModbusError as error:
        typer.echo(
            f"{words['no_answer']} {endpoint_of(bus, device.unit)}: {say(str(error), tongue)}\n{words['help']}",
            err=True,
        )
        raise typer.Exit(2) from error
    data = record_of(
        probe, address=endpoint_of(bus, device.unit), by=getpass.getuser(), at=datetime.now(UTC), note=note
    )
    typer.echo(json.dumps(data, ensure_ascii=False, indent=1) if as_json else _table(probe, tongue))
    if record:
        path = keep_record(AgentSettings().data_dir / "commissioning", data)
        typer.echo(f"{words['kept']} {path}", err=as_json)
    raise typer.Exit(0 if all(verdict.passed for verdict in probe.fit.verdicts) else 3)


async def _probe(bus: Bus, device: ModbusDevice, profile: ModbusProfile) -> Probe:
    async with open_line(bus) as line:
        return await probe_device(line, device, profile)


def _table(probe: Probe, tongue: Tongue) -> str:
    words = WORDS[tongue]
    profile = probe.profile
    label = profile.label_zh if tongue == "zh" else profile.label_en
    asked = f"{probe.requests} {words['requests']}, {probe.seconds:.2f} s"
    score = f"{words['score']} {probe.fit.score:.2f}"
    lines = [f"{profile.name} — {label} ({profile.confidence})   {asked}   {score}"]
    for reading in probe.fit.readings:
        point = reading.point
        raw = " ".join(f"{int(word):04X}" for word in reading.words[:4]) + (" …" if len(reading.words) > 4 else "")
        shown = reading.value if isinstance(reading.value, str) else reading.number
        text = "—" if shown is None else shown if isinstance(shown, str) else f"{shown:.10g}"
        if isinstance(reading.value, int) and reading.value in point.states:
            text += f" ({say(point.states[reading.value], tongue)})"
        named = point.label_zh if tongue == "zh" else point.label_en
        lines.append(
            f"  {point.function.value:8} {point.wire_address:5}  {raw:22} {point.name:36} {text:>16} {point.unit:6} "
            f"{QUALITIES[tongue].get(reading.quality, reading.quality.name.lower()):9} {named}"
        )
    lines += [f"  {'✓' if verdict.passed else '✗'} {verdict.text(tongue)}" for verdict in probe.fit.verdicts]
    if probe.refused:
        lines.append(f"{words['not_served']}: {', '.join(point.name for point in probe.refused)}")
    if probe.alternatives:
        lines.append(f"{words['better']}:")
        lines += [f"  {fit.label}   {words['score']} {fit.score:.2f}" for fit in probe.alternatives]
    return "\n".join(lines)
