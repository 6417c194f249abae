"""The English texts that a module can say, read from its source: f-strings as templates with {} for what is put in."""

import ast
from pathlib import Path

NOT_SAID = {"Field", "get_logger", "compile", "ConfigDict", "execute", "info", "warning", "error", "exception"}


def messages(path: Path) -> set[str]:
    """Every text of a file that is a sentence or a part of one: with a space or punctuation, and no documentation."""
    found: set[str] = set()
    _collect(ast.parse(path.read_text(encoding="utf-8")), found)
    return {text for text in found if " " in text.strip() and any(character.isalpha() for character in text)}


def _collect(node: ast.AST, found: set[str]) -> None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # A docstring.
    if isinstance(node, ast.Call) and _name(node.func) in NOT_SAID:
        return
    if isinstance(node, ast.JoinedStr):
        found.add("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                _collect(part.value, found)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.add(node.value)
    for child in ast.iter_child_nodes(node):
        _collect(child, found)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
