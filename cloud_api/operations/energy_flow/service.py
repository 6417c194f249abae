"""Where the energy of a period went."""

from psycopg import AsyncConnection

from cloud_api.kit.period import Period
from cloud_api.metering import analysis
from cloud_api.metering import service as metering
from cloud_api.operations.energy_flow.flow import Flow, flow


async def energy_flow(conn: AsyncConnection, period: Period) -> Flow:
    """Return the flows along the viewer's electricity meters."""
    meters = [meter for meter in await analysis.meters(conn) if meter.utility == "electricity"]
    return flow(meters, await metering.energy_by_meter(conn, [meter.id for meter in meters], period))
