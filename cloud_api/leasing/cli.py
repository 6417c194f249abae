"""Commands of services to tenants: air conditioning after hours, and notices; the use cases of the pages."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import after_hours, notices, service
from cloud_api.leasing.service import Site

hours_app = typer.Typer(no_args_is_help=True, help="Air conditioning after hours: request, approve, cancel, list.")
notice_app = typer.Typer(no_args_is_help=True, help="Notices to all tenants: list, post, withdraw.")

SiteOption = Annotated[str | None, typer.Option("--site", help="Code of the site; needed when there are several.")]
RequestId = Annotated[int, typer.Argument(help="Number of the request, as listed.")]
Step = Callable[[AsyncConnection, Site, Clock], Awaitable[str]]


class Kind(StrEnum):
    """What a notice is about."""

    story = "story"
    activity = "activity"
    news = "news"
    policy = "policy"
    service = "service"


@hours_app.command("list")
def list_requests(
    tenant: Annotated[str | None, typer.Option(help="Code of a tenant; none: all.")] = None, site: SiteOption = None
) -> None:
    """List requests, those that wait first."""

    async def step(conn: AsyncConnection, where: Site, _clock: Clock) -> str:
        tenant_id = None if tenant is None else await service.tenant_id(conn, where, tenant)
        lines = []
        for r in await after_hours.requests(conn, where.organisation_id, tenant_id=tenant_id):
            first, last = (at.astimezone(where.zone) for at in (r["starts_at"], r["ends_at"]))
            term = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
            lines.append(f"{r['id']}\t{r['state']}\t{r['space']}\t{term}\t{r['name_en']}")
        return "\n".join(lines) or "nobody has asked"

    _run(step, site)


@hours_app.command("request")
def request(
    tenant: Annotated[str, typer.Argument(help="Code of the tenant.")],
    space: Annotated[str, typer.Argument(help="Code of its space.")],
    starts: Annotated[str, typer.Option("--from", help="By the site's clock, such as 2026-11-05T19:00.")],
    ends: Annotated[str, typer.Option("--to", help="By the site's clock.")],
    site: SiteOption = None,
) -> None:
    """Ask for air conditioning outside the hours of a lease."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        tenant_id = await service.tenant_id(conn, where, tenant)
        period = {"starts": _instant(starts, where), "ends": _instant(ends, where)}
        who = {"actor": actor(), "clock": clock}
        done = await after_hours.request(conn, where, tenant_id=tenant_id, space=space, **period, **who)
        first, last = (done[edge].astimezone(where.zone) for edge in ("starts_at", "ends_at"))
        return f"request {done['id']} is {done['state']}, charged {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"

    _run(step, site)


@hours_app.command("decide")
def decide(
    request_id: RequestId,
    approve: Annotated[bool, typer.Option("--approve/--reject", help="The decision.")],
    reason: Annotated[str, typer.Option(help="Needed to reject.")] = "",
    site: SiteOption = None,
) -> None:
    """Approve or reject a request before it begins."""

    async def step(conn: AsyncConnection, _where: Site, clock: Clock) -> str:
        await after_hours.decide(conn, request_id, approve=approve, reason=reason, actor=actor(), clock=clock)
        return f"request {request_id} is {'approved' if approve else 'rejected'}"

    _run(step, site)


@hours_app.command("cancel")
def cancel(request_id: RequestId, site: SiteOption = None) -> None:
    """Take a request back before it begins; it is not charged."""

    async def step(conn: AsyncConnection, _where: Site, clock: Clock) -> str:
        await after_hours.cancel(conn, request_id, actor=actor(), clock=clock)
        return f"request {request_id} is cancelled"

    _run(step, site)


@notice_app.command("list")
def list_notices(site: SiteOption = None) -> None:
    """List the newest notices, withdrawn ones included."""

    async def step(conn: AsyncConnection, where: Site, _clock: Clock) -> str:
        found = await notices.every(conn, where.organisation_id)
        lines = []
        for n in found:
            state = "withdrawn" if n["withdrawn_at"] else f"{n['first']} to {n['last_day'] or 'further notice'}"
            lines.append(f"{n['id']}\t{n['kind']}\t{state}\t{n['title_zh']} · {n['title_en']}")
        return "\n".join(lines) or "there is no notice"

    _run(step, site)


@notice_app.command("post")
def post(
    title_zh: Annotated[str, typer.Option(help="Title in Chinese.")],
    title_en: Annotated[str, typer.Option(help="Title in English.")],
    kind: Annotated[Kind, typer.Option(help="What it is about.")] = Kind.news,
    body_zh: Annotated[str, typer.Option(help="Text in Chinese.")] = "",
    body_en: Annotated[str, typer.Option(help="Text in English.")] = "",
    first: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD; none: today.")] = None,
    last_day: Annotated[str | None, typer.Option(help="Last day; none: until it is withdrawn.")] = None,
    site: SiteOption = None,
) -> None:
    """Publish a notice to all tenants."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        number = await notices.publish(
            conn,
            organisation_id=where.organisation_id,
            kind=kind.value,
            title_zh=title_zh,
            title_en=title_en,
            body_zh=body_zh,
            body_en=body_en,
            first=_day(first) if first else clock.now().astimezone(where.zone).date(),
            last_day=_day(last_day) if last_day else None,
            actor=actor(),
            clock=clock,
        )
        return f"notice {number} is published"

    _run(step, site)


@notice_app.command("withdraw")
def withdraw(
    notice_id: Annotated[int, typer.Argument(help="Number of the notice, as listed.")], site: SiteOption = None
) -> None:
    """Stop showing a notice."""

    async def step(conn: AsyncConnection, _where: Site, clock: Clock) -> str:
        await notices.withdraw(conn, notice_id, clock)
        return f"notice {notice_id} is withdrawn"

    _run(step, site)


def _run(step: Step, site: str | None) -> None:
    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        return await step(conn, await service.find_site(conn, site), clock)

    print(carry_out(use_case))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid("{text!r} is not a day; write 2026-11-03", text=text) from None


def _instant(text: str, site: Site) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("{text!r} is not a time; write 2026-11-05T19:00", text=text) from None
    return found if found.tzinfo else found.replace(tzinfo=site.zone)
