"""A site file together with the profiles it names, checked against each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from device_profiles.catalog import load_modbus, load_mqtt
from device_profiles.lined_yaml import LinedFile, Location, Problem, ProfileError, read_yaml
from device_profiles.model import ModbusPoint, MqttProfile, Point, Profile
from device_profiles.vocabulary import PointKind
from edge_agent.drivers.mqtt.topics import TopicError, fill
from edge_agent.settings import ModbusDevice, MqttDevice, Site, default_timeout_s, parse_site, problem_at
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Commissioned:
    """What this gateway reads: every device of the site file has its profile."""

    site: Site
    profiles: Mapping[str, Profile]  # By device name.

    def catalogue(self, texts: Mapping[str, Mapping[str, str]]) -> Catalogue:
        """Describe everything to the cloud; `texts` is what the devices said of themselves."""
        devices = [
            self._entry(device, bus.name, f"{bus.endpoint}/{device.unit}", device.poll_s, texts)
            for bus in self.site.buses
            for device in bus.devices
        ]
        devices += [
            self._entry(device, broker.name, f"{broker.host}:{broker.port}/{device.topic}", None, texts)
            for broker in self.site.mqtt
            for device in broker.devices
        ]
        return Catalogue(devices=tuple(devices))

    def _entry(
        self,
        device: ModbusDevice | MqttDevice,
        bus: str,
        address: str,
        poll_s: float | None,
        texts: Mapping[str, Mapping[str, str]],
    ) -> CatalogueDevice:
        profile = self.profiles[device.name]
        return CatalogueDevice(
            name=device.name,
            label=device.label or device.name,
            profile=profile.name,
            profile_revision=profile.revision,
            bus=bus,
            address=address,
            poll_s=poll_s,
            timeout_s=device.timeout_s or (default_timeout_s(poll_s) if poll_s else None),
            attributes={**texts.get(device.name, {}), **device.attributes},
            points=tuple(_points(device, profile)),
        )


# The wire knows four kinds (ARCHITECTURE.md, section 10); an alarm bit is a status, a setting is a setpoint.
WIRE_KINDS = {PointKind.ALARM: "status", PointKind.PARAMETER: "setpoint"}


def _points(device: ModbusDevice | MqttDevice, profile: Profile) -> Iterator[CataloguePoint]:
    for point in profile.points:
        override = device.points.get(point.name)
        if point.is_text or (override is not None and not override.enabled):
            continue
        yield CataloguePoint(
            name=point.name,
            kind=WIRE_KINDS.get(point.kind, point.kind.value),
            quantity=point.quantity,
            unit=point.unit,
            scale=point.scale,
            brick=point.brick,
            cumulative=point.is_cumulative,
            labels={"en": point.label_en, "zh": point.label_zh, **{str(k): v for k, v in point.states.items()}},
            write=_write(device, point),
        )


def _write(device: ModbusDevice | MqttDevice, point: Point) -> dict[str, float | int | None] | None:
    """Return the guard rails of a point that the site file allows to be set, for the form in the cloud."""
    if not (isinstance(device, ModbusDevice) and isinstance(point, ModbusPoint) and point.write):
        return None
    if point.name not in device.writes:
        return None
    write = point.write
    return {
        "low": float(write.low),
        "high": float(write.high),
        "step": None if write.step is None else float(write.step),
        "release_after_s": write.release_after_s,
    }


def load_commissioned(path: Path, *, folder: Path | None = None) -> Commissioned:
    """Read a site file and its profiles; raises ProfileError with all mistakes at once.

    Paths in the file are relative to `folder`, by default its own.
    """
    file = read_yaml(path)
    site = parse_site(file, folder=folder)
    profiles: dict[str, Profile] = {}
    problems: list[Problem] = []
    for location, device in _devices(site):
        try:
            if isinstance(device, ModbusDevice):
                instances = {name: tuple(numbers) for name, numbers in device.instances.items()}
                profile: Profile = load_modbus(device.profile, extra=site.profiles, instances=instances)
            else:
                profile = load_mqtt(device.profile, extra=site.profiles)
                problems += _unfilled_topics(file, location, device, profile)
        except ProfileError as error:
            problems += _blamed(file, (*location, "profile"), device.profile, error)
            continue
        profiles[device.name] = profile
        problems += _unknown_points(file, location, device, profile)
    if problems:
        raise ProfileError(problems)
    return Commissioned(site=site, profiles=profiles)


def _devices(site: Site) -> Iterator[tuple[Location, ModbusDevice | MqttDevice]]:
    for b, bus in enumerate(site.buses):
        for d, device in enumerate(bus.devices):
            yield ("buses", b, "devices", d), device
    for b, broker in enumerate(site.mqtt):
        for d, device in enumerate(broker.devices):
            yield ("mqtt", b, "devices", d), device


def _blamed(file: LinedFile, location: Location, name: str, error: ProfileError) -> Iterator[Problem]:
    """Mistakes inside a profile file are shown there; a profile that does not exist, in the site file."""
    for problem in error.problems:
        yield problem_at(file, location, f"{name}: {problem.what}", problem.remedy) if problem.path == name else problem


def _unfilled_topics(
    file: LinedFile, location: Location, device: MqttDevice, profile: MqttProfile
) -> Iterator[Problem]:
    parameters = {"base": device.topic, "name": device.name, **device.parameters}
    for message in profile.messages:
        try:
            fill(message.topic, parameters)
        except TopicError as error:
            yield problem_at(file, (*location, "parameters"), str(error), "complete the device's `parameters:`")


def _unknown_points(
    file: LinedFile, location: Location, device: ModbusDevice | MqttDevice, profile: Profile
) -> Iterator[Problem]:
    names = [point.name for point in profile.points]
    for name in device.points:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            remedy = f"did you mean “{near[0]}”?" if near else f"see: edge-agent profiles show {profile.name}"
            yield problem_at(file, (*location, "points", name), f"{profile.name} has no such point", remedy)
