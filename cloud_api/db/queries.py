"""Named SQL statements: each package keeps its own in `queries.sql`, and this loader makes them attributes."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import LiteralString, cast

_HEADER = re.compile(r"^--\s*name:\s*([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries:
    """The statements of one `queries.sql`; `queries.latest_reading` is the text after `-- name: latest_reading`.

    A statement without a purpose line (a comment right after its name) is refused, as is a name used twice.
    Write a literal percent sign as `%%`, also in comments: psycopg reads `%` as a placeholder.
    """

    def __init__(self, statements: Mapping[str, LiteralString]) -> None:
        self._statements = MappingProxyType(dict(statements))

    def __getattr__(self, name: str) -> LiteralString:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"no statement named {name!r}; known: {', '.join(sorted(self._statements))}") from None

    def names(self) -> list[str]:
        """Return the names of all statements, in order of appearance."""
        return list(self._statements)


def load_queries(beside: str, file_name: str = "queries.sql") -> Queries:
    """Load the SQL file that lies beside the Python file `beside` (pass `__file__`)."""
    path = Path(beside).with_name(file_name)
    parts = _HEADER.split(path.read_text(encoding="utf-8"))
    statements: dict[str, LiteralString] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        text = body.strip()
        if name in statements:
            raise ValueError(f"{path}: the statement {name!r} stands there twice")
        if not text.startswith("--"):
            raise ValueError(f"{path}: the statement {name!r} lacks its purpose line (a comment after the name)")
        # The file is part of the program, as trustworthy as a literal in the code.
        statements[name] = cast("LiteralString", text)
    return Queries(statements)
