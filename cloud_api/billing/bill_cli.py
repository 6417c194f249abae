"""Commands of bill runs and bills: run, review, approve, issue, PDF, verify; tariffs of a site."""

import asyncio
import json
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection

from cloud_api.billing.cli import File, resolve, tariff_app
from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid

bill_app = typer.Typer(no_args_is_help=True, help="Bill runs and bills.")
verify_app = typer.Typer()
SiteOption = Annotated[str | None, typer.Option("--site", help="Code of the site; needed when there are several.")]


@tariff_app.command("import")
def import_(
    file: File,
    site: SiteOption = None,
    landlord: Annotated[bool, typer.Option(help="It is also (or only) what the landlord pays the utility.")] = False,
    tenants: Annotated[bool, typer.Option(help="It is what tenants pay.")] = True,
) -> None:
    """Record a tariff and use it at a site; a changed file becomes a new revision."""
    from cloud_api.billing import inputs, service
    from cloud_api.billing.tariff_file import load_tariff

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        tariff = load_tariff(resolve(file)).tariff
        found = await inputs.find_site(conn, code=site)
        payers = [p for p, wanted in (("tenants", tenants), ("landlord", landlord)) if wanted]
        revision = await service.import_tariff(conn, found, tariff, actor=actor(), clock=clock, payers=payers)
        return f"{tariff.tariff} revision {revision} holds for {tariff.utility} at {found.code}"

    print(carry_out(use_case))


