"""Starts and stops the tasks of one gateway; the only place that knows all the parts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile, MqttProfile
from edge_agent import health
from edge_agent.clock import Clock, ConfirmedClock, JumpDetector, SystemClock
from edge_agent.commissioned import Commissioned
from edge_agent.configuration import CONFIRM_AFTER_S, Configuration
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.drivers.modbus.learned import LearnedRanges
from edge_agent.drivers.mqtt.privacy import PrivacyKeyError, load_key
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.model import Event
from edge_agent.outbox import Limits, Outbox
from edge_agent.polled import PolledDevice
from edge_agent.poller import BusPoller, QueueFull
from edge_agent.settings import AgentSettings, Bus, MqttBroker, Sparkplug
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.mqtt import SparkplugDestination, SparkplugUplink
from edge_agent.uplink.wire import Catalogue
from edge_agent.writes import Guard, Order, WriteFailed, Writer, WriteRefused, order_of, result_of

log = structlog.get_logger()

VERSION = "0.1.0"
JUMP_CHECK_S = 2.0
FILE_CHECK_S = 1.0
COMMANDS_PER_ANSWER_MAX = 50
ORDERS_KEPT = 1_000
RESTART_PAUSE_S = 5.0  # After a task died of a mistake of ours.


class StartError(Exception):
    """The agent cannot start; the message says what a person must mend."""


class Agent:
    """One gateway: `run` until `stop` is set."""

    def __init__(self, site_path: Path, settings: AgentSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self._machine = clock or SystemClock()
        self.clock = ConfirmedClock(self._machine)
        self.configuration = Configuration(site_path, settings.data_dir / "configuration")
        self.commissioned = self.configuration.start()
        self.site_problems: list[str] = []
        self.started_at_ms = self.clock.now_ms()
        self.pollers: dict[str, BusPoller] = {}
        self.subscribers: dict[str, BrokerSubscriber] = {}
        site = self.commissioned.site
        path = site.outbox.path or settings.data_dir / "outbox.sqlite3"
        for folder in (settings.data_dir, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.outbox = Outbox(
            path,
            limits=Limits(
                bytes_max=site.outbox.bytes_max_mb * 1024**2, age_max_ms=int(site.outbox.age_max_days * 86_400_000)
            ),
            now_ms=self.clock.now_ms,
        )
        self.outbox.use_scales(self.catalogue().scales())
        try:
            self.uplink = self._make_uplink()
        except StartError:
            self.outbox.close()
            raise
        privacy_key = settings.privacy_key.get_secret_value() if settings.privacy_key else None
        try:
            self._privacy_key = load_key(privacy_key, settings.data_dir)
        except PrivacyKeyError as error:
            raise StartError(str(error)) from error
        self._brokers: dict[str, MqttBroker] = {}
        self._learned = LearnedRanges(settings.data_dir / "learned")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: list[asyncio.Task[None]] = []
        self._writer = Writer(Guard.load(settings.data_dir / "writes.json"), self.clock)
        self._orders_seen: dict[str, None] = {}
        self._confirm_at: float | None = self._machine.monotonic() + CONFIRM_AFTER_S

    async def run(self, stop: asyncio.Event) -> None:
        """Read, keep and send until `stop` is set; what was read is on the disk when this returns."""
        self._start("outbox", self.outbox.run)
        self._apply(self.commissioned)
        self._start("clock", self._watch_clock)
        self._start("site file", self._watch_site_file)
        self._start("deadlines", self._watch_deadlines)
        if self.uplink is not None:
            self._start("uplink", self.uplink.run)
        if self.settings.status_port:
            self._start("status page", lambda: health.serve(self))
        log.info("agent_started", gateway=self.commissioned.site.gateway, buses=len(self.pollers))
        try:
            await stop.wait()
        finally:
            await self._stop()

    def catalogue(self) -> Catalogue:
        """Describe to the cloud what exists here."""
        texts = {device.config.name: device.texts for poller in self.pollers.values() for device in poller.devices}
        return self.commissioned.catalogue(texts)

    def reload(self) -> None:
        """Take over a changed site file between two requests; a broken one changes nothing but the status page."""
        try:
            commissioned = self.configuration.read()
        except ProfileError as error:
            self.site_problems = [str(problem) for problem in error.problems]
            log.warning("site_file_refused", problems=self.site_problems)
            return
        self._take(commissioned)

    def _take(self, commissioned: Commissioned) -> None:
        self.site_problems = []
        self.commissioned = commissioned
        self._apply(commissioned)
        self._catalogue_changed()
        log.info("site_file_loaded", buses=len(self.pollers))

    def _apply(self, commissioned: Commissioned) -> None:
        """Make the pollers those of the site file: keep, change, start or stop each bus."""
        wanted = {bus.name: bus for bus in commissioned.site.buses}
        for name in self.pollers.keys() - wanted.keys():
            self._end(f"bus {name}")
            del self.pollers[name]
        for name, bus in wanted.items():
            devices = self._devices(bus, commissioned)
            poller = self.pollers.get(name)
            if poller is None:
                self.pollers[name] = BusPoller(Line(bus), devices, self.outbox, self.clock)
                self._start(f"bus {name}", self.pollers[name].run)
            elif poller.line.bus != bus or any(
                new.profile.revision != old.profile.revision for new, old in zip(devices, poller.devices, strict=False)
            ):
                poller.reconfigure(bus, devices)

        self._apply_brokers(commissioned)

    def _apply_brokers(self, commissioned: Commissioned) -> None:
        """Renew the brokers whose part of the file changed; their session keeps what arrives meanwhile."""
        site = commissioned.site
        wanted = {broker.name: broker for broker in site.mqtt}
        for name in [name for name, broker in self._brokers.items() if wanted.get(name) != broker]:
            self._end(f"broker {name}")
            del self._brokers[name], self.subscribers[name]
        for name, broker in wanted.items():
            if name in self._brokers:
                continue
            self.subscribers[name] = BrokerSubscriber(
                broker,
                [
                    (device, profile)
                    for device in broker.devices
                    if isinstance(profile := commissioned.profiles[device.name], MqttProfile)
                ],
                self.outbox,
                gateway=site.gateway,
                zone=ZoneInfo(site.zone),
                key=self._privacy_key,
                now_ms=self.clock.now_ms,
                uptime_s=self.clock.monotonic,
            )
            self._brokers[name] = broker
            self._start(f"broker {name}", self.subscribers[name].run)

    def _devices(self, bus: Bus, commissioned: Commissioned) -> list[PolledDevice]:
        devices: list[PolledDevice] = []
        for config in bus.devices:
            profile = commissioned.profiles[config.name]
            assert isinstance(profile, ModbusProfile)
            now = self.clock.monotonic()
            devices.append(
                PolledDevice(
                    bus,
                    config,
                    profile,
                    now=now,
                    learned=self._learned,
                    on_texts=self._catalogue_changed,
                    privacy_key=self._privacy_key,
                )
            )
        return devices

    def _catalogue_changed(self) -> None:
        self.outbox.use_scales(self.catalogue().scales())
        if self.uplink is not None:
            self.uplink.catalogue_changed()

    def _make_uplink(self) -> HttpsUplink | SparkplugUplink | None:
        cloud = self.commissioned.site.cloud
        if cloud is None:
            return None
        if cloud.uplink == "mqtt":
            assert cloud.sparkplug is not None
            return SparkplugUplink(
                self._sparkplug_destination(cloud.sparkplug),
                self.outbox,
                catalogue=self.catalogue,
                now_ms=self.clock.now_ms,
            )
        assert cloud.url is not None
        credential = self._credential(cloud.credential_file)
        return HttpsUplink(
            Destination(url=cloud.url, credential=credential, ca_file=cloud.ca_file),
            self.outbox,
            catalogue=self.catalogue,
            health=lambda: health.heartbeat(self),
            on_answer=self._on_answer,
            agent_version=VERSION,
            now_ms=self.clock.now_ms,
            set_clock=self.clock.confirm,
        )

    def _sparkplug_destination(self, broker: Sparkplug) -> SparkplugDestination:
        try:
            password = broker.password_file.read_text(encoding="utf-8").strip() if broker.password_file else None
        except OSError as error:
            raise StartError(f"{broker.password_file}: {error.strerror}: it must hold the broker's password") from error
        return SparkplugDestination(
            host=broker.host,
            port=broker.port,
            group=broker.group,
            node=broker.node or self.commissioned.site.gateway,
            primary_host=broker.primary_host,
            username=broker.username,
            password=password,
            tls=broker.tls,
            ca_file=broker.ca_file,
        )

    def _credential(self, file: Path | None) -> str:
        if file is not None:
            try:
                return file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise StartError(f"{file}: {error.strerror}: cloud.credential_file must hold the credential") from error
        if self.settings.credential is None:
            raise StartError(
                "no credential for the cloud: set EDGE_CREDENTIAL, or cloud.credential_file in the site file"
            )
        return self.settings.credential.get_secret_value()

    async def _on_answer(self, answer: Mapping[str, Any]) -> None:
        """Take what the cloud's answer to a heartbeat asks for: a configuration, and commands."""
        offered = answer.get("configuration")
        if isinstance(offered, Mapping):
            self._take_configuration(int(offered["version"]), str(offered["site"]))
        commands = answer.get("commands")
        for command in list(commands)[:COMMANDS_PER_ANSWER_MAX] if isinstance(commands, list) else []:
            self._carry_out_once(command)

    def _take_configuration(self, version: int, text: str) -> None:
        before = self.commissioned
        commissioned = self.configuration.offer(version, text)
        if commissioned is None:
            return
        try:
            self._take(commissioned)
        except Exception as error:  # noqa: BLE001  # Whatever it is: the site must go on being read.
            self.configuration.roll_back(f"{type(error).__name__}: {error}")
            self._take(before)
            return
        self._confirm_at = self._machine.monotonic() + CONFIRM_AFTER_S

    def _carry_out_once(self, command: Any) -> None:
        """Start a command in the background; the cloud repeats it until it has seen the result."""
        try:
            order = order_of(command)
        except WriteRefused as error:
            log.warning("command_refused", code=error.code, reason=str(error))
            return
        if order.id in self._orders_seen:
            return
        self._orders_seen[order.id] = None
        while len(self._orders_seen) > ORDERS_KEPT:
            self._orders_seen.pop(next(iter(self._orders_seen)))
        name = f"command {order.id}"
        # Not supervised: a command that died of a mistake of ours must not be given a second time.
        self._tasks[name] = asyncio.create_task(self._carry_out(order), name=name)
        self._tasks[name].add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _carry_out(self, order: Order, *, is_release: bool = False) -> None:
        now_ms = self.clock.now_ms()
        try:
            shown = await self._write(order, is_release=is_release)
            data = result_of(order, "done", shown=shown)
        except WriteRefused as error:
            data = result_of(order, "refused", reason=f"{error.code}: {error}")
        except (WriteFailed, ModbusError, QueueFull) as error:
            data = result_of(order, "failed", reason=str(error))
        log.info("command_result", **data)
        event = Event(
            kind="command.result", device=order.device, at_ms=self.clock.now_ms(), received_at_ms=now_ms, data=data
        )
        self.outbox.append((), (event,))

    async def _write(self, order: Order, *, is_release: bool) -> Fraction:
        poller, device = self._poller_of(order.device)
        return await poller.submit(
            lambda line: self._writer.write(line, device.config, device.profile, order, is_release=is_release)
        )

    def _poller_of(self, name: str) -> tuple[BusPoller, PolledDevice]:
        for poller in self.pollers.values():
            for device in poller.devices:
                if device.config.name == name:
                    return poller, device
        raise WriteRefused("unknown_device", f"no Modbus device {name} on this gateway")

    async def _watch_deadlines(self) -> None:
        """Release overrides whose time has come, and confirm a configuration that has held."""
        while True:
            await asyncio.sleep(1.0)
            if self._confirm_at is not None and self._machine.monotonic() >= self._confirm_at:
                self._confirm_at = None
                self.configuration.confirm()
            for order in self._writer.due_releases():
                await self._carry_out(order, is_release=True)

    async def _watch_clock(self) -> None:
        machine, ours = JumpDetector(self._machine), JumpDetector(self.clock)
        while True:
            await asyncio.sleep(JUMP_CHECK_S)
            machine_jump_ms, our_jump_ms = machine.jump_ms(), ours.jump_ms()
            if machine_jump_ms is None and our_jump_ms is None:
                continue
            now_ms = self.clock.now_ms()
            # The machine's clock may jump without ours following it: the cloud has confirmed ours.
            data = {"jump_ms": our_jump_ms or 0, "machine_jump_ms": machine_jump_ms or 0}
            event = Event(kind="clock.jump", device="", at_ms=now_ms, received_at_ms=now_ms, data=data)
            self.outbox.append((), (event,))
            log.warning("clock_jump", **data)
            if our_jump_ms is None:
                continue
            if self.uplink is not None:
                self.uplink.clock_was_set()
            for poller in self.pollers.values():
                poller.realign()

    async def _watch_site_file(self) -> None:
        seen = _fingerprint(self.configuration.path)
        while True:
            await asyncio.sleep(FILE_CHECK_S)
            if (now := _fingerprint(self.configuration.path)) != seen and now is not None:
                seen = now
                self.reload()

    def _start(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        self._tasks[name] = asyncio.create_task(_supervise(name, work), name=name)

    def _end(self, name: str) -> None:
        """End one task in the background."""
        self._ending = [task for task in self._ending if not task.done()]
        self._ending.append(asyncio.create_task(_end([self._tasks.pop(name)])))

    async def _stop(self) -> None:
        # The outbox goes last: its final commit holds what the others read.
        outbox = self._tasks.pop("outbox")
        await _end(self._tasks.values())
        await asyncio.gather(*self._ending)
        await _end([outbox])
        await asyncio.to_thread(self.outbox.close)
        log.info("agent_stopped")


async def _supervise(name: str, work: Callable[[], Awaitable[Any]]) -> None:
    """Keep a task alive: a mistake in one bus must not silence the others."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("task_died", task=name, restart_in_s=RESTART_PAUSE_S)
        else:
            return
        await asyncio.sleep(RESTART_PAUSE_S)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all are over: asyncio.wait_for of Python 3.11 can swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
