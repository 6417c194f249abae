"""Fault rules as data: read from YAML, checked as a whole (roles, units, parameters, links, translations)."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_api.faults import derived
from cloud_api.faults.expressions import Expression, ExpressionError, compile_expression
from cloud_api.faults.units import UnitError, quantity, unit_named

log = structlog.get_logger()
RULES = Path(__file__).with_name("rules")
ROLES = Path(__file__).with_name("roles.yaml")
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
    when: str
    gate: str = ""
    unless: tuple[str, ...] = ()
    states: tuple[Literal[0, 1, 2, 3, 4, 5], ...] = ()
    params: dict[str, str | float | bool] = {}
    delay: str = "0 s"
    clear: str = f"{_CLEAR_DEFAULT_S} s"
    suppressed_by: tuple[str, ...] = ()
    explained_by: tuple[str, ...] = ()
    explained_by_supply: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    is_trigger: bool = False
    reference: str = ""
    note: str = ""
    waste: str = ""  # kW of electricity, or m³/h where the resource is water.
    resource: Literal["electricity", "water"] = "electricity"
    impact: Literal["energy", "unbilled", "comfort", "data", "safety", "water"] = "energy"
    hours_per_day: float = Field(default=12.0, gt=0, le=24)
    playbook: _Steps


class _FamilyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    family: str
    brick: tuple[str, ...]
    rules: tuple[dict[str, Any], ...]


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
        return Rule(
            id=self.id, family=self.family, spec=self.spec, params=params, param_units=self.param_units,
            delay_s=delay_s, clear_s=clear_s,
        )  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All rules and the families they belong to; `problems` says which rules or files were left out, and why."""

    rules: Mapping[str, Rule]
    families: Mapping[str, tuple[str, ...]]
    bricks: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def family(self, name: str) -> list[Rule]:
        """Return the rules of a family; raises RuleError with the known families."""
        if name not in self.families:
            raise RuleError(f"no equipment family {name!r}; known: {', '.join(sorted(self.families))}")
        return [self.rules[i] for i in self.families[name]]


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


_own_folder: list[Path] = []


def use_own_rules(folder: Path | None) -> None:
    """Add the rule files (*.yaml) of a site's own folder to the shipped ones, from now on in this process."""
    _own_folder[:] = [folder] if folder is not None else []
    catalogue.cache_clear()


@cache
def catalogue() -> Catalogue:
    """Return every rule that the product ships, and those of the site's own folder.

    A rule that cannot be used is left out and listed in `problems`; it never blocks another.
    """
    own = [path for folder in _own_folder for path in sorted(folder.glob("*.yaml"))]
    problems: list[str] = []
    found = load_catalogue([*sorted(RULES.glob("*.yaml")), *own], problems)
    for problem in problems:
        log.warning("fault_rule_refused", problem=problem)
    return found


def load_catalogue(files: Iterable[Path], problems: list[str] | None = None) -> Catalogue:
    """Read and check rule files as one whole; raises RuleError with file, line, rule and remedy.

    With a list for `problems` the rest is used instead: what is wrong is left out and written there.
    """
    rules: dict[str, Rule] = {}
    families: dict[str, tuple[str, ...]] = {}
    bricks: dict[str, str] = {}
    for path in files:
        with _contained(problems):
            content, lines = _read(path)
            here = []
            for line, given in zip(lines, content.rules, strict=True):
                with _contained(problems):
                    spec = _spec(path, line, given)
                    if spec.id in rules:
                        raise RuleError(f"{path.name}:{line.start}: {spec.id} stands there twice")
                    rules[spec.id] = _check(f"{path.name}:{line.start}: {spec.id}", content.family, spec)
                    here.append(spec.id)
            families[content.family] = (*families.get(content.family, ()), *here)
            bricks |= dict.fromkeys(content.brick, content.family)
    for name in _broken_links(rules, problems):
        del rules[name]
    usable = {family: tuple(i for i in ids if i in rules) for family, ids in families.items()}
    return Catalogue(rules=rules, families=usable, bricks=bricks, problems=tuple(problems or ()))


@contextmanager
def _contained(problems: list[str] | None) -> Generator[None]:
    try:
        yield
    except RuleError as error:
        if problems is None:
            raise
        problems.append(str(error))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """Where a rule and its keys stand in the file."""

    start: int
    keys: Mapping[str, int]


