"""`edge-agent write`: set one point of a device of the site file, within its guard rails."""

import asyncio
import getpass
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile
from device_profiles.wording import say
from edge_agent.clock import SystemClock
from edge_agent.commands.language import DEFAULT, Language, Tongue, language
from edge_agent.commands.problems import show_problems
from edge_agent.commands.target import device_of
from edge_agent.commissioned import Commissioned, load_commissioned
from edge_agent.commissioning.probe import open_line
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.orders import ask_running_agent, orders_socket, result_event
from edge_agent.outbox import Outbox
from edge_agent.outbox.store import OutboxError
from edge_agent.settings import AgentSettings, Bus, ModbusDevice, outbox_path
from edge_agent.writes import Guard, Order, WriteFailed, Writer, WriteRefused, result_of

WORDS: Mapping[Tongue, Mapping[str, str]] = {
    "en": {
        "done": "{device}/{point} = {shown:g} (read back)",
        "by_agent": "set by the running agent",
        "directly": "no agent is running: set directly",
        "held": "held for {seconds} s; Ctrl-C releases it at once",
        "release": "the agent releases it after {seconds} s",
        "released": "released: {device}/{point} = {shown:g}",
        "refused": "refused: {reason}",
        "failed": "failed: {reason}",
        "busy": "{path} belongs to an agent that does not answer; look into its log, or stop it first",
    },
    "zh": {
        "done": "{device}/{point} = {shown:g}（已回读）",
        "by_agent": "由正在运行的代理写入",
        "directly": "没有代理在运行：直接写入",
        "held": "保持 {seconds} 秒；按 Ctrl-C 立即释放",
        "release": "代理将在 {seconds} 秒后释放",
        "released": "已释放：{device}/{point} = {shown:g}",
        "refused": "被拒绝：{reason}",
        "failed": "失败：{reason}",
        "busy": "{path} 属于一个没有应答的代理；请查看其日志，或先将其停止",
    },
}
EXITS = {"done": 0, "failed": 2, "refused": 3}


def write(
    device: Annotated[str, typer.Argument(help="A device of the site file.")],
    point: Annotated[str, typer.Argument(help="A point that the site file lists under `writes`.")],
    value: Annotated[str, typer.Argument(help="A number in the point's unit, or the word of a state.")],
    site: Annotated[Path, typer.Option(envvar="EDGE_SITE", help="The site file.")],
    why: Annotated[str, typer.Option(help="Goes into the log and to the cloud.")],
    release_after: Annotated[int | None, typer.Option(min=1, help="Seconds; then the value is released.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The agent's, instead of EDGE_DATA_DIR.")] = None,
    lang: Language = DEFAULT,
) -> None:
    """Set a point: in range, not too often, read back, and released again when asked for.

    A running agent does it between two reads, because two programs on one line disturb each other; without one the bus
    is opened here.
    """
    # What the log would say is said below, and kept in the event.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    tongue = language(lang)
    settings = AgentSettings() if data_dir is None else AgentSettings(data_dir=data_dir)
    try:
        commissioned = load_commissioned(site)
    except ProfileError as error:
        show_problems(error, tongue)
        raise typer.Exit(1) from error
    order = Order(device=device, point=point, value=value, by=getpass.getuser(), why=why, release_after_s=release_after)
    path = outbox_path(commissioned.site, settings)
    try:
        result = asyncio.run(ask_running_agent(orders_socket(path), order))
    except (TimeoutError, OSError) as error:
        typer.echo(f"{WORDS[tongue]['busy'].format(path=path)}: {error}".rstrip(": "), err=True)
        raise typer.Exit(2) from error
    if result is None:
        _directly(commissioned, settings, path, order, tongue)
        return
    _tell(result, tongue)
    if result["outcome"] == "done":
        typer.echo(WORDS[tongue]["by_agent"])
        if release_after:
            typer.echo(WORDS[tongue]["release"].format(seconds=release_after))
    raise typer.Exit(EXITS[result["outcome"]])


def _directly(commissioned: Commissioned, settings: AgentSettings, path: Path, order: Order, tongue: Tongue) -> None:
    """Write without an agent. The outbox keeps other agents away meanwhile, and carries the result to the cloud."""
    words = WORDS[tongue]
    bus, config, profile = device_of(commissioned, order.device, tongue)
    try:
        outbox = Outbox(path)
    except OutboxError as error:
        typer.echo(words["busy"].format(path=path), err=True)
        raise typer.Exit(2) from error
    typer.echo(words["directly"])
    writer = Writer(Guard.load(settings.data_dir / "writes.json"), SystemClock())
    try:
        asyncio.run(_write(bus, config, profile, writer, order, outbox, tongue))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        outbox.close()


async def _write(
    bus: Bus,
    config: ModbusDevice,
    profile: ModbusProfile,
    writer: Writer,
    order: Order,
    outbox: Outbox,
    tongue: Tongue,
) -> None:
    async with open_line(bus) as line:

        async def carry_out(order: Order, *, is_release: bool = False) -> dict[str, Any]:
            at_ms = SystemClock().now_ms()
            try:
                shown = await writer.write(line, config, profile, order, is_release=is_release)
                data = result_of(order, "done", shown=shown)
            except WriteRefused as error:
                data = result_of(order, "refused", reason=f"{error.code}: {error}")
            except (WriteFailed, ModbusError) as error:
                data = result_of(order, "failed", reason=str(error))
            outbox.append((), (result_event(order.device, data, at_ms, SystemClock().now_ms()),))
            return data

        result = await carry_out(order)
        _tell(result, tongue)
        if result["outcome"] == "refused" or not order.release_after_s:
            raise typer.Exit(EXITS[result["outcome"]])
        typer.echo(WORDS[tongue]["held"].format(seconds=order.release_after_s))
        try:
            await asyncio.sleep(order.release_after_s)
        finally:
            # Also at Ctrl-C: an override must not outlive whoever watches over it.
            for release in writer.releases():
                if (release.device, release.point) == (order.device, order.point):
                    _tell(await carry_out(release, is_release=True), tongue, done="released")


def _tell(result: Mapping[str, Any], tongue: Tongue, done: str = "done") -> None:
    outcome = result["outcome"]
    if outcome == "done":
        typer.echo(WORDS[tongue][done].format(**result))
    else:
        typer.echo(WORDS[tongue][outcome].format(reason=say(result["reason"], tongue)), err=True)