@tariff_app.command("trial")
def trial(
    file: File,
    site: SiteOption = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First month, YYYY-MM; default: twelve full months back.")
    ] = None,
    after: Annotated[str | None, typer.Option("--to", help="Month after the last one; default: this month.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try a tariff on the past: what every tenant of a site would have paid, beside what today's tariff asks."""
    from cloud_api.billing import inputs
    from cloud_api.billing.cycle import month_of
    from cloud_api.billing.tariff_file import load_tariff
    from cloud_api.billing.trial import Trial, try_tariff

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        tariff = load_tariff(resolve(file)).tariff
        found = await inputs.find_site(conn, code=site)
        end = clock.now().astimezone(tariff.zone).date().replace(day=1) if after is None else month_of(after)[0]
        start = end.replace(year=end.year - 1) if first is None else month_of(first)[0]
        tried: Trial = await try_tariff(conn, found, tariff, first=start, after=end)
        return tried.as_json() if as_json else tried.as_text(found.currency)

    print(carry_out(use_case))


@bill_app.command("policy")
def policy(
    settings: Annotated[list[str] | None, typer.Argument(help="name=value, value as JSON or a word.")] = None,
    site: SiteOption = None,
) -> None:
    """Show or change a site's billing parameters, such as approval=automatic or common='{"area": 1}'."""
    from cloud_api.billing import inputs, service
    from cloud_api.billing.policy import dump_policy

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await inputs.find_site(conn, code=site)
        if settings:
            changed = dict(_setting(text) for text in settings)
            current = await service.set_policy(conn, found, changed, actor=actor(), clock=clock)
        else:
            current = await inputs.find_policy(conn, found)
        return json.dumps(dump_policy(current), ensure_ascii=False, indent=2)

    print(carry_out(use_case))


def _setting(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    if not separator:
        raise Invalid(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


@bill_app.command("utility-bill")
def utility_bill(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON: total, kwh, lines [{name, amount, bucket, kwh}]; also first_day, last_day or month."
        ),
    ],
    month: Annotated[str, typer.Option(help="YYYY-MM: the site's billing cycle that starts in it.")] = "",
    first_day: Annotated[str, typer.Option(help="First day, YYYY-MM-DD.")] = "",
    last_day: Annotated[str, typer.Option(help="Last day as the bill prints it.")] = "",
    site: SiteOption = None,
    utility: Annotated[str, typer.Option()] = "electricity",
) -> None:
    """Enter the utility's bill of any days: the basis of the resale cap, compared with our own ledger."""
    from cloud_api.billing import inputs, utility_bill, utility_bill_entry

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await inputs.find_site(conn, code=site)
        content = utility_bill_entry.read_file(file)
        named = {"month": month, "first_day": first_day, "last_day": last_day}
        if not any(named.values()):
            named = {name: str(content.get(name) or "") for name in named}
        days = await utility_bill.days_of(conn, found, **named)
        compared = await utility_bill.enter(conn, found, days, content, utility=utility, actor=actor(), clock=clock)
        return "\n".join(str(text) for text in compared)

    print(carry_out(use_case))


@bill_app.command("utility-bills")
def utility_bills(
    remove: Annotated[int | None, typer.Option(help="Take back this bill (its number in the list).")] = None,
    site: SiteOption = None,
) -> None:
    """List the utility's bills that were entered, newest first, or take one back that was entered by mistake."""
    from cloud_api.billing import inputs, utility_bill

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await inputs.find_site(conn, code=site)
        if remove is not None:
            return f"removed: {_utility_words(await utility_bill.remove(conn, found.organisation_id, remove))}"
        entered = await utility_bill.entered(conn, found.organisation_id)
        return "\n".join(_utility_words(row) for row in entered) or "no utility's bill is entered"

    print(carry_out(use_case))


def _utility_words(row: dict[str, Any]) -> str:
    last_day = row["ends_on"] - timedelta(days=1)
    days = f"{row['starts_on']} to {last_day}"
    return f"{row['id']}\t{row['site']}\t{row['utility']}\t{days}\t{row['total']} {row['currency'].strip()}"


@bill_app.command("run")
def run(
    month: Annotated[str, typer.Option(help="YYYY-MM: the full billing cycle that starts in it.")],
    site: SiteOption = None,
    utility: Annotated[str, typer.Option()] = "electricity",
    issue: Annotated[bool, typer.Option("--issue", help="Issue at once; needs approval=automatic.")] = False,
) -> None:
    """Calculate a month's bills; a run that was not issued is computed anew."""
    from cloud_api.billing import inputs, service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await inputs.find_site(conn, code=site)
        do = service.run_and_issue if issue else service.calculate_run
        run_id = await do(conn, found, month, actor=actor(), clock=clock, utility=utility)
        return _run_words(await service.get_run(conn, run_id))

    print(carry_out(use_case))


def _run_words(found: dict[str, object]) -> str:
    summary = found["summary"]
    assert isinstance(summary, dict)
    lines = [
        f"run {found['id']} is {found['state']}: {summary['bills']} bills, {summary['total']} in all",
        (
            f"main {summary['main_kwh']} = tenants {summary['tenants_kwh']} + common {summary['common_kwh']}"
            f" + owner {summary['owner_kwh']} + losses {summary['loss_kwh']} kWh ({summary['loss_percent']} %)"
        ),
    ]
    reasons = found["reasons"]
    assert isinstance(reasons, list)
    return "\n".join([*lines, *(f"cannot be issued: {reason}" for reason in reasons)])


@bill_app.command("step")
def step(
    run_id: Annotated[int, typer.Argument(help="Number of the run.")],
    name: Annotated[str, typer.Argument(help="review, approve, issue, send_back or cancel")],
    reason: Annotated[str, typer.Option()] = "",
) -> None:
    """Take a run one step further; whoever prepared it cannot approve it."""
    from cloud_api.billing import service
    from cloud_api.billing.states import Step

    if name not in {s.value for s in Step if s is not Step.CALCULATE}:
        raise typer.BadParameter("review, approve, issue, send_back or cancel", param_hint="NAME")
    print(
        carry_out(
            lambda conn, clock: service.take_step(conn, run_id, Step(name), actor=actor(), clock=clock, reason=reason)
        )
    )


@bill_app.command("issue")
def issue(run_id: Annotated[int, typer.Argument(help="Number of an approved run.")]) -> None:
    """Give an approved run's bills their numbers, for good."""
    from cloud_api.billing import service

    print(carry_out(lambda conn, clock: service.issue_run(conn, run_id, actor=actor(), clock=clock)))


@bill_app.command("list")
def list_(run_id: Annotated[int, typer.Argument(help="Number of the run.")]) -> None:
    """List a run's bills."""
    from cloud_api.billing import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.get_run(conn, run_id)
        columns = ("id", "number", "kind", "state", "tenant_code", "quantity", "total")
        return "\n".join("\t".join(str(b[c] or "-") for c in columns) for b in found["bills"])

    print(carry_out(use_case))


@bill_app.command("credit")
def credit(
    bill: Annotated[str, typer.Argument(help="Number of an issued bill.")],
    reason: Annotated[str, typer.Option(help="Why; stands on the credit note.")],
    rebill: Annotated[bool, typer.Option(help="Bill again from today's readings.")] = False,
    line: Annotated[
        list[str] | None, typer.Option(help="Only this line (3), or an amount of it (3=12.50); may be repeated.")
    ] = None,
) -> None:
    """Take an issued bill, or lines of it, back by a credit note."""
    from cloud_api.billing import corrections

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        lines = dict(_part(text) for text in line) if line else None
        numbers = await corrections.credit(
            conn, bill, reason=reason, actor=actor(), clock=clock, rebill=rebill, lines=lines
        )
        return "\n".join(f"{kind}: {number}" for kind, number in numbers.items())

    print(carry_out(use_case))


def _part(text: str) -> tuple[int, Decimal | None]:
    number, _, amount = text.partition("=")
    if not number.isdigit():
        raise Invalid(f"{text!r} is not a line; write 3, or 3=12.50")
    return int(number), _number(amount) if amount else None


@bill_app.command("pay")
def pay(
    tenant: Annotated[str, typer.Argument(help="Code of the tenant.")],
    amount: Annotated[str, typer.Argument(help="Amount received.")],
    on: Annotated[str, typer.Option(help="Day received, YYYY-MM-DD.")],
    reference: Annotated[str, typer.Option(help="The bank's reference; the same one is refused twice.")] = "",
    bill: Annotated[str | None, typer.Option(help="Settle this bill first; default: the oldest.")] = None,
    site: SiteOption = None,
) -> None:
    """Record a payment and settle bills with it."""
    from cloud_api.billing import inputs, settlement

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await inputs.find_site(conn, code=site)
        payer = await settlement.find_tenant(conn, found.organisation_id, tenant)
        settled = await settlement.record_payment(
            conn,
            organisation_id=found.organisation_id,
            tenant_id=payer["id"],
            amount=_number(amount),
            received_on=_date(on),
            actor=actor(),
            clock=clock,
            reference=reference,
            currency=found.currency,
            bill_number=bill,
        )
        words = [f"{number}: {part}" for number, part in settled.items()]
        return "\n".join(words) or "no bill is open; the amount is kept as credit"

    print(carry_out(use_case))


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise Invalid(f"{text!r} is not an amount; write 1234.50") from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is not a day; write 2026-11-12") from None


@bill_app.command("pdf")
def pdf(
    bill: Annotated[str, typer.Argument(help="Number or id of a bill.")],
    out: Annotated[Path | None, typer.Option(help="File; default: <number>.pdf here.")] = None,
) -> None:
    """Write a bill's PDF; the same bill always gives the same bytes."""
    from cloud_api.billing import service
    from cloud_api.billing.document.render import bill_pdf

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.get_bill(conn, bill)
        path = out or Path(f"{found['number'] or found['id']}.pdf")
        content = bill_pdf(found)
        await asyncio.to_thread(path.write_bytes, content)
        return str(path)

    print(carry_out(use_case))


@bill_app.command("einvoice")
def einvoice(bill: Annotated[str, typer.Argument(help="Number of an issued bill.")]) -> None:
    """Print the data fields of a 数电票 for a bill as JSON; no tax service is called."""
    from cloud_api.billing import fapiao, service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await fapiao.einvoice(conn, await service.get_bill(conn, bill))
        return json.dumps(found, ensure_ascii=False, indent=2)

    print(carry_out(use_case))


@verify_app.command("verify")
def verify(
    bill: Annotated[str | None, typer.Argument(help="Number or id of a bill.")] = None,
    run_id: Annotated[int | None, typer.Option("--run", help="Verify every bill of a run.")] = None,
) -> None:
    """Make a bill again from raw register readings and compare every line; exit 1 when anything differs."""
    from cloud_api.billing import verification

    if (bill is None) == (run_id is None):
        raise typer.BadParameter("name a bill, or a run with --run")
    failed = False

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        nonlocal failed
        if run_id is not None:
            verdicts = await verification.verify_run(conn, run_id)
        else:
            verdicts = [await verification.verify_bill(conn, str(bill))]
        failed = not all(v.holds for v in verdicts)
        return "\n".join(line for v in verdicts for line in _verdict(v))

    print(carry_out(use_case))
    if failed:
        raise typer.Exit(1)


def _verdict(found: object) -> list[str]:
    from cloud_api.billing.verification import Verdict

    assert isinstance(found, Verdict)
    word = "holds" if found.holds else "DIFFERS"
    head = f"{found.bill} {word}: total {found.total}, recomputed {found.recomputed} from {found.readings} intervals"
    return [head, *(f"  {text}" for text in found.differences)]
