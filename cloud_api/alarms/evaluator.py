"""The evaluator's turn for communication losses: facts → verdicts → alarms, with children held back and explained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from cloud_api.alarms import communication, repository, service, topology
from cloud_api.alarms.communication import DeviceFacts, GatewayFacts, Said
from cloud_api.alarms.model import Alarm, AlarmId, Report
from cloud_api.faults.model import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateways and devices of one turn."""

    gateways: dict[int, GatewayFacts]
    devices: list[DeviceFacts]
    lost: frozenset[int]

    def siblings(self, device: DeviceFacts) -> list[DeviceFacts]:
        """Return the devices on the same bus, itself included."""
        return (
            [d for d in self.devices if d.gateway_id == device.gateway_id and d.bus == device.bus] if device.bus else []
        )

    def parents(self) -> dict[str, tuple[str, ...]]:
        """Return the tree device > bus > gateway."""
        tree: dict[str, tuple[str, ...]] = {}
        for device in self.devices:
            gateway = f"gateway:{device.gateway_id}"
            if device.bus:
                bus = _bus(device)
                tree[bus] = (gateway,)
                tree[f"device:{device.id}"] = (bus,)
            else:
                tree[f"device:{device.id}"] = (gateway,)
        return tree


async def evaluate_communication(conn: AsyncConnection, now: datetime, started_at: datetime) -> list[AlarmId]:
    """Judge every gateway, bus and device once and let the alarms follow; returns the alarms that changed."""
    gateways = {g.id: g for g in await repository.gateway_facts(conn)}
    devices = await repository.device_facts(conn)
    before = await repository.alarms_by_rules(conn, communication.RULES)
    verdicts = {g.id: communication.gateway_verdict(g, now, started_at) for g in gateways.values()}
    lost = frozenset(i for i, said in verdicts.items() if said and said[0] is Verdict.FAULT)
    site = Site(gateways=gateways, devices=devices, lost=lost)
    reports = [
        _report(g, f"gateway:{g.id}", communication.GATEWAY_LOST, said, {"name": g.name, "since": _iso(g.last_seen_at)})
        for g in gateways.values()
        if (said := verdicts[g.id])
    ]
    reports += _bus_reports(site, now) + _device_reports(site, now)
    # Children are explained before their timers may run out, with the parents' newest verdicts.
    parent_reports = [r for r in reports if not r.subject.startswith("device:")]
    changed = await service.report(conn, parent_reports, now)
    changed += await _explain(conn, site, before, now)
    holds = {f"device:{d.id}": communication.hold_back(d, site.siblings(d)) for d in devices}
    child_reports = [r for r in reports if r.subject.startswith("device:")]
    changed += await service.report(conn, child_reports, now, holds)
    if changed:
        changed += await _explain(conn, site, await repository.alarms_by_rules(conn, communication.RULES), now)
    return list(dict.fromkeys(changed))


async def _explain(conn: AsyncConnection, site: Site, alarms: Sequence[Alarm], now: datetime) -> list[AlarmId]:
    causes = defaultdict(list)
    for alarm in await repository.alarms_by_rules(conn, (communication.GATEWAY_LOST, communication.BUS_SILENT)):
        causes[alarm.subject].append(alarm.state)
    if not causes:
        return []
    parents = site.parents()
    lingers = {f"device:{d.id}": communication.linger(d) for d in site.devices}
    changed = []
    for alarm in alarms:
        if alarm.rule == communication.GATEWAY_LOST:
            continue
        linger = lingers.get(alarm.subject, timedelta(minutes=1))
        explained = topology.is_explained(alarm.subject, alarm.state, causes, parents, now, linger)
        if await service.set_explained(conn, alarm, now, is_explained=explained):
            changed.append(alarm.id)
    return changed


def _bus_reports(site: Site, now: datetime) -> list[Report]:
    buses: dict[str, list[DeviceFacts]] = defaultdict(list)
    for device in site.devices:
        if device.bus:
            buses[_bus(device)].append(device)
    reports = []
    for subject, devices in buses.items():
        gateway_is_lost = devices[0].gateway_id in site.lost
        said = communication.bus_verdict(devices, gateway_is_lost=gateway_is_lost, now=now)
        if said:
            params = {"name": devices[0].bus, "count": len(devices), "since": _iso(said[1])}
            reports.append(_report(devices[0], subject, communication.BUS_SILENT, said, params))
    return reports


def _device_reports(site: Site, now: datetime) -> list[Report]:
    reports = []
    for device in site.devices:
        subject, gateway_is_lost = f"device:{device.id}", device.gateway_id in site.lost
        said = communication.device_verdict(device, gateway_is_lost=gateway_is_lost, now=now)
        params = {"name": device.name, "error": device.last_error, "address": device.address, "bus": device.bus}
        if said:
            since = {"since": _iso(device.state_since)}
            reports.append(_report(device, subject, communication.DEVICE_SILENT, said, params | since))
        gateway = site.gateways[device.gateway_id]
        stale = communication.stale_verdict(device, gateway, gateway_is_lost=gateway_is_lost, now=now)
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
