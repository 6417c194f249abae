"""The rules that the product ships and those of a site: files read, checked as one whole, what is wrong left out."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cloud_api.faults.rules import Rule, RuleError, RuleSpec, check

log = structlog.get_logger()
RULES = Path(__file__).with_name("rules")


class _FamilyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    family: str
    brick: tuple[str, ...]
    rules: tuple[dict[str, Any], ...]


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


def rule_named(key: str) -> Rule:
    """Return a rule of the catalogue, or one placed on other roles (PNT-04/sat); raises RuleError."""
    name, slash, names = key.partition("/")
    rule = catalogue().rules.get(name)
    if rule is None:
        raise RuleError(f"there is no rule {name!r}")
    return rule.placed([n.strip() for n in names.split(",")]) if slash else rule


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
                    rules[spec.id] = check(f"{path.name}:{line.start}: {spec.id}", content.family, spec)
                    here.append(spec.id)
            families[content.family] = (*families.get(content.family, ()), *here)
            bricks |= dict.fromkeys(content.brick, content.family)
    for name in _broken_links(rules, problems):
        del rules[name]
    usable = {family: tuple(i for i in ids if i in rules) for family, ids in families.items()}
    return Catalogue(rules=rules, families=usable, bricks=bricks, problems=tuple(problems or ()))


def explainers(rule: Rule, rules: Mapping[str, Rule]) -> frozenset[str]:
    """Return the rules whose fault on the same equipment explains this one: by name, or as trigger of its cluster."""
    triggers = {
        other.id
        for other in rules.values()
        if other.spec.is_trigger and not rule.spec.is_trigger and set(other.spec.cluster) & set(rule.spec.cluster)
    }
    return frozenset((*rule.spec.suppressed_by, *rule.spec.explained_by, *triggers)) - {rule.id}


@contextmanager
def _contained(problems: list[str] | None) -> Generator[None]:
    try:
        yield
    except RuleError as error:
        if problems is None:
            raise
        problems.append(str(error))


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


def _broken_links(rules: Mapping[str, Rule], problems: list[str] | None) -> set[str]:
    """Return the rules whose links name what does not exist or run in a circle; raises RuleError when strict."""
    broken: set[str] = set()
    for rule in rules.values():
        with _contained(problems):
            for key in ("suppressed_by", "explained_by", "explained_by_supply", "explained_by_feeder"):
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
