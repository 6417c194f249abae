"""Fault rules as data: read from YAML, checked as a whole (roles, units, parameters, links, translations)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from cloud_api.faults import derived
from cloud_api.faults.expressions import Expression, ExpressionError, compile_expression
from cloud_api.faults.units import UnitError, quantity, unit_named

ROLES = Path(__file__).with_name("roles.yaml")
EXPRESSION_CHARACTERS_MAX = 2000
_CLEAR_DEFAULT_S = 300.0
Given = str | float | bool


class RuleError(ValueError):
    """A rule file cannot be used; the text names file, rule and what to mend."""


class RoleSpec(BaseModel):
    """One canonical role of the dictionary `roles.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    unit: str
    brick: str = ""
    zh: str
    en: str
    aliases: tuple[str, ...] = ()


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class _Steps(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    zh: tuple[str, ...] = Field(min_length=1)
    en: tuple[str, ...] = Field(min_length=1)


class RuleSpec(BaseModel):
    """One rule as it stands in the file; durations and parameters carry their unit ('1800 s', '25 Pa')."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[A-Z]{2,6}-[0-9]{2,4}[a-z]?$")
    severity: Literal[1, 2, 3, 4]
    title: _Text
    when: str = Field(max_length=EXPRESSION_CHARACTERS_MAX)
    gate: str = Field(default="", max_length=EXPRESSION_CHARACTERS_MAX)
    unless: tuple[str, ...] = ()
    states: tuple[Literal[0, 1, 2, 3, 4, 5], ...] = ()
    params: dict[str, str | float | bool] = {}
    delay: str = "0 s"
    clear: str = f"{_CLEAR_DEFAULT_S} s"
    suppressed_by: tuple[str, ...] = ()
    explained_by: tuple[str, ...] = ()
    explained_by_supply: tuple[str, ...] = ()
    explained_by_feeder: tuple[str, ...] = ()  # On a meter that stands above this one in the tree.
    cluster: tuple[str, ...] = ()
    is_trigger: bool = False
    reference: str = ""
    note: str = ""
    waste: str = ""  # kW of electricity, or m³/h where the resource is water.
    resource: Literal["electricity", "water"] = "electricity"
    impact: Literal["energy", "unbilled", "comfort", "data", "safety", "water"] = "energy"
    hours_per_day: float = Field(default=12.0, gt=0, le=24)
    playbook: _Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A checked rule: parameters in canonical units, delays in seconds."""

    id: str
    family: str
    spec: RuleSpec
    params: Mapping[str, float]
    param_units: Mapping[str, str]
    delay_s: float
    clear_s: float

    def with_params(self, changed: Mapping[str, str | float | bool]) -> "Rule":
        """Return the rule with other parameters ('3 degF', 12); raises RuleError for an unknown or impossible one."""
        params = dict(self.params)
        delay_s, clear_s = self.delay_s, self.clear_s
        for name, value in changed.items():
            if name in {"delay", "clear"}:
                seconds = _seconds(self.id, name, value)
                delay_s, clear_s = (seconds, clear_s) if name == "delay" else (delay_s, seconds)
                continue
            if name not in params:
                raise RuleError(f"{self.id}: no parameter {name!r}; it has {', '.join(sorted(params)) or 'none'}")
            params[name] = _parameter(self.id, name, value, self.param_units[name])
        _compiles(self.id, self.spec, params)
        return replace(self, params=params, delay_s=delay_s, clear_s=clear_s)

    def placed(self, names: Sequence[str]) -> "Rule":
        """Return the rule with other roles in place of its own, in alphabetical order of its own.

        So a rule of any kind looks at any point: PNT-04 (stuck value) placed on `sat` is PNT-04/sat. Raises RuleError.
        """
        own = sorted(_roles_of(self.spec, self.params))
        known = frozenset(roles()) | derived.NAMES
        if len(names) != len(own):
            raise RuleError(f"{self.id} looks at {', '.join(own)}: name {len(own)} roles, not {len(names)}")
        for name in names:
            if name not in known:
                raise RuleError(f"{self.id}: there is no role {name!r}")
        instead = dict(zip(own, names, strict=True))

        def put(source: str) -> str:
            return re.sub(r"[a-z_][a-z_0-9]*", lambda found: instead.get(found[0], found[0]), source)

        said = [roles()[n] for n in names if n in roles()]
        title = _Text(
            zh=f"{self.spec.title.zh}：{'、'.join(r.zh for r in said)}",
            en=f"{self.spec.title.en}: {', '.join(r.en for r in said)}",
        )
        spec = self.spec.model_copy(
            update={
                "id": f"{self.id}/{','.join(names)}",
                "title": title if said else self.spec.title,
                "when": put(self.spec.when),
                "gate": put(self.spec.gate),
                "unless": tuple(map(put, self.spec.unless)),
                "waste": put(self.spec.waste),
            }
        )
        return replace(self, id=spec.id, spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A rule compiled against the roles that an equipment has; with `missing` roles it is always NO_EVAL."""

    rule: Rule
    when: Expression | None
    gate: Expression | None
    unless: tuple[Expression, ...] = ()
    roles: frozenset[str]
    missing: tuple[str, ...]

    def memory_ticks(self, tick_s: int) -> int:
        """Return how many past values the rule remembers at most, however long it runs."""
        parts = (self.when, self.gate, *self.unless)
        return sum(part.memory_ticks(tick_s) for part in parts if part is not None)


@cache
def roles() -> dict[str, RoleSpec]:
    """Return the dictionary of roles."""
    content = yaml.safe_load(ROLES.read_text(encoding="utf-8"))
    found = {name: RoleSpec.model_validate(spec) for name, spec in content.items()}
    for name, spec in found.items():
        unit_named(spec.unit)
        if name in derived.NAMES:
            raise RuleError(f"roles.yaml: {name} is derived; it is not bound to a point")
    return found


@cache
def role_aliases() -> dict[str, str]:
    """Return every spelling of a role with its canonical name."""
    found = {}
    for name, spec in roles().items():
        for alias in (name, *spec.aliases):
            if found.setdefault(alias, name) != name:
                raise RuleError(f"roles.yaml: {alias!r} names both {found[alias]} and {name}")
    return found


def bind(rule: Rule, available: frozenset[str]) -> Bound:
    """Compile a rule for an equipment that has these roles; what it lacks is listed, not guessed."""
    given = available | derived.derivable(available)
    # A role of the same name as a parameter takes its place: the live set point beats the default.
    params = {name: value for name, value in rule.params.items() if name not in given}
    everything = frozenset(roles()) | derived.NAMES
    when = compile_expression(rule.spec.when, everything, params)
    gate = compile_expression(_gate_source(rule.spec), everything, params) if _gate_source(rule.spec) else None
    used = when.roles | (gate.roles if gate else frozenset())
    missing = sorted({lacking for name in used - given for lacking in derived.lacking(name, available)})
    if missing:
        return Bound(rule=rule, when=None, gate=None, roles=used, missing=tuple(missing))
    # An exemption counts only where its roles are there; a rule never fails for want of one.
    exempt = tuple(compile_expression(source, everything, params) for source in rule.spec.unless)
    exempt = tuple(e for e in exempt if e.roles <= given)
    return Bound(rule=rule, when=when, gate=gate, unless=exempt, roles=used, missing=())


def in_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules with every suppressor before what it suppresses."""
    waiting, done = {r.id: r for r in rules}, []
    while waiting:
        free = [r for r in waiting.values() if not any(s in waiting for s in r.spec.suppressed_by)]
        if not free:
            raise RuleError(f"suppression runs in a circle: {', '.join(sorted(waiting))}")
        done += [waiting.pop(rule.id) for rule in free]
    return done


def _gate_source(spec: RuleSpec) -> str:
    parts = [f"({spec.gate})"] if spec.gate else []
    if spec.states:
        parts.append("(" + " or ".join(f"operating_state == {s}" for s in spec.states) + ")")
        parts.append("mode_settled")
    return " and ".join(parts)


def check(where: str, family: str, spec: RuleSpec) -> Rule:
    """Return the rule of a specification; raises RuleError that begins with `where`."""
    units: dict[str, str] = {}
    params: dict[str, float] = {}
    for name, given in spec.params.items():
        units[name] = _unit_of(where, name, given)
        params[name] = _parameter(where, name, given, units[name])
    if len(spec.playbook.zh) != len(spec.playbook.en):
        raise RuleError(
            f"{where}: the playbook has {len(spec.playbook.zh)} steps in zh and {len(spec.playbook.en)} in en"
        )
    _compiles(where, spec, params)
    return Rule(
        id=spec.id,
        family=family,
        spec=spec,
        params=params,
        param_units=units,
        delay_s=_seconds(where, "delay", spec.delay),
        clear_s=_seconds(where, "clear", spec.clear),
    )


def _compiles(where: str, spec: RuleSpec, params: Mapping[str, float]) -> None:
    everything = frozenset(roles()) | derived.NAMES
    try:
        for source in (spec.when, _gate_source(spec), *spec.unless, spec.waste):
            if source:
                compile_expression(source, everything, params)
    except ExpressionError as error:
        raise RuleError(f"{where}: {error}") from error


def _roles_of(spec: RuleSpec, params: Mapping[str, float]) -> frozenset[str]:
    everything = frozenset(roles()) | derived.NAMES
    used = [compile_expression(s, everything, params).roles for s in (spec.when, _gate_source(spec)) if s]
    return frozenset().union(*used)


def _unit_of(where: str, name: str, given: Any) -> str:
    if not isinstance(given, str):
        return "1"
    unit = given.strip().partition(" ")[2]
    try:
        return unit_named(unit or "1")
    except UnitError as error:
        raise RuleError(f"{where}: parameter {name}: {error}") from error


def _parameter(where: str, name: str, given: Given, unit: str) -> float:
    try:
        value = quantity(given, unit)
    except UnitError as error:
        raise RuleError(f"{where}: parameter {name}: {error}") from error
    if value != value or abs(value) > 1e9:  # noqa: PLR0124  # NaN is not equal to itself.
        raise RuleError(f"{where}: parameter {name} = {given!r} is not a usable number")
    may_be_negative = unit == "degC" or name.endswith(("_coeff", "_intercept", "_slope", "mean"))
    if value < 0 and not may_be_negative:
        raise RuleError(f"{where}: parameter {name} = {given!r} must not be negative")
    if unit == "%" and value > 200:
        raise RuleError(f"{where}: parameter {name} = {given!r} is more than 200 %")
    return value


def _seconds(where: str, name: str, given: Given) -> float:
    try:
        seconds = quantity(given, "s")
    except UnitError as error:
        raise RuleError(f"{where}: {name}: {error}") from error
    if not 0 <= seconds <= 35 * 86_400:
        raise RuleError(f"{where}: {name} = {given!r} must lie between 0 and 35 days")
    return seconds
