"""Starts and stops the tasks of one gateway; the only place that knows all the parts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile, MqttProfile
from edge_agent import health
from edge_agent.clock import Clock, ConfirmedClock, JumpDetector, SystemClock
from edge_agent.commissioned import Commissioned
from edge_agent.configuration import CONFIRM_AFTER_S, LINK_CONFIRM_S, Configuration
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.learned import LearnedRanges
from edge_agent.drivers.mqtt.privacy import PrivacyKeyError, load_key
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.links import StartError, Uplink, make_uplink
from edge_agent.model import Event
from edge_agent.orders import OrderDesk, orders_socket
from edge_agent.outbox import Limits, Outbox
from edge_agent.polled import PolledDevice
from edge_agent.poller import BusPoller
from edge_agent.settings import AgentSettings, Bus, MqttBroker, Site, outbox_path
from edge_agent.uplink.wire import Catalogue
from edge_agent.writes import Guard, Writer

log = structlog.get_logger()

JUMP_CHECK_S = 2.0
FILE_CHECK_S = 1.0
RESTART_PAUSE_S = 5.0  # After a task died of a mistake of ours.


class Agent:
    """One gateway: `run` until `stop` is set."""

    def __init__(self, site_path: Path, settings: AgentSettings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self._machine = clock or SystemClock()
        self.clock = ConfirmedClock(self._machine)
        self.configuration = Configuration(site_path, settings.data_dir / "configuration")
        self.commissioned = self.configuration.start()
        self.site_problems: list[str] = []  # Why the newest site file does not hold.
        self.site_notes: list[str] = []  # What of it holds from the next start on.
        self.started_at_ms = self.clock.now_ms()
        self.pollers: dict[str, BusPoller] = {}
        self.subscribers: dict[str, BrokerSubscriber] = {}
        site = self.commissioned.site
        path = outbox_path(site, settings)
        for folder in (settings.data_dir, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.outbox = Outbox(path, limits=_limits(site), now_ms=self.clock.now_ms)
        self.outbox.use_scales(self.catalogue().scales())
        try:
            self.uplink = self._make_uplink(site)
        except StartError:
            self.outbox.close()
            raise
        privacy_key = settings.privacy_key.get_secret_value() if settings.privacy_key else None
        try:
            self._privacy_key = load_key(privacy_key, settings.data_dir)
        except PrivacyKeyError as error:
            raise StartError(str(error)) from error
        self._brokers: dict[str, tuple[object, ...]] = {}  # What each was made from.
        self._learned = LearnedRanges(settings.data_dir / "learned")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: list[asyncio.Task[None]] = []
        writer = Writer(Guard.load(settings.data_dir / "writes.json"), self.clock)
        self.orders = OrderDesk(writer, self.outbox, self.clock, self._poller_of)
        self._outbox_path = path
        self._tried_at: float = self._machine.monotonic()
        self._must_link = self.configuration.changes_cloud()

    async def run(self, stop: asyncio.Event) -> None:
        """Read, keep and send until `stop` is set; what was read is on the disk when this returns."""
        self._start("outbox", self.outbox.run)
        self._apply(self.commissioned, self._new_subscribers(self.commissioned))
        self._start("clock", self._watch_clock)
        self._start("site file", self._watch_site_file)
        self._start("deadlines", self._watch_deadlines)
        self._start("orders", lambda: self.orders.serve(orders_socket(self._outbox_path)))
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
        if problem := self._try(commissioned):
            self.site_problems = [problem]
            log.warning("site_file_refused", problems=self.site_problems)

    def _try(self, commissioned: Commissioned) -> str | None:
        """Take another site file over. When that fails go on with the one before, and return why."""
        before = self.commissioned
        try:
            self._take(commissioned)
        except (StartError, OSError) as error:
            reason = (
                f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
            )
        except Exception as error:  # Whatever it is: the site must go on being read.
            log.exception("site_file_failed")
            reason = f"{type(error).__name__}: {error}"
        else:
            return None
        self._take(before)
        return reason

    def _take(self, commissioned: Commissioned) -> None:
        before, site = self.commissioned.site, commissioned.site
        link_changes = (before.cloud, before.gateway) != (site.cloud, site.gateway)
        # What can fail comes first: nothing has changed yet.
        uplink = self._make_uplink(site) if link_changes else self.uplink
        subscribers = self._new_subscribers(commissioned)
        self.commissioned = commissioned
        self._apply(commissioned, subscribers)
        if link_changes:
            self._use_uplink(uplink)
        self.outbox.use_limits(_limits(site))
        self.site_problems, self.site_notes = [], []
        if outbox_path(site, self.settings) != self._outbox_path:
            self.site_notes.append(f"outbox.path: the agent goes on with {self._outbox_path} until it is started anew")
            log.warning("site_file_needs_restart", notes=self.site_notes)
        self._catalogue_changed()
        log.info("site_file_loaded", buses=len(self.pollers))

    def _use_uplink(self, uplink: Uplink | None) -> None:
        """Send over another link. What the old one had under way is sent again; the cloud recognises it."""
        old = self._end("uplink") if "uplink" in self._tasks else None
        self.uplink = uplink
        if uplink is not None:
            self._start("uplink", uplink.run, after=old)
        log.info("link_changed")

    def _apply(self, commissioned: Commissioned, subscribers: Mapping[str, BrokerSubscriber]) -> None:
        """Make the pollers those of the site file: keep, change, start or stop each bus, and each broker."""
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
        self._apply_brokers(commissioned, subscribers)

    def _apply_brokers(self, commissioned: Commissioned, subscribers: Mapping[str, BrokerSubscriber]) -> None:
        """Renew the brokers whose part of the file changed; their session keeps what arrives meanwhile."""
        wanted = {broker.name: _fingerprint_of(broker, commissioned) for broker in commissioned.site.mqtt}
        ended: dict[str, asyncio.Task[None]] = {}
        for name in [name for name, known in self._brokers.items() if wanted.get(name) != known]:
            ended[name] = self._end(f"broker {name}")
            del self._brokers[name], self.subscribers[name]
        for name, subscriber in subscribers.items():
            self.subscribers[name], self._brokers[name] = subscriber, wanted[name]
            self._start(f"broker {name}", subscriber.run, after=ended.get(name))

    def _new_subscribers(self, commissioned: Commissioned) -> dict[str, BrokerSubscriber]:
        """Make what reads the brokers that are new or changed; raises OSError when a file they need is not there."""
        site = commissioned.site
        return {
            broker.name: BrokerSubscriber(
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
            for broker in site.mqtt
            if self._brokers.get(broker.name) != _fingerprint_of(broker, commissioned)
        }

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

    def _make_uplink(self, site: Site) -> Uplink | None:
        return make_uplink(
            site,
            self.settings,
            self.outbox,
            clock=self.clock,
            catalogue=self.catalogue,
            health=lambda: health.heartbeat(self),
            on_answer=self._on_answer,
        )

    async def _on_answer(self, answer: Mapping[str, Any]) -> None:
        """Take what the cloud's answer to a heartbeat asks for: a configuration, and commands."""
        offered = answer.get("configuration")
        if isinstance(offered, Mapping):
            self._take_configuration(int(offered["version"]), str(offered["site"]))
        self.orders.take(answer.get("commands"))

    def _take_configuration(self, version: int, text: str) -> None:
        commissioned = self.configuration.offer(version, text)
        if commissioned is None:
            return
        if problem := self._try(commissioned):
            self.configuration.roll_back(problem)
            return
        self._tried_at = self._machine.monotonic()
        self._must_link = self.configuration.changes_cloud()

    def _poller_of(self, name: str) -> tuple[BusPoller, PolledDevice] | None:
        for poller in self.pollers.values():
            for device in poller.devices:
                if device.config.name == name:
                    return poller, device
        return None

    async def _watch_deadlines(self) -> None:
        """Release overrides whose time has come, and decide about a configuration on trial."""
        while True:
            await asyncio.sleep(1.0)
            if self.configuration.is_on_trial:
                self._judge_trial(self._machine.monotonic() - self._tried_at)
            await self.orders.release_due()

    def _judge_trial(self, tried_s: float) -> None:
        """Confirm what has held; go back when the way to the cloud was changed and leads nowhere."""
        if self._must_link and self.uplink is not None and self.uplink.status.last_success_at_ms is None:
            if tried_s >= LINK_CONFIRM_S:
                self.configuration.roll_back(f"the cloud was not reached with it in {LINK_CONFIRM_S:g} s")
                self._try(self.configuration.read())
        elif tried_s >= CONFIRM_AFTER_S:
            self.configuration.confirm()

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

    def _start(self, name: str, work: Callable[[], Awaitable[Any]], *, after: asyncio.Task[None] | None = None) -> None:
        """Start a task, `after` the one that it replaces has ended."""

        async def in_turn() -> None:
            if after is not None:
                await asyncio.wait({after})
            await _supervise(name, work)

        self._tasks[name] = asyncio.create_task(in_turn(), name=name)

    def _end(self, name: str) -> asyncio.Task[None]:
        """End one task in the background."""
        self._ending = [task for task in self._ending if not task.done()]
        self._ending.append(asyncio.create_task(_end([self._tasks.pop(name)])))
        return self._ending[-1]

    async def _stop(self) -> None:
        await self.orders.stop()
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


def _limits(site: Site) -> Limits:
    return Limits(bytes_max=site.outbox.bytes_max_mb * 1024**2, age_max_ms=int(site.outbox.age_max_days * 86_400_000))


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _fingerprint_of(broker: MqttBroker, commissioned: Commissioned) -> tuple[object, ...]:
    """Tell what a subscriber is made from; another one is needed when any of it changes."""
    revisions = tuple(commissioned.profiles[device.name].revision for device in broker.devices)
    return broker, revisions, commissioned.site.gateway, commissioned.site.zone
