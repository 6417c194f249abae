"""What is wrong, told by a tenant: a request for a repair, and what became of it."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service as leasing
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import PortalPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.workorders import service

router = APIRouter(prefix="/portal/repairs")
NAV = NavItem(group="portal", order=40, label=N_("Repairs"), href="/portal/repairs", icon="work")


@router.get("")
async def show(page: PortalPage) -> Response:
    """Show the form and the tenant's own requests."""
    return page.render(
        "portal/repairs.html",
        requests=await service.access_requests(page.conn, page.viewer),
    )


@router.post("")
async def ask(
    page: PortalPage,
    title: Annotated[str, Form(max_length=200)],
    description: Annotated[str, Form(max_length=4000)] = "",
    photo: UploadFile | None = None,
) -> Response:
    """Tell the park what is wrong; it waits for approval."""
    site = await leasing.find_site(page.conn)
    order = await service.request(
        page.conn,
        page.clock,
        site_id=site.id,
        title=title,
        description=description,
        actor=page.viewer.login,
        tenant_id=page.viewer.tenant_id,
    )
    if photo is not None and photo.filename:
        content = await photo.read(service.PHOTO_BYTES_MAX + 1)
        kind = photo.content_type or ""
        await service.add_photo(page.conn, page.clock, order, content, kind, actor=page.viewer.login)
    return page.redirect("/portal/repairs", notice=_("Told; the park looks at it."))
