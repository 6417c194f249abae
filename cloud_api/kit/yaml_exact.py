"""YAML read exactly: numbers as Decimal, no value lost to a repeated key, and the line of every value."""

from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

Path = tuple[str | int, ...]
NODES_MAX = 200_000


class YamlProblem(ValueError):
    """The text is not the YAML we accept; the message names the line."""


def load_exact(text: str) -> tuple[Any, dict[Path, int]]:
    """Return the data and, for each path into it, its line (from 1).

    Numbers become `int` or `Decimal`, never `float`; a time such as 7:00 stays text (YAML 1.1 would make it 420), and
    so do `off` and `no`. Dates stay text, for pydantic to read. Raises YamlProblem for syntax errors and repeated keys.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise YamlProblem(f"line {line}: {error.problem or 'not valid YAML'}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(f"line {line}: a character that YAML does not allow; save the file as UTF-8 text") from error
    lines: dict[Path, int] = {}
    if node is not None and _count(node, NODES_MAX) > NODES_MAX:
        raise YamlProblem(f"line 1: more than {NODES_MAX:,} values (aliases count each time they are used)")
    return (None if node is None else _value(node, (), lines)), lines


def _count(node: yaml.Node, limit: int) -> int:
    """Count the values, stopping soon after `limit`: nested aliases could name billions."""
    count = 0
    waiting = [node]
    while waiting and count <= limit:
        current = waiting.pop()
        count += 1
        if isinstance(current, yaml.MappingNode):
            waiting += [value for _, value in current.value]
        elif isinstance(current, yaml.SequenceNode):
            waiting += current.value
    return count


def _value(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), lines) for i, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in found:
            raise YamlProblem(f"line {key_node.start_mark.line + 1}: {key!r} stands there twice")
        found[key] = _value(value_node, (*path, key), lines)
    return found


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    match node.tag.rsplit(":", 1)[-1]:
        case "null":
            return None
        case "bool" if text.lower() in {"true", "false"}:  # As in YAML 1.2: `off` and `no` are words.
            return text.lower() == "true"
        case "int" | "float" if ":" not in text:
            return _number(text)
        case _:
            return text


def _number(text: str) -> int | Decimal | str:
    plain = text.replace("_", "")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        return Decimal(plain)
    except InvalidOperation:
        return text
