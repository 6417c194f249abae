"""The evaluator's turn for communication losses: facts → verdicts → alarms, with children held back and explained."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from cloud_api.alarms import communication, repository, service, topology
from cloud_api.alarms.communication import DeviceFacts, GatewayFacts, Said
from cloud_api.alarms.model import Alarm, AlarmId, Report
from cloud_api.faults.model import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices that fall silent together: those on a bus, or behind a panel."""

    subject: str
    rule: str
    devices: frozenset[int]
    params: Mapping[str, str | int]

    def is_above(self, other: "Group") -> bool:
        """Whether this group explains the other: it holds more; of two that hold the same, the bus."""
        if self.devices == other.devices:
            return self.rule == communication.BUS_SILENT != other.rule
        return self.devices > other.devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateways, devices and groups of one turn."""

    gateways: dict[int, GatewayFacts]
    devices: dict[int, DeviceFacts]
    groups: list[Group]
    lost: frozenset[int]

    def gateways_of(self, group: Group) -> set[int]:
        """Return the gateways that the group's devices hang on."""
        return {self.devices[d].gateway_id for d in group.devices}

    def members(self, group: Group) -> list[DeviceFacts]:
        """Return the devices of a group."""
        return [self.devices[d] for d in sorted(group.devices)]

    def groups_of(self, device: DeviceFacts) -> list[Group]:
        """Return the bus and the panels that a device is on."""
        return [g for g in self.groups if device.id in g.devices]

    def above(self, group: Group) -> list[Group]:
        """Return the groups that explain this one."""
        return [g for g in self.groups if g.is_above(group)]

    def parents(self) -> dict[str, tuple[str, ...]]:
        """Return the tree device > bus, panel > larger panel > gateway; by inclusion, so it has no rings."""
        tree: dict[str, tuple[str, ...]] = {}
        for device in self.devices.values():
            tree[f"device:{device.id}"] = (
                *(g.subject for g in self.groups_of(device)), f"gateway:{device.gateway_id}",
            )  # fmt: skip
        for group in self.groups:
            gateways = self.gateways_of(group)
            own = (f"gateway:{gateway}" for gateway in gateways if len(gateways) == 1)
            tree[group.subject] = (*(g.subject for g in self.above(group)), *own)
        return tree

    def holds(self, reports: Sequence[Report]) -> dict[str, timedelta]:
        """Return how long the alarms of the devices and groups in fault wait for what may explain them."""
        slowest = {g.subject: communication.slowest_of(self.members(g)) for g in self.groups}

        def longest(groups: Iterable[Group]) -> timedelta:
            return max((slowest[g.subject] for g in groups), default=timedelta(0))

        subjects = {r.subject for r in reports if r.verdict is Verdict.FAULT}
        devices = (d for d in self.devices.values() if f"device:{d.id}" in subjects)
        found = {f"device:{d.id}": communication.hold_back(d, longest(self.groups_of(d))) for d in devices}
        return found | {
            g.subject: communication.hold_back_of_group(longest(self.above(g)))
            for g in self.groups
            if g.subject in subjects
        }


async def evaluate_communication(conn: AsyncConnection, now: datetime, started_at: datetime) -> list[AlarmId]:
    """Judge every gateway, bus, panel and device once and let the alarms follow; returns the alarms that changed."""
    gateways = {g.id: g for g in await repository.gateway_facts(conn)}
    devices = {d.id: d for d in await repository.device_facts(conn)}
    before = await repository.alarms_by_rules(conn, communication.RULES)
    verdicts = {g.id: communication.gateway_verdict(g, now, started_at) for g in gateways.values()}
    lost = frozenset(i for i, said in verdicts.items() if said and said[0] is Verdict.FAULT)
    groups = [*_buses(devices.values()), *await _panels(conn, devices, before, now)]
    site = Site(gateways=gateways, devices=devices, groups=groups, lost=lost)
    reports = [
        _report(g, f"gateway:{g.id}", communication.GATEWAY_LOST, said, {"name": g.name, "since": _iso(g.last_seen_at)})
        for g in gateways.values()
        if (said := verdicts[g.id])
    ]
    reports += _group_reports(site, now) + _device_reports(site, now, started_at)
    # Children are explained before their timers may run out, with the parents' newest verdicts.
    holds = site.holds(reports)
    parent_reports = [r for r in reports if not r.subject.startswith("device:")]
    changed = await service.report(conn, parent_reports, now, holds)
    changed += await _explain(conn, site, before, now)
    child_reports = [r for r in reports if r.subject.startswith("device:")]
    changed += await service.report(conn, child_reports, now, holds)
    if changed:
        changed += await _explain(conn, site, await repository.alarms_by_rules(conn, communication.RULES), now)
    return list(dict.fromkeys(changed))


