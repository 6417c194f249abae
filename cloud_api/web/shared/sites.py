"""The choice of a site in forms: shown only where there are several."""

from psycopg import AsyncConnection

from cloud_api.billing.service import list_sites
from cloud_api.kit.i18n import in_language


async def site_options(conn: AsyncConnection) -> list[tuple[str, str]]:
    """Return (code, name) of every site that the viewer may see, by name."""
    return [(row["code"], in_language(row["name_zh"], row["name_en"])) for row in await list_sites(conn)]
