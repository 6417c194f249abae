"""Commands about what is doubtful: the worklist with its evidence, gaps, and decisions that show what they change."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import orjson
import typer
from psycopg import AsyncConnection

from cloud_api.db.command import carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.period import Period
from cloud_api.metering import analysis, gaps, proof, service, worklist
from cloud_api.metering.finding_words import CHECKS, STEPS, evidence
from cloud_api.metering.model import Meter
from cloud_api.operations.meter_cli import SiteOption, find_meter, said_touched, span, touches_of
from cloud_api.operations.meter_decisions_cli import Reason, author_of, meter_app, number
from cloud_api.operations.touched import Stretch, Touched

Action = Literal["accept", "estimate", "zero", "edit", "reopen"]
State = Literal["open", "accepted", "edited", "estimated", "gone"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, times in UTC.")]
OneMeter = Annotated[str, typer.Option(help="Code of one meter; all when not given.")]


@meter_app.command("worklist")
def show_worklist(
    state: Annotated[str, typer.Option(help="open, accepted, edited, estimated or gone.")] = "open",
    meter: OneMeter = "",
    check: Annotated[str, typer.Option(help="Name of one check, such as stuck or balance.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many findings to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the doubtful stretches, the oldest first: evidence, what to do, the bills and charts they touch."""
    _choice("--state", state, get_args(State))
    if check:
        _choice("--check", check, list(CHECKS))

    async def run(conn: AsyncConnection, _: Clock) -> str:
        meters = {m.id: m for m in await analysis.meters(conn)}
        chosen = (await find_meter(conn, meter)).id if meter else None
        found = await worklist.entries(conn, state=state, meter_id=chosen, check_name=check or None, limit=limit)
        touches = await touches_of(
            conn, [Stretch(meter_id=e.meter_id, code=e.code, start=e.starts_at, end=e.ends_at) for e in found]
        )
        if as_json:
            rows = [
                asdict(e)
                | {"advice": STEPS[e.check_name].message if e.check_name in STEPS else "", "touches": asdict(t)}
                for e, t in zip(found, touches, strict=True)
            ]
            return _json(rows)
        lines = [_finding(e, meters[e.meter_id], t) for e, t in zip(found, touches, strict=True)]
        return "\n".join(lines) or "no interval is in doubt"

    typer.echo(carry_out(run))


@meter_app.command("gaps")
def show_gaps(
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days back.")] = 7,
    meter: OneMeter = "",
    cause: Annotated[str, typer.Option(help="offline, invalid, lost, waiting or unknown.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many to look at.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List where meters were silent: since when, why, what was estimated for it, the bills and charts it touches."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        now = clock.now()
        chosen = (await find_meter(conn, meter)).id if meter else None
        everything = await gaps.gaps(conn, clock, Period(now - timedelta(days=days), now), meter_id=chosen, limit=limit)
        found = [gap for gap in everything if cause in {"", gap.cause}]
        touches = await touches_of(
            conn,
            [Stretch(meter_id=g.meter_id, code=g.code, start=g.silent_from, end=g.silent_to or now) for g in found],
        )
        pairs = list(zip(found, touches, strict=True))
        if as_json:
            return _json([asdict(gap) | {"touches": asdict(what)} for gap, what in pairs])
        meters = {m.id: m for m in await analysis.meters(conn)}
        return "\n".join(_gap(gap, meters[gap.meter_id], what) for gap, what in pairs) or "no meter was silent"

    typer.echo(carry_out(run))


@meter_app.command("decide")
def decide(
    finding: Annotated[int, typer.Argument(help="Number of the finding, as `meter worklist` shows it.")],
    action: Annotated[str, typer.Argument(help="accept, estimate, zero, edit (with --total) or reopen.")],
    reason: Reason,
    total: Annotated[str, typer.Option(help="With edit: what was used over the stretch.")] = "",
    site: SiteOption = None,
) -> None:
    """Settle a finding of the worklist, or reopen it: what was edited for it is then taken back."""
    _choice("action", action, get_args(Action))

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        author = await author_of(conn, clock, reason, site)
        entry = await worklist.entry(conn, finding)
        period = Period(entry.starts_at, entry.ends_at)
        before = await service.intervals(conn, [entry.register_id], period)
        said = action
        if action == "accept":
            await worklist.accept(conn, author, finding)
        elif action == "reopen":
            await worklist.reopen(conn, author, finding)
        elif action == "edit":
            if not total:
                raise Invalid("--total: say what was used over the stretch")
            await worklist.edit(conn, author, finding, total=number("--total", total))
        else:
            said = f"estimated, {await worklist.re_estimate(conn, author, finding, is_zero_evident=action == 'zero')}"
        after = (await proof.intervals_from_readings(conn, [entry.register_id], period))[entry.register_id]
        [what] = await touches_of(
            conn, [Stretch(meter_id=entry.meter_id, code=entry.code, start=entry.starts_at, end=entry.ends_at)]
        )
        meter = await analysis.meter(conn, entry.meter_id)
        return "\n".join(
            [
                f"finding {finding} of {meter.code}, {span(entry.starts_at, entry.ends_at, meter)}: {said}",
                f"  {_sum(before)} before, {_sum(after)} now; the worker writes it to the ledger",
                f"  touches {said_touched(what)}",
            ]
        )

    typer.echo(carry_out(run))


def _finding(entry: worklist.Entry, meter: Meter, what: Touched) -> str:
    parts = ", ".join(f"{label} {' + '.join(values)}" for label, values in evidence(entry.detail))
    lines = [f"{entry.id:>6}  {entry.code:20} {entry.check_name:14} {span(entry.starts_at, entry.ends_at, meter)}"]
    lines.append(f"        {CHECKS[entry.check_name].message}: {parts}")
    if entry.state == "open":
        lines += [f"        {STEPS[entry.check_name].message}"] if entry.check_name in STEPS else []
    else:
        lines.append(f"        {entry.state} by {entry.settled_by or 'the readings'}: {entry.reason or '–'}")
    return "\n".join([*lines, f"        touches {said_touched(what)}"])


def _gap(gap: gaps.MeterGap, meter: Meter, what: Touched) -> str:
    return (
        f"{gap.code:20} {span(gap.silent_from, gap.silent_to, meter)}  {gap.cause:8}"
        f" {gap.estimated_count:>4} estimated ({gap.estimated_quantity.normalize():f} {gap.unit})"
        f" {gap.missing_count:>4} not known\n{'':20} touches {said_touched(what)}"
    )


def _sum(intervals: Sequence[Any]) -> str:
    if any(i.quality == "missing" for i in intervals):
        return f"{len(intervals)} intervals, not all known,"
    return f"{sum((i.quantity for i in intervals), Decimal(0)).normalize():f} in {len(intervals)} intervals"


def _choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{name} {value!r}: choose one of {', '.join(known)}")


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(list(rows), option=orjson.OPT_INDENT_2, default=str).decode()