async def _explain(conn: AsyncConnection, site: Site, alarms: Sequence[Alarm], now: datetime) -> list[AlarmId]:
    causes = defaultdict(list)
    for alarm in await repository.alarms_by_rules(conn, (communication.GATEWAY_LOST, *communication.GROUPS)):
        causes[alarm.subject].append(alarm.state)
    if not causes:
        return []
    parents = site.parents()
    lingers = {f"device:{d.id}": communication.linger(d) for d in site.devices.values()}
    changed = []
    for alarm in alarms:
        if alarm.rule == communication.GATEWAY_LOST:
            continue
        linger = lingers.get(alarm.subject, timedelta(minutes=1))
        explained = topology.is_explained(alarm.subject, alarm.state, causes, parents, now, linger)
        if await service.set_explained(conn, alarm, now, is_explained=explained):
            changed.append(alarm.id)
    return changed


def _buses(devices: Iterable[DeviceFacts]) -> list[Group]:
    buses: dict[str, list[DeviceFacts]] = defaultdict(list)
    for device in devices:
        if device.bus:
            buses[_bus(device)].append(device)
    return [
        Group(
            subject=subject, rule=communication.BUS_SILENT, devices=frozenset(d.id for d in on_it),
            params={"name": on_it[0].bus},
        )
        for subject, on_it in buses.items()
    ]  # fmt: skip


async def _panels(
    conn: AsyncConnection, devices: Mapping[int, DeviceFacts], before: Sequence[Alarm], now: datetime
) -> list[Group]:
    """Return the panels by the tree of meters; while every device answers there is no need to look."""
    is_quiet = all(d.state != "offline" for d in devices.values())
    if is_quiet and not any(a.rule == communication.PANEL_SILENT and a.state.is_open for a in before):
        return []
    return [
        Group(
            subject=f"panel:{panel.id}", rule=communication.PANEL_SILENT, devices=frozenset(panel.device_ids),
            params={"name": panel.code, "name_zh": panel.name_zh, "name_en": panel.name_en},
        )
        for panel in await repository.panel_facts(conn, now)
        if devices.keys() >= set(panel.device_ids)
    ]  # fmt: skip


def _group_reports(site: Site, now: datetime) -> list[Report]:
    reports = []
    for group in site.groups:
        devices = site.members(group)
        gateway_is_lost = bool(site.gateways_of(group) & site.lost)
        said = communication.group_verdict(devices, gateway_is_lost=gateway_is_lost, now=now)
        if said:
            params = {**group.params, "count": len(devices), "since": _iso(said[1])}
            reports.append(_report(devices[0], group.subject, group.rule, said, params))
    return reports


def _device_reports(site: Site, now: datetime, started_at: datetime) -> list[Report]:
    reports = []
    for device in site.devices.values():
        subject, gateway_is_lost = f"device:{device.id}", device.gateway_id in site.lost
        said = communication.device_verdict(device, gateway_is_lost=gateway_is_lost, now=now)
        params = {
            "name": device.name, "label_zh": device.label_zh, "label_en": device.label_en,
            "error": device.last_error, "address": device.address, "bus": device.bus,
        }  # fmt: skip
        if said:
            since = {"since": _iso(device.state_since)}
            reports.append(_report(device, subject, communication.DEVICE_SILENT, said, params | since))
        gateway = site.gateways[device.gateway_id]
        stale = communication.stale_verdict(
            device, gateway, gateway_is_lost=gateway_is_lost, now=now, started_at=started_at
        )
        if stale:
            since = {"since": _iso(device.observed_at)}
            reports.append(_report(device, subject, communication.DEVICE_STALE, stale, params | since))
    return reports


def _report(
    facts: GatewayFacts | DeviceFacts, subject: str, rule: str, said: Said, params: Mapping[str, str | int | None]
) -> Report:
    return Report(
        organisation_id=facts.organisation_id,
        site_id=facts.site_id,
        subject=subject,
        rule=rule,
        severity=communication.SEVERITIES[rule],
        verdict=said[0],
        at=said[1],
        params=params,
    )


def _bus(device: DeviceFacts) -> str:
    return f"bus:{device.gateway_id}/{device.bus}"


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
