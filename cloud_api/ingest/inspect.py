"""What was sent in vain, for the command `cloud-api rejected`: one JSON object per line."""

import base64
from typing import Any

import orjson

from cloud_api.db.pool import make_pool, transaction
from cloud_api.ingest import repository
from cloud_api.ingest.sparkplug import failures
from cloud_api.kit.scope import SYSTEM


async def lines_about(database_url: str, limit: int) -> list[str]:
    """Return the newest rejections of all gateways, then the newest Sparkplug messages whose handling failed."""
    async with make_pool(database_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        rejections = await repository.rejections(conn, limit)
        failed = await failures.newest(conn, limit)
    return [*(_line("observation", row) for row in rejections), *(_line("sparkplug", row) for row in failed)]


def _line(kind: str, row: dict[str, Any]) -> str:
    return orjson.dumps({"kind": kind} | row, default=lambda value: base64.b64encode(value).decode()).decode()
