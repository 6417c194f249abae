"""Identifiers of rows that several packages name."""

from typing import NewType

OrganisationId = NewType("OrganisationId", int)
SiteId = NewType("SiteId", int)
BuildingId = NewType("BuildingId", int)
FloorId = NewType("FloorId", int)
SpaceId = NewType("SpaceId", int)
EquipmentId = NewType("EquipmentId", int)
TenantId = NewType("TenantId", int)
LeaseId = NewType("LeaseId", int)
GatewayId = NewType("GatewayId", int)
DeviceId = NewType("DeviceId", int)
PointId = NewType("PointId", int)
MeterId = NewType("MeterId", int)
RegisterId = NewType("RegisterId", int)
UserId = NewType("UserId", int)