def _read(path: Path) -> tuple[_FamilyFile, list[_Lines]]:
    try:
        text = path.read_text(encoding="utf-8")
        content = _FamilyFile.model_validate(yaml.safe_load(text))
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path.name}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise RuleError(f"{path.name}: not YAML: {error}") from error
    except ValidationError as error:
        raise RuleError(f"{path.name}: {_first(error)}") from error
    return content, _lines_of(yaml.compose(text, Loader=yaml.SafeLoader))


def _lines_of(node: yaml.Node | None) -> list[_Lines]:
    if not isinstance(node, yaml.MappingNode):
        return []
    listed = next(value for key, value in node.value if key.value == "rules")
    found = []
    for item in listed.value:
        keys = {key.value: key.start_mark.line + 1 for key, _ in item.value}
        found.append(_Lines(start=keys.get("id", item.start_mark.line + 1), keys=keys))
    return found


def _spec(path: Path, lines: _Lines, given: Mapping[str, Any]) -> RuleSpec:
    try:
        return RuleSpec.model_validate(given)
    except ValidationError as error:
        key = str(next(iter(error.errors(include_url=False)[0]["loc"]), ""))
        where = f"{path.name}:{lines.keys.get(key, lines.start)}: {given.get('id', 'a rule without id')}"
        raise RuleError(f"{where}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"


def _check(where: str, family: str, spec: RuleSpec) -> Rule:
    units: dict[str, str] = {}
    params: dict[str, float] = {}
    for name, given in spec.params.items():
        units[name] = _unit_of(where, name, given)
        params[name] = _parameter(where, name, given, units[name])
    if len(spec.playbook.zh) != len(spec.playbook.en):
        raise RuleError(
            f"{where}: the playbook has {len(spec.playbook.zh)} steps in zh and {len(spec.playbook.en)} in en"
        )
    everything = frozenset(roles()) | derived.NAMES
    try:
        for source in (spec.when, _gate_source(spec), *spec.unless, spec.waste):
            if source:
                compile_expression(source, everything, params)
    except ExpressionError as error:
        raise RuleError(f"{where}: {error}") from error
    return Rule(
        id=spec.id,
        family=family,
        spec=spec,
        params=params,
        param_units=units,
        delay_s=_seconds(where, "delay", spec.delay),
        clear_s=_seconds(where, "clear", spec.clear),
    )


def _broken_links(rules: Mapping[str, Rule], problems: list[str] | None) -> set[str]:
    """Return the rules whose links name what does not exist or run in a circle; raises RuleError when strict."""
    broken: set[str] = set()
    for rule in rules.values():
        with _contained(problems):
            for key in ("suppressed_by", "explained_by", "explained_by_supply"):
                for other in getattr(rule.spec, key):
                    if other not in rules:  # The link is idle; the rule itself is sound.
                        raise RuleError(f"{rule.id}: {key} names {other}, which does not exist")
    for what, above in (
        ("suppression", {name: frozenset(rule.spec.suppressed_by) for name, rule in rules.items()}),
        # Two faults that explain each other would hide both.
        ("explained_by", {name: explainers(rule, rules) for name, rule in rules.items()}),
    ):
        ring = _ring({n: a for n, a in above.items() if n not in broken})
        with _contained(problems):
            if ring:
                broken |= ring
                raise RuleError(f"{what} runs in a circle: {', '.join(sorted(ring))}")
    return broken


def _ring(above: Mapping[str, frozenset[str]]) -> set[str]:
    waiting = dict(above)
    while free := [name for name, names in waiting.items() if not names & waiting.keys()]:
        for name in free:
            del waiting[name]
    # What only stands below a ring is not part of it.
    while loose := [n for n in waiting if not any(n in names for names in waiting.values())]:
        for name in loose:
            del waiting[name]
    return set(waiting)


def explainers(rule: Rule, rules: Mapping[str, Rule]) -> frozenset[str]:
    """Return the rules whose fault on the same equipment explains this one: by name, or as trigger of its cluster."""
    triggers = {
        other.id
        for other in rules.values()
        if other.spec.is_trigger and not rule.spec.is_trigger and set(other.spec.cluster) & set(rule.spec.cluster)
    }
    return frozenset((*rule.spec.suppressed_by, *rule.spec.explained_by, *triggers)) - {rule.id}


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
