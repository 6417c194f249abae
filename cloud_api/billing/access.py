"""Who may open what: the only road from a person to a bill or a run. "Not yours" looks like "not there"."""

from psycopg import AsyncConnection

from cloud_api.billing import service
from cloud_api.billing.repository import Row
from cloud_api.identity.model import StaffViewer, TenantViewer, Viewer
from cloud_api.kit.errors import NotFound

SEEN_BY_TENANTS = frozenset({"issued", "credited"})


async def access_bill(conn: AsyncConnection, viewer: Viewer, bill: str | int) -> Row:
    """Return a bill by number or id: of the organisation for staff, an own issued one for a tenant. Raises NotFound.

    The database's row-level security holds the same rule a second time.
    """
    found = await service.get_bill(conn, bill)
    if found["organisation_id"] != viewer.organisation_id:
        raise NotFound("there is no bill {bill}", bill=bill)
    if isinstance(viewer, TenantViewer) and not (
        found["tenant_id"] == viewer.tenant_id and found["state"] in SEEN_BY_TENANTS
    ):
        raise NotFound("there is no bill {bill}", bill=bill)
    return found


async def access_run(conn: AsyncConnection, viewer: StaffViewer, run_id: int) -> Row:
    """Return a run of the viewer's organisation with its bills and history. Raises NotFound."""
    found = await service.get_run(conn, run_id)
    if found["organisation_id"] != viewer.organisation_id:
        raise NotFound("there is no bill run {run_id}", run_id=run_id)
    return found
