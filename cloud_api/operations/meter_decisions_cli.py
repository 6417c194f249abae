"""Commands with which a meter engineer decides: the use cases of the pages, with the same audit."""

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.leasing import service as leasing
from cloud_api.metering import analysis, corrections, exchanges, formulas, imports, limits
from cloud_api.metering.corrections import Author
from cloud_api.metering.ledger_store import EPOCH
from cloud_api.metering.model import Meter
from cloud_api.operations import interval_length
from cloud_api.operations.meter_cli import SiteOption, find_meter, meter_app, operator, said_touched, touches_of
from cloud_api.operations.touched import Stretch

Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
Code = Annotated[str, typer.Argument(help="Code of the meter.")]


@meter_app.command("exchange")
def exchange(
    code: Code,
    at: Annotated[str, typer.Option(help="Instant of the exchange, in the site's time, such as 2026-10-15T14:30.")],
    closing: Annotated[str, typer.Option(help="Last reading of the old meter.")],
    opening: Annotated[str, typer.Option(help="First reading of the new meter.")],
    reason: Reason,
    multiplier: Annotated[str, typer.Option(help="Factor of the new meter, where it differs.")] = "",
    modulus: Annotated[str, typer.Option(help="Value at which the new counter starts again at zero.")] = "",
    quantity: Annotated[str, typer.Option(help="What the counter counts.")] = analysis.ENERGY,
    site: SiteOption = None,
) -> None:
    """Exchange a meter: the old counter ends and the new one begins, with the readings of both."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        meter, author = await find_meter(conn, code), await author_of(conn, clock, reason, site)
        register_id = await exchanges.exchange(
            conn,
            author,
            await _open_register(conn, meter, quantity),
            at=_instant(at, meter),
            closing=number("--closing", closing),
            opening=number("--opening", opening),
            multiplier=number("--multiplier", multiplier) if multiplier else None,
            modulus=number("--modulus", modulus) if modulus else None,
        )
        return f"{meter.code} is exchanged; its new register is {register_id}"

    typer.echo(carry_out(run))


@meter_app.command("length")
def length(
    code: Code,
    minutes: Annotated[int, typer.Argument(help="How long its intervals last from then on: 1, 5, 15, 30 or 60.")],
    at: Annotated[str, typer.Option(help="Full hour in the site's time, such as 2026-12-01T00:00; it may lie ahead.")],
    reason: Reason,
    site: SiteOption = None,
) -> None:
    """Change the length of a meter's intervals from an instant on; the ledger before it stays."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        meter, author = await find_meter(conn, code), await author_of(conn, clock, reason, site)
        instant = _instant(at, meter)
        decision = await interval_length.change(conn, author, meter.id, at=instant, minutes=minutes)
        return f"{meter.code} has intervals of {minutes} minutes from {_local(instant, meter)} on (decision {decision})"

    typer.echo(carry_out(run))


@meter_app.command("undo")
def undo(
    code: Code,
    kind: Annotated[str, typer.Argument(help="exchange, reset, multiplier, modulus, exclusion, edit or length.")],
    decision_id: Annotated[int, typer.Argument(help="Number of the decision, as `meter decisions` shows it.")],
    reason: Reason,
    site: SiteOption = None,
) -> None:
    """Take a decision about a meter back; the ledger returns to what the readings say."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        meter, author = await find_meter(conn, code), await author_of(conn, clock, reason, site)
        standing = [d for d in await corrections.decisions(conn, meter.id) if (d.kind, d.id) == (kind, decision_id)]
        if not standing:
            raise NotFound("{code} has no {kind} {decision}", code=code, kind=kind, decision=decision_id)
        [decision] = standing
        if decision.kind == "length":
            await interval_length.undo(conn, author, meter.id, decision.id)
        elif decision.kind == "exchange":
            await exchanges.undo(conn, author, decision.id)
        elif decision.register_id is not None:
            await corrections.undo(conn, author, decision.register_id, kind=decision.kind, decision_id=decision.id)
        # A factor or a length holds until now, most other decisions for an interval; the range for the whole life.
        since = decision.at or EPOCH
        [what] = await touches_of(
            conn, [Stretch(meter_id=meter.id, code=meter.code, start=since, end=_until(decision, clock))]
        )
        return f"{kind} {decision_id} of {meter.code} is undone\n  touches {said_touched(what)}"

    typer.echo(carry_out(run))


@meter_app.command("decisions")
def decisions(code: Code) -> None:
    """List what people decided about a meter, the newest first."""

    async def run(conn: AsyncConnection, _: Clock) -> str:
        meter = await find_meter(conn, code)
        lines = [
            f"{d.kind:10} {d.id:>6}  {_local(d.at, meter):16}  {d.what:24}  {d.actor}: {d.reason}"
            + ("  (undone)" if d.undone_at else "")
            for d in await corrections.decisions(conn, meter.id)
        ]
        return "\n".join(lines) or f"nobody decided anything about {meter.code}"

    typer.echo(carry_out(run))


@meter_app.command("limits")
def show_or_set_limits(
    use: Annotated[str, typer.Argument(help="Class of meters: main, floor, tenant, common, plant or check.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE; without a value the check is off.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the built-in limits of the class.")] = False,
    reason: Annotated[str, typer.Option(help="Why; needed to change something.")] = "",
    site: SiteOption = None,
) -> None:
    """Show the limits of the checks by class of meter, or set those of one class."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        organisation_id = (await leasing.find_site(conn, site)).organisation_id
        if reset:
            await limits.reset_class(conn, await author_of(conn, clock, reason, site), use)
        elif change:
            values = dict(_pair(text) for text in change)
            await limits.set_class(conn, await author_of(conn, clock, reason, site), use, values)
        found = await limits.of_classes(conn, organisation_id)
        if use and use not in found:
            raise NotFound("there is no meter class {use!r}; there are {known}", use=use, known=tuple(found))
        return "\n".join(
            f"{name:8} {limit:20} {'off' if (value := getattr(values, limit)) is None else value}"
            for name, values in found.items()
            if use in {"", name}
            for limit in limits.RANGES
        )

    typer.echo(carry_out(run))


