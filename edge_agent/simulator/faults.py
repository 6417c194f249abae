"""Faults put into the building on purpose: what can be broken, since when, how much, and until when.

The journal is kept on disk, because the state of a minute depends on the faults before it: a simulator that is started
again finds the same building.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.simulator.hvac import Fault

ENTRIES_MAX = 1000
SILENT = "silent"  # The device does not answer; handled where devices are served.


class FaultError(ValueError):
    """A fault that cannot be: unknown target, kind or size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One way to break something."""

    name: str
    targets: tuple[str, ...]  # Beginnings of device or equipment codes; empty for any.
    size: float  # Default.
    low: float
    high: float
    unit: str
    en: str
    zh: str


def _kind(name: str, targets: str, size: float, limits: tuple[float, float], unit: str, en: str, zh: str) -> FaultKind:
    codes = tuple(targets.split())
    return FaultKind(name=name, targets=codes, size=size, low=limits[0], high=limits[1], unit=unit, en=en, zh=zh)


KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        _kind(SILENT, "", 1, (1, 1), "", "does not answer", "不应答"),
        _kind("oa_damper_stuck", "ahu-", 90, (0, 100), "%", "outdoor-air damper stuck at", "新风阀卡在"),
        _kind("cooling_valve_leak", "ahu- fcu- idu-", 20, (1, 100), "%", "cooling valve leaks", "冷水阀内漏"),
        _kind("heating_valve_leak", "ahu- fcu- idu-", 20, (1, 100), "%", "heating valve leaks", "热水阀内漏"),
        _kind("cooling_valve_stuck", "ahu-", 0, (0, 100), "%", "cooling valve stuck at", "冷水阀卡在"),
        _kind("supply_fan_failed", "ahu-", 1, (1, 1), "", "supply fan does not start", "送风机不启动"),
        _kind("after_hours", "ahu- fcu- idu- chiller- hp-", 1, (1, 1), "", "runs after hours", "非工作时间运行"),
        _kind("fan_failed", "fcu- idu-", 1, (1, 1), "", "fan does not turn", "风机不转"),
        _kind("short_cycling", "chiller- hp-", 4, (2, 30), "min", "switches every", "频繁启停，间隔"),
        _kind("low_efficiency", "chiller- hp- vrf-", 25, (1, 80), "%", "efficiency lost", "能效下降"),
        _kind(
            "low_delta_t",
            "chiller- hp-",
            1,
            (1, 1),
            "",
            "pump at full speed, low temperature difference",
            "小温差大流量",
        ),
        _kind("failed", "chiller- hp- vrf- pump-", 1, (1, 1), "", "does not start", "不启动"),
        _kind("runs_on", "pump-", 1, (1, 1), "", "runs without command", "无指令运行"),
        _kind("phase_loss", "meter-", 1, (1, 3), "", "loses phase", "缺相"),
        _kind("reversed_ct", "meter-", 1, (1, 3), "", "current transformer reversed on phase", "互感器反接"),
        _kind("register_stuck", "meter-", 1, (1, 1), "", "energy register stands still", "电能寄存器停走"),
        _kind("low_power_factor", "meter-", 0.7, (0.3, 0.9), "", "power factor falls to", "功率因数降至"),
        _kind("imbalance", "meter-", 50, (20, 150), "%", "first phase carries more by", "首相电流偏大"),
        _kind("clock_off", "meter-pq", 300, (-86_400, 86_400), "s", "clock is off by", "时钟偏差"),
        _kind("leak", "water-", 0.5, (0.02, 20), "m³/h", "pipe leaks", "管道漏水"),
        _kind("night_load", "meter-", 5, (0.5, 200), "kW", "left on from 20 to 7 o'clock", "20 点至 7 点漏关负荷"),
        _kind(
            "drift",
            "",
            3,
            (-1000, 1000),
            "unit of the point",
            "sensor off by (name the point)",
            "传感器偏移（需指定测点）",
        ),
        _kind(
            "stuck",
            "",
            0,
            (-1e6, 1e6),
            "unit of the point",
            "sensor stuck at (name the point)",
            "传感器卡死（需指定测点）",
        ),
    )
}
_NEED_POINT = {"drift", "stuck"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """One fault from `from_ms` until `until_ms` (None: until cleared)."""

    target: str
    kind: str
    size: float
    point: str | None
    from_ms: int
    until_ms: int | None = None

    @property
    def key(self) -> str:
        """How the model asks for it: `drift_room_temperature`."""
        return self.kind if self.point is None else f"{self.kind}_{self.point}"


class FaultJournal:
    """All faults ever injected, and which of them hold in a minute."""

    def __init__(self, path: Path | None = None) -> None:
        """Keep the journal in `path`, or only in memory; raises FaultError when the file cannot be read."""
        self.path = path
        self.entries: list[Injected] = []
        if path is not None and path.exists():
            try:
                self.entries = [Injected(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise FaultError(f"{path}: not a fault journal ({error}); remove it to start without faults") from error

    def set(
        self,
        target: str,
        kind: str,
        *,
        at_ms: int,
        size: float | None = None,
        point: str | None = None,
        known: Sequence[str] = (),
    ) -> Injected:
        """Begin a fault; a fault of the same kind on the same target is replaced. Raises FaultError."""
        rule = KINDS.get(kind)
        if rule is None:
            raise FaultError(f"no fault “{kind}”; there are: {', '.join(sorted(KINDS))}")
        if known and target not in known:
            raise FaultError(f"no device or equipment “{target}” in this building")
        if rule.targets and not target.startswith(rule.targets):
            raise FaultError(f"{kind} is for {', '.join(f'{code}*' for code in rule.targets)}, not {target}")
        if (point is None) is (kind in _NEED_POINT):
            raise FaultError(f"{kind} needs a point" if kind in _NEED_POINT else f"{kind} takes no point")
        size = rule.size if size is None else size
        if not rule.low <= size <= rule.high:
            raise FaultError(f"{kind}: size {size:g} is outside {rule.low:g}…{rule.high:g} {rule.unit}".rstrip())
        if len(self.entries) >= ENTRIES_MAX:
            raise FaultError(f"the journal holds {ENTRIES_MAX} faults; remove {self.path} to start over")
        self.clear(target, kind, at_ms=at_ms, point=point)
        entry = Injected(target=target, kind=kind, size=size, point=point, from_ms=at_ms)
        self.entries.append(entry)
        self._save()
        return entry

    def clear(self, target: str, kind: str | None = None, *, at_ms: int, point: str | None = None) -> int:
        """End the faults of a target, or one kind of them; returns how many ended."""
        ended = 0
        for index, entry in enumerate(self.entries):
            if entry.target == target and entry.until_ms is None and kind in {None, entry.kind}:
                if point is not None and entry.point != point:
                    continue
                self.entries[index] = Injected(**{**asdict(entry), "until_ms": at_ms})
                ended += 1
        if ended:
            self._save()
        return ended

    def active(self, at_ms: int) -> list[Injected]:
        """Return the faults that hold at an instant."""
        return [e for e in self.entries if e.from_ms <= at_ms and (e.until_ms is None or at_ms < e.until_ms)]

    def at_minute(self, minute: int) -> Mapping[str, Fault]:
        """For the model: target → kind → size, in the minute that begins at `minute` (since 1970)."""
        if not self.entries:
            return {}
        found: dict[str, dict[str, float]] = {}
        for entry in self.active(minute * 60_000):
            found.setdefault(entry.target, {})[entry.key] = entry.size
        return found

    def is_silent(self, target: str, at_ms: int) -> bool:
        """Whether a device is silenced; takes effect at once, not at the next minute."""
        return any(e.target == target and e.kind == SILENT for e in self.active(at_ms)) if self.entries else False

    def _save(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps([asdict(entry) for entry in self.entries], indent=1), encoding="utf-8")
        draft.replace(self.path)

    def as_json(self, at_ms: int) -> list[dict[str, Any]]:
        """Return the active faults, for people and programs."""
        return [asdict(entry) for entry in self.active(at_ms)]
