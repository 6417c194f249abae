"""Every text that a refusal can say, read from the source: what the catalogue must translate."""

import ast
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from cloud_api.billing.states import RunState, Step
from cloud_api.workorders.model import Action, State

ROOT = Path(__file__).parents[2]
# Named inside a refusal by their value: the states and steps of bill runs, bills, work orders and leases.
_STATES: tuple[type[StrEnum], ...] = (RunState, Step, State, Action)
STATE_NAMES = sorted(
    {name.value.replace("_", " ") for names in _STATES for name in names}
    | {"paid", "part paid", "overdue", "credited", "exception"}
    | {"application", "review", "approved", "active", "ended", "rejected"}
)
# What speaks to the edge agent and to a terminal, never to a page: English only.
_ENGLISH_ONLY = ("cloud_api/ingest/",)


def _sources() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "cloud_api").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if "node_modules" not in name and not name.startswith(_ENGLISH_ONLY) and not name.endswith("cli.py"):
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _refusal_classes(sources: dict[str, ast.Module]) -> dict[str, list[ast.ClassDef]]:
    """Return the classes below DomainError by name; two modules may use one name."""
    known: dict[str, list[ast.ClassDef]] = {"DomainError": []}
    classes = [n for tree in sources.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    for _ in range(3):  # Depth of the inheritance.
        for found in classes:
            if any(isinstance(base, ast.Name) and base.id in known for base in found.bases):
                same = known.setdefault(found.name, [])
                same += [found] if found not in same else []
    return known


def _has_own_text(found: list[ast.ClassDef]) -> bool:
    return any(isinstance(n, ast.FunctionDef) and n.name == "__init__" for c in found for n in c.body)


def texts() -> Iterator[tuple[str, str | None]]:
    """Yield (place, message) of every refusal and `Text`; the message is None where it is no literal."""
    sources = _sources()
    classes = _refusal_classes(sources)
    for name, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
                yield from ((f"{name}:{node.lineno}", _first_line(c)) for c in classes.get(node.exc.id, []))
            elif isinstance(node, ast.Call):
                yield from ((f"{name}:{node.lineno}", text) for text in _said(node, classes))
        yield from _own_texts(name, tree, classes)


def _said(call: ast.Call, classes: dict[str, list[ast.ClassDef]]) -> Iterator[str | None]:
    kind = call.func.id if isinstance(call.func, ast.Name) else ""
    first = call.args[0] if call.args else None
    literal = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    if kind == "Text":
        if literal is not None:  # Names of states are told apart by their enumeration, see the test.
            yield literal
    elif kind in classes and not _has_own_text(classes[kind]):
        yield from [_first_line(c) for c in classes[kind]] if first is None else [literal]


def _own_texts(
    name: str, tree: ast.Module, classes: dict[str, ast.ClassDef | None]
) -> Iterator[tuple[str, str | None]]:
    """Yield what classes with an `__init__` of their own hand to DomainError."""
    for found in (
        n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name in classes and n.name != "DomainError"
    ):
        for call in (n for n in ast.walk(found) if isinstance(n, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__" and call.args:
                first = call.args[0]
                yield f"{name}:{call.lineno}", first.value if isinstance(first, ast.Constant) else None


def _first_line(found: ast.ClassDef) -> str | None:
    text = ast.get_docstring(found)
    return text.splitlines()[0] if text else None
