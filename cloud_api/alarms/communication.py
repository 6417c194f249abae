"""Communication loss of gateways, buses, panels and devices: verdicts from what was heard last. Pure.

A gateway is lost when its heartbeat stays away; a bus when every one of its devices is silent; a panel when the meter
of its feeder and all meters behind it are; a device when its gateway says so, or when no observation of it arrives
although its gateway lives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud_api.alarms.states import Policy
from cloud_api.faults.model import Verdict

GATEWAY_LOST = "gateway_lost"
BUS_SILENT = "bus_silent"
PANEL_SILENT = "panel_silent"
DEVICE_SILENT = "device_silent"
DEVICE_STALE = "device_stale"
GROUPS = (BUS_SILENT, PANEL_SILENT)
RULES = (GATEWAY_LOST, *GROUPS, DEVICE_SILENT, DEVICE_STALE)
SEVERITIES = {GATEWAY_LOST: 2, BUS_SILENT: 2, PANEL_SILENT: 2, DEVICE_SILENT: 3, DEVICE_STALE: 3}
HEARTBEAT = timedelta(seconds=10)
GATEWAY_TIMEOUT = 3 * HEARTBEAT
EVALUATION_PERIOD = timedelta(seconds=1)
# What dies together with its gateway waits so long: one heartbeat may still come, then the loss must be noticed.
GATEWAY_KNOWN_AFTER = HEARTBEAT + GATEWAY_TIMEOUT + EVALUATION_PERIOD
# After the evaluator itself was away, a gateway gets this long to be heard before its silence counts.
START_GRACE = timedelta(seconds=15)
# What has waited in an outbox for so long waits because of an interruption.
CATCHING_UP_AFTER = timedelta(minutes=1)
STALE_AT_LEAST = timedelta(minutes=5)
SETTLE_AT_LEAST = timedelta(seconds=45)
DEVICES_OF_A_GROUP_MIN = 2

_DEFAULT_POLL_S = 10.0
_REOPEN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """What is known of a gateway."""

    id: int
    organisation_id: int
    site_id: int
    name: str
    last_seen_at: datetime | None
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What is known of a device; `state` is what its gateway said last, `observed_at` the newest observation."""

    id: int
    organisation_id: int
    site_id: int
    gateway_id: int
    name: str
    label_zh: str
    label_en: str
    bus: str
    address: str
    poll_s: float | None
    timeout_s: float | None
    state: str
    state_since: datetime | None
    last_error: str
    observed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelFacts:
    """A feeder with the devices of its meter and of all meters behind it; its code and names are the meter's."""

    id: int
    organisation_id: int
    site_id: int
    code: str
    name_zh: str
    name_en: str
    device_ids: Sequence[int]


Said = tuple[Verdict, datetime]


def gateway_verdict(facts: GatewayFacts, now: datetime, started_at: datetime) -> Said | None:
    """Judge a gateway; None when it was never heard. Event time is when the silence became too long."""
    if facts.last_seen_at is None:
        return None
    lost_at = max(facts.last_seen_at + GATEWAY_TIMEOUT, started_at + START_GRACE)
    return (Verdict.FAULT, lost_at) if now >= lost_at else (Verdict.OK, facts.last_seen_at)


def device_verdict(facts: DeviceFacts, *, gateway_is_lost: bool, now: datetime) -> Said | None:
    """Judge a device by its gateway's word. With the gateway lost nothing can be said: NO_EVAL."""
    if facts.state_since is None:
        return None
    if gateway_is_lost:
        return Verdict.NO_EVAL, now
    match facts.state:
        case "offline":
            return Verdict.FAULT, facts.state_since
        case "online":
            return Verdict.OK, facts.state_since
        case _:
            return Verdict.NO_EVAL, facts.state_since