@meter_app.command("virtual")
def virtual(
    code: Annotated[str, typer.Argument(help="Code of a virtual meter to make or change; none: list them all.")] = "",
    inputs: Annotated[list[str] | None, typer.Option("--input", help="CODE=FACTOR of an input; -1 subtracts.")] = None,
    ratio: Annotated[bool, typer.Option("--ratio", help="Divide the input with factor 1 by the one with -1.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the virtual meter.")] = False,
    reason: Annotated[str, typer.Option(help="Why; needed to change something.")] = "",
    site: SiteOption = None,
) -> None:
    """List virtual meters, make or change one (--input …), or remove it (--remove)."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        known = await formulas.formulas(conn)
        if not code:
            return "\n".join(_formula(f) for f in known) or "there is no virtual meter"
        author = await author_of(conn, clock, reason, site)
        before = next((f for f in known if f.code == code), None)
        if remove:
            await formulas.remove(conn, author, (await find_meter(conn, code)).id)
            return f"{code} is removed"
        terms: dict[MeterId, Decimal] = {}
        for text in inputs or ():
            name, factor = _pair(text)
            terms[(await find_meter(conn, name)).id] = number("--input", factor)
        kind: formulas.Kind = "ratio" if ratio else "sum"
        if before is not None:
            await formulas.change(conn, author, before.meter_id, kind=kind, terms=terms)
        else:
            await formulas.create(conn, author, code=code, name_zh="", name_en="", kind=kind, terms=terms)
        return next(_formula(f) for f in await formulas.formulas(conn) if f.code == code)

    typer.echo(carry_out(run))


@meter_app.command("imports")
def list_imports() -> None:
    """List the imported files of readings, the newest first."""

    async def run(conn: AsyncConnection, _: Clock) -> str:
        lines = [
            f"{i.id:>6}  {i.imported_at:%Y-%m-%d %H:%M} UTC  {i.row_count:>7} readings  {i.file_name}"
            + (f"  (undone by {i.undone_by})" if i.undone_at else "")
            for i in await imports.imports(conn)
        ]
        return "\n".join(lines) or "no file was imported"

    typer.echo(carry_out(run))


@meter_app.command("undo-import")
def undo_import(
    import_id: Annotated[int, typer.Argument(help="Number of the import, as `meter imports` shows it.")],
    site: SiteOption = None,
) -> None:
    """Take a whole import back: exactly the readings it brought are removed."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        viewer = operator(await leasing.find_site(conn, site))
        await imports.undo(conn, clock, viewer, import_id)
        return f"import {import_id} is undone; the worker brings the ledger up to date"

    typer.echo(carry_out(run))


def _until(decision: corrections.Decision, clock: Clock) -> datetime:
    """Return where a decision ends to matter: an interval or reading soon after it, anything else holds on."""
    is_local = decision.at is not None and decision.kind in {"edit", "exclusion", "reset"}
    return decision.at + timedelta(hours=1) if decision.at is not None and is_local else clock.now()


async def author_of(conn: AsyncConnection, clock: Clock, reason: str, site: str | None) -> Author:
    """Return who decides by command, and why."""
    return Author(viewer=operator(await leasing.find_site(conn, site)), clock=clock, reason=reason)


async def _open_register(conn: AsyncConnection, meter: Meter, quantity: str) -> RegisterId:
    for register in await corrections.registers_of_meter(conn, meter.id):
        if register.quantity == quantity and register.closed_at is None:
            return register.id
    raise NotFound("{code} has no open register of {quantity}", code=meter.code, quantity=quantity)


def _formula(formula: formulas.Formula) -> str:
    if formula.kind == "ratio":
        above, below = sorted(formula.terms, key=lambda t: -t.factor)
        return f"{formula.code} = {above.code} / {below.code}"
    return f"{formula.code} = " + " + ".join(f"{t.factor.normalize():f} × {t.code}" for t in formula.terms)


def _local(at: datetime | None, meter: Meter) -> str:
    return "whole life" if at is None else f"{at.astimezone(meter.zone):%Y-%m-%d %H:%M}"


def _instant(text: str, meter: Meter) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid("--at: {text!r} is not an instant; write 2026-10-15T14:30", text=text) from error
    return at if at.tzinfo else at.replace(tzinfo=meter.zone)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise Invalid("{text!r}: write NAME=VALUE", text=text)
    return name.strip(), value.strip()


def number(name: str, text: str) -> Decimal:
    """Return a number that was typed; raises Invalid naming the option."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise Invalid("{name}: {text!r:.40} is not a number", name=name, text=text) from error
