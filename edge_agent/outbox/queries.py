"""The statements of queries.sql as attributes: `queries.insert_chunk`."""

from importlib import resources
from types import SimpleNamespace


def _load() -> SimpleNamespace:
    text = resources.files("edge_agent.outbox").joinpath("queries.sql").read_text(encoding="utf-8")
    statements = SimpleNamespace()
    for section in text.split("-- name: ")[1:]:
        name, _, body = section.partition("\n")
        setattr(statements, name.strip(), body.strip().removesuffix(";") if ";\n" not in body.strip() else body)
    return statements


queries = _load()