def stale_verdict(
    facts: DeviceFacts, gateway: GatewayFacts, *, gateway_is_lost: bool, now: datetime, started_at: datetime
) -> Said | None:
    """Judge whether observations of a polled device still arrive.

    While the gateway is lost, or still sends what it had stored, an old observation proves nothing; nor does it before
    a gateway that was away together with the evaluator has polled its devices.
    """
    if facts.poll_s is None or facts.observed_at is None:
        return None
    is_catching_up = gateway.waiting_since is not None and now - gateway.waiting_since > CATCHING_UP_AFTER
    if gateway_is_lost or is_catching_up or facts.state == "offline":
        return Verdict.NO_EVAL, now
    three_polls = timedelta(seconds=3 * facts.poll_s)
    stale_at = facts.observed_at + max(three_polls, STALE_AT_LEAST)
    if now < stale_at:
        return Verdict.OK, facts.observed_at
    counts_from = started_at + START_GRACE + max(three_polls, SETTLE_AT_LEAST)
    return (Verdict.FAULT, max(stale_at, counts_from)) if now >= counts_from else (Verdict.NO_EVAL, now)


def group_verdict(devices: Sequence[DeviceFacts], *, gateway_is_lost: bool, now: datetime) -> Said | None:
    """Judge a shared bus or a panel: silent when all of its devices are; None for one with a single device."""
    known = [d for d in devices if d.state_since is not None]
    if len(known) < DEVICES_OF_A_GROUP_MIN:
        return None
    if gateway_is_lost:
        return Verdict.NO_EVAL, now
    newest = max(d.state_since for d in known if d.state_since)
    return (Verdict.FAULT if all(d.state == "offline" for d in known) else Verdict.OK), newest


def hold_back(child: DeviceFacts, slowest: timedelta) -> timedelta:
    """How long a device's alarm waits for its gateway, bus and panels: H >= T_parent + E + P_child - T_child.

    A gateway that dies of the same cause may send one more heartbeat after it called the device silent; its own loss is
    known a gateway timeout later. A bus or a panel is known to be silent when its slowest device is: `slowest` is the
    longest detection time on those of the device, T_parent.
    """
    if not slowest:
        return GATEWAY_KNOWN_AFTER
    return max(GATEWAY_KNOWN_AFTER, slowest + EVALUATION_PERIOD + _poll(child) - _timeout(child))


def hold_back_of_group(slowest: timedelta) -> timedelta:
    """How long a bus or a panel waits for its gateway and for the groups above it, given their slowest device."""
    return max(GATEWAY_KNOWN_AFTER, slowest + EVALUATION_PERIOD)


def slowest_of(devices: Sequence[DeviceFacts]) -> timedelta:
    """Return the longest detection time of a group; zero for a group too small to be judged."""
    if len(devices) < DEVICES_OF_A_GROUP_MIN:
        return timedelta(0)
    return max(detection_time(d) for d in devices)


def detection_time(device: DeviceFacts) -> timedelta:
    """Return the longest time from a device's silence to its being noticed."""
    return _timeout(device) + _poll(device)


def linger(device: DeviceFacts) -> timedelta:
    """How long a parent goes on explaining a device after its own return: the device's detection time, twice."""
    return 2 * detection_time(device) + EVALUATION_PERIOD


def policy(rule: str) -> Policy:
    """How communication losses alarm: acknowledged by the return, a short relapse is the same case.

    Everything but gateways is given its hold-back one by one.
    """
    return Policy(
        hold_back=GATEWAY_KNOWN_AFTER if rule in GROUPS else timedelta(0),
        reopen_within=timedelta(0) if rule == GATEWAY_LOST else _REOPEN,
        acknowledged_by_return=True,
    )


def _poll(device: DeviceFacts) -> timedelta:
    return timedelta(seconds=device.poll_s or _DEFAULT_POLL_S)


def _timeout(device: DeviceFacts) -> timedelta:
    return timedelta(seconds=device.timeout_s or 3 * (device.poll_s or _DEFAULT_POLL_S))
