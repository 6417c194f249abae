"""`cloud-api user`: accounts from the command line."""

import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.table import Table

from cloud_api.db.command import actor, carry_out
from cloud_api.identity import people, repository, service
from cloud_api.identity.model import Person, Role
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import as_language
from cloud_api.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Accounts of staff and of tenants' people.")

Login = Annotated[str, typer.Argument(help="User name.")]
Roles = Annotated[list[Role] | None, typer.Option("--role", help="Staff: what the person does; may be repeated.")]
PasswordStdin = Annotated[bool, typer.Option(help="Read the password from standard input.")]


@app.command("add")
def add(
    login: Annotated[str, typer.Argument(help="User name, for example an e-mail address.")],
    role: Roles = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant's person: the tenant's code.")] = None,
    organisation: Annotated[str | None, typer.Option(help="Code; needed when there are several.")] = None,
    name: Annotated[str | None, typer.Option(help="Name shown on pages; the user name if not given.")] = None,
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    password_stdin: PasswordStdin = False,
) -> None:
    """Create an account and print its generated password, once."""
    password = _password(password_stdin)

    async def create(conn: AsyncConnection, clock: Clock) -> str:
        found = await repository.organisation_ids(conn, organisation)
        if len(found) != 1:
            wanted = f"no organisation has the code {organisation!r}" if organisation else "there is not exactly one"
            raise Invalid(f"user add: {wanted}; name one with --organisation CODE (import-estate creates them)")
        tenant_id = await repository.tenant_id(conn, found[0], tenant) if tenant else None
        if tenant and tenant_id is None:
            raise Invalid(f"user add: no tenant has the code {tenant!r}")
        await service.create_user(
            conn,
            organisation_id=found[0],
            login=login,
            password=password,
            display_name=name or login,
            roles=frozenset(role or ()),
            tenant_id=tenant_id,
            language=as_language(language),
        )
        person = await people.person_of_login(conn, login)
        await people.note(conn, clock, person, "user.add", actor=actor(), roles=person.roles)
        return f"{login} created" if password_stdin else f"{login} created; the password, shown this once:\n{password}"

    print(carry_out(create))


@app.command("list")
def show() -> None:
    """Show every account: what it may do, whether it is open, when its person last signed in."""

    async def listed(conn: AsyncConnection, _: Clock) -> str:
        table = Table("login", "name", "roles or tenant", "state", "last sign-in (UTC)")
        for person in await repository.people(conn):
            seen = f"{person.last_sign_in_at:%Y-%m-%d %H:%M}" if person.last_sign_in_at else "never"
            roles = ", ".join(person.roles) or str(person.name_en)
            table.add_row(person.login, person.display_name, roles, _state(person), seen)
        console = Console()
        with console.capture() as text:
            console.print(table)
        return text.get().rstrip()

    print(carry_out(listed))


@app.command("password")
def password(login: Login, password_stdin: PasswordStdin = False) -> None:
    """Set a password and print it, once; the person's sessions end."""
    new = _password(password_stdin)
    _change(login, lambda c, t, p: people.set_password(c, t, p, new, actor=actor()))
    print(f"{login}: the password is set" if password_stdin else f"{login}: the password, shown this once:\n{new}")


@app.command("link")
def link(login: Login) -> None:
    """Print a link by which the person sets a password, once within three days; the old password ends now."""
    tokens: list[str] = []

    async def offer(conn: AsyncConnection, clock: Clock, person: Person) -> None:
        tokens.append(await people.offer_password_link(conn, clock, person, actor=actor()))

    _change(login, offer)
    print(f"{load_settings().public_url.rstrip('/')}/account/password/{tokens[0]}")


@app.command("roles")
def roles(login: Login, role: Roles = None) -> None:
    """Replace what a member of staff does."""
    _change(login, lambda c, t, p: people.set_roles(c, t, p, frozenset(role or ()), actor=actor()))
    print(f"{login}: {', '.join(sorted(role or ()))}")


@app.command("disable")
def disable(login: Login) -> None:
    """Close an account; its sessions end at once."""
    _change(login, lambda c, t, p: people.set_active(c, t, p, is_active=False, actor=actor()))
    print(f"{login} is closed")


@app.command("enable")
def enable(login: Login) -> None:
    """Open a closed account again, with its old password."""
    _change(login, lambda c, t, p: people.set_active(c, t, p, is_active=True, actor=actor()))
    print(f"{login} is open")


def _change(login: str, change: Callable[[AsyncConnection, Clock, Person], Awaitable[None]]) -> None:
    """Carry out one change to the account of a login."""

    async def inside(conn: AsyncConnection, clock: Clock) -> str:
        await change(conn, clock, await people.person_of_login(conn, login))
        return ""

    carry_out(inside)


def _password(from_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\n") if from_stdin else secrets.token_urlsafe(12)


def _state(person: Person) -> str:
    if not person.is_active:
        return "closed"
    return "open" if person.has_password else "invited"
