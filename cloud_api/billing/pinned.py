"""What an issued bill pinned, read again: the revision of its tariff."""

from psycopg import AsyncConnection

from cloud_api.billing.repository import Row, one, queries
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.tariff_file import load_dumped


async def tariff_of(conn: AsyncConnection, bill: Row) -> Tariff:
    """Return the tariff in the revision that a bill was rated with; tariffs are never deleted."""
    pinned = bill["snapshot"]["tariff"]
    values = {"organisation_id": bill["organisation_id"], "code": pinned["code"], "revision": pinned["revision"]}
    found = await one(conn, queries.tariff_revision, values)
    assert found is not None
    return load_dumped(found["content"])
