"""Commands of leases: from application to move-out, and the moves between."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import service as leasing
from cloud_api.leasing.service import Site
from cloud_api.operations.tenancy import changes, meter_shares, spaces
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.changes import Change
from cloud_api.operations.tenancy.words import day_of, number_of, pairs_of, parse_hours

app = typer.Typer(no_args_is_help=True, help="Leases: application, review, move-in, changes, move-out.")

space_app = typer.Typer(no_args_is_help=True, help="Spaces: areas from a day on, division into parts.")

Readings = Annotated[list[str] | None, typer.Option("--reading", help="meter=value, as read off; may be repeated.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Code of the site; needed when there are several.")]
Lease = Annotated[str, typer.Argument(help="Number of the lease.")]
Step = Callable[[AsyncConnection, Site, Clock], Awaitable[str]]


@app.command("apply")
def apply(
    number: Lease,
    tenant: Annotated[str, typer.Option(help="Code of the tenant.")],
    space: Annotated[list[str], typer.Option(help="Code of a space; may be repeated.")],
    first_day: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    last_day: Annotated[str | None, typer.Option(help="Last day; none: until further notice.")] = None,
    people: Annotated[int | None, typer.Option(help="How many people.")] = None,
    site: SiteOption = None,
) -> None:
    """File an application; nothing is held until it is approved."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        company = await tenancy.find_tenant(conn, where, tenant)
        await tenancy.apply(
            conn,
            where,
            tenant_id=company["id"],
            number=number,
            first=day_of(first_day),
            last_day=None if last_day is None else day_of(last_day),
            spaces=space,
            people=people,
            actor=actor(),
            clock=clock,
        )
        return f"{number} is filed"

    _run(step, site)


@app.command("review")
def review(
    number: Lease,
    approve: Annotated[bool, typer.Option("--approve/--reject", help="The decision.")],
    reason: Annotated[str, typer.Option(help="Needed to reject.")] = "",
    site: SiteOption = None,
) -> None:
    """Approve an application, which then holds its spaces, or reject it."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        await tenancy.review(conn, where, number, approve=approve, reason=reason, actor=actor(), clock=clock)
        return f"{number} is {'approved' if approve else 'rejected'}"

    _run(step, site)


@app.command("take-space")
def take_space(
    number: Lease,
    space: Annotated[str, typer.Argument(help="Code of the space.")],
    from_day: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    area: Annotated[str | None, typer.Option(help="Area as let, m²; none: as measured.")] = None,
    reading: Readings = None,
    site: SiteOption = None,
) -> None:
    """Add a space to a running lease, with the opening readings of its meters."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        values = pairs_of(reading or [])
        done = await changes.take_space(
            conn,
            where,
            number,
            space=space,
            from_day=day_of(from_day),
            area_m2=None if area is None else number_of(area),
            readings=values,
            actor=actor(),
            clock=clock,
        )
        return _told(done)

    _run(step, site)


@app.command("give-back")
def give_back(
    number: Lease,
    space: Annotated[str, typer.Argument(help="Code of the space.")],
    last_day: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD.")],
    reading: Readings = None,
    site: SiteOption = None,
) -> None:
    """End one space of a running lease, with the closing readings of its meters."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        who = {"actor": actor(), "clock": clock}
        last, values = day_of(last_day), pairs_of(reading or [])
        done = await changes.give_back_space(conn, where, number, space=space, last_day=last, readings=values, **who)
        return _told(done)

    _run(step, site)


@app.command("sublet")
def sublet(
    number: Lease,
    space: Annotated[str, typer.Argument(help="Code of the space.")],
    to: Annotated[str, typer.Option(help="Code of the sub-tenant.")],
    new_number: Annotated[str, typer.Option(help="Number of the sub-lease.")],
    first_day: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")],
    last_day: Annotated[str | None, typer.Option(help="Last day; none: as long as the lease.")] = None,
    area: Annotated[str | None, typer.Option(help="Only so many m² of the space, which is divided; none: all.")] = None,
    reading: Readings = None,
    site: SiteOption = None,
) -> None:
    """Let a tenant's space to another tenant for a term."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        done = await changes.sublet(
            conn,
            where,
            number,
            space=space,
            to_tenant=to,
            new_number=new_number,
            first=day_of(first_day),
            last_day=None if last_day is None else day_of(last_day),
            readings=pairs_of(reading or []),
            area_m2=None if area is None else number_of(area),
            actor=actor(),
            clock=clock,
        )
        return _told(done)

    _run(step, site)


