"""Commands of places: names and nesting of sites, buildings, floors and spaces by period."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import service as leasing
from cloud_api.leasing.service import Site
from cloud_api.operations.places import service
from cloud_api.operations.places.service import Kind, Wanted
from cloud_api.operations.tenancy.words import day_of, number_of, split_list

app = typer.Typer(no_args_is_help=True, help="What stands where, by period: names, nesting, in service or not.")

KindOf = Annotated[Kind, typer.Argument(help="What it is.")]
Code = Annotated[str, typer.Argument(help="Its code.")]
FromDay = Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")]
Zh = Annotated[str | None, typer.Option("--zh", help="Name in Chinese.")]
En = Annotated[str | None, typer.Option("--en", help="Name in English.")]
Area = Annotated[str | None, typer.Option(help="Area of a floor, m².")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Code of the site; needed when there are several.")]
Step = Callable[[AsyncConnection, Site, Clock], Awaitable[str]]


@app.command("show")
def show(
    kind: KindOf,
    code: Code,
    known_at: Annotated[
        str | None, typer.Option(help="As known at this instant, such as 2026-10-01T00:00+08:00.")
    ] = None,
    site: SiteOption = None,
) -> None:
    """Show a place period by period."""

    async def step(conn: AsyncConnection, where: Site, _clock: Clock) -> str:
        found = await service.history(conn, where, kind, code, None if known_at is None else _instant(known_at))
        lines = []
        for p in found:
            within = " / ".join(p[name] for name in ("building", "floor", "inside") if p[name])
            term = f"{p['starts_on'] or '…'} to before {p['ends_on'] or '…'}"
            lines.append("\t".join(filter(None, [term, f"{p['name_zh']} · {p['name_en']}", within])))
        return "\n".join(lines) or "nothing was known of it then"

    _run(step, site)


@app.command("change")
def change(
    kind: KindOf,
    code: Code,
    from_day: FromDay,
    zh: Zh = None,
    en: En = None,
    building: Annotated[str | None, typer.Option(help="Building that a floor belongs to.")] = None,
    floor: Annotated[str | None, typer.Option(help="Floor that a space stands on.")] = None,
    inside: Annotated[str | None, typer.Option(help="Space that a space is part of; '' for none.")] = None,
    area: Area = None,
    site: SiteOption = None,
) -> None:
    """Say what a place is called or part of from a day on; what was before stays."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        wanted = Wanted(name_zh=zh, name_en=en, building=building, floor=floor, inside=inside, area_m2=_area(area))
        await service.change(conn, where, kind, code, wanted, from_day=day_of(from_day), actor=actor(), clock=clock)
        return f"{kind} {code} is changed from {from_day} on"

    _run(step, site)


@app.command("correct")
def correct(
    kind: KindOf,
    code: Code,
    on_day: Annotated[str, typer.Option(help="A day of the period that is put right, YYYY-MM-DD.")],
    zh: Zh = None,
    en: En = None,
    area: Area = None,
    site: SiteOption = None,
) -> None:
    """Put a name, or a floor's area, right for the whole period that holds on a day."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        wanted = Wanted(name_zh=zh, name_en=en, area_m2=_area(area))
        await service.correct(conn, where, kind, code, wanted, on_day=day_of(on_day), actor=actor(), clock=clock)
        return f"{kind} {code} is put right"

    _run(step, site)


@app.command("take-out")
def take_out(kind: KindOf, code: Code, from_day: FromDay, site: SiteOption = None) -> None:
    """Take a building, a floor or a space out of service, with everything in it."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        day = day_of(from_day)
        count = await service.take_out(conn, where, kind, code, from_day=day, actor=actor(), clock=clock)
        return f"{kind} {code} is out of service from {from_day} on: {count} place(s)"

    _run(step, site)


@app.command("bring-back")
def bring_back(kind: KindOf, code: Code, from_day: FromDay, site: SiteOption = None) -> None:
    """Bring a place back into service, with everything that went out with it."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        await service.bring_back(conn, where, kind, code, from_day=day_of(from_day), actor=actor(), clock=clock)
        return f"{kind} {code} is in service from {from_day} on"

    _run(step, site)


@app.command("split-floor")
def split_floor(
    code: Code,
    new_code: Annotated[str, typer.Option(help="Code of the new floor.")],
    zh: Annotated[str, typer.Option("--zh", help="Its name in Chinese.")],
    en: Annotated[str, typer.Option("--en", help="Its name in English.")],
    spaces: Annotated[str, typer.Option(help="Codes of the spaces that it takes, with commas.")],
    from_day: FromDay,
    area: Area = None,
    site: SiteOption = None,
) -> None:
    """Make two floors of one from a day on."""

    async def step(conn: AsyncConnection, where: Site, clock: Clock) -> str:
        new = {"new_code": new_code, "name_zh": zh, "name_en": en, "spaces": split_list(spaces)}
        who = {"actor": actor(), "clock": clock}
        await service.split_floor(conn, where, code, **new, area_m2=_area(area), from_day=day_of(from_day), **who)
        return f"floor {new_code} is there from {from_day} on"

    _run(step, site)


def _run(step: Step, site: str | None) -> None:
    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        return await step(conn, await leasing.find_site(conn, site), clock)

    print(carry_out(use_case))


def _area(text: str | None) -> Decimal | None:
    return None if text is None else number_of(text)


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid("{text!r} is not an instant; write 2026-10-01T00:00+08:00", text=text)
    return found