@app.command("merge")
def merge(
    from_tenant: Annotated[str, typer.Argument(help="Code of the tenant that ends.")],
    into_tenant: Annotated[str, typer.Argument(help="Code of the tenant that goes on.")],
    on_day: Annotated[str, typer.Option(help="First day of the merged company, YYYY-MM-DD.")],
    reading: Readings = None,
    site: SiteOption = None,
) -> None:
    """Let every lease of a tenant go on under another one from a day on."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        done = await changes.merge(
            conn,
            where,
            from_tenant=from_tenant,
            into_tenant=into_tenant,
            on_day=day_of(on_day),
            readings=pairs_of(reading or []),
            actor=actor(),
            clock=clock,
        )
        return "\n".join(f"{number}: {_told(change)}" for number, change in done.items())

    _run(step, site)


@app.command("amend")
def amend(
    number: Lease,
    on_day: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")],
    area: Annotated[list[str] | None, typer.Option(help="space=m²; may be repeated.")] = None,
    people: Annotated[int | None, typer.Option(help="How many people.")] = None,
    hours: Annotated[
        list[str] | None, typer.Option(help="Such as '1-5 08:00-18:00' (1 Monday); may be repeated.")
    ] = None,
    site: SiteOption = None,
) -> None:
    """Change areas, people or air-conditioning hours of a lease from a day on."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        done = await changes.amend(
            conn,
            where,
            number,
            on_day=day_of(on_day),
            areas=pairs_of(area or []),
            people=people,
            hours=None if hours is None else parse_hours(",".join(hours)),
            actor=actor(),
            clock=clock,
        )
        return _told(done)

    _run(step, site)


@space_app.command("area")
def change_area(
    space: Annotated[str, typer.Argument(help="Code of the space.")],
    area: Annotated[str, typer.Argument(help="m².")],
    from_day: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")],
    gross: Annotated[bool, typer.Option("--gross/--net", help="Kind of the area.")] = False,
    site: SiteOption = None,
) -> None:
    """Give a space another area from a day on; names issued bills that it reaches back to."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        bills = await spaces.change_area(
            conn,
            where,
            space,
            area_m2=number_of(area),
            area_kind="gross" if gross else "net",
            from_day=day_of(from_day),
            actor=actor(),
            clock=clock,
        )
        return _told(Change(readings={}, bills_to_correct=bills))

    _run(step, site)


@space_app.command("divide")
def divide(
    space: Annotated[str, typer.Argument(help="Code of the space.")],
    part: Annotated[list[str], typer.Option(help="code=m²; once per part; they sum to the space's area.")],
    from_day: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")],
    site: SiteOption = None,
) -> None:
    """Divide a space from a day on; leases, doors and meters follow by area."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        who = {"actor": actor(), "clock": clock}
        await spaces.split_space(conn, where, space, parts=pairs_of(part), from_day=day_of(from_day), **who)
        return f"{space} is divided into {len(part)} parts"

    _run(step, site)


@space_app.command("meter-shares")
def set_shares(
    meter: Annotated[str, typer.Argument(help="Code of the meter.")],
    from_day: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")],
    share: Annotated[list[str] | None, typer.Option(help="space=share, such as r1=0.6; they sum to 1.")] = None,
    by_area: Annotated[list[str] | None, typer.Option(help="Code of a space, shared by area; may be repeated.")] = None,
    site: SiteOption = None,
) -> None:
    """Divide a meter anew over spaces from a day on."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        if bool(share) == bool(by_area):
            raise Invalid("give either --share space=number or --by-area space, once per space")
        day = day_of(from_day)
        shares = pairs_of(share) if share else await meter_shares.shares_by_area(conn, where, by_area or [], day)
        who = {"actor": actor(), "clock": clock}
        await meter_shares.set_meter_shares(conn, where, meter, shares=shares, from_day=day, **who)
        return "\n".join(f"{space}: {part}" for space, part in shares.items())

    _run(step, site)


def _run(step: Step, site: str | None) -> None:
    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        return await step(conn, await leasing.find_site(conn, site), clock)

    print(carry_out(use_case))


def _told(change: Change) -> str:
    lines = [f"{meter}: {value}" for meter, value in change.readings.items()] or ["done"]
    if change.bills_to_correct:
        lines.append(f"issued bills to look at: {', '.join(change.bills_to_correct)}")
    return "\n".join(lines)
