"""`cloud-api user`: accounts from the command line."""

import asyncio
import secrets
import sys
from typing import Annotated

import typer

from cloud_api.db.pool import make_pool, transaction
from cloud_api.identity import repository, service
from cloud_api.identity.model import Role
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import as_language
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Accounts of staff and of tenants' people.")


@app.command("add")
def add(
    login: Annotated[str, typer.Argument(help="User name, for example an e-mail address.")],
    role: Annotated[list[Role] | None, typer.Option(help="Staff: what the person does; may be repeated.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant's person: the tenant's code.")] = None,
    organisation: Annotated[str | None, typer.Option(help="Code; needed when there are several.")] = None,
    name: Annotated[str | None, typer.Option(help="Name shown on pages; the user name if not given.")] = None,
    language: Annotated[str, typer.Option(help="zh or en.")] = "zh",
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
) -> None:
    """Create an account and print its generated password, once."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(12)
    try:
        asyncio.run(_add(login, frozenset(role or ()), tenant, organisation, name or login, language, password))
    except DomainError as error:
        raise SystemExit(f"user add: {error}") from error
    print(f"{login} created" if password_stdin else f"{login} created; the password, shown this once:\n{password}")


async def _add(
    login: str,
    roles: frozenset[Role],
    tenant: str | None,
    organisation: str | None,
    name: str,
    language: str,
    password: str,
) -> None:
    database_url = load_settings().database_url.get_secret_value()
    async with make_pool(database_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        found = await repository.organisation_ids(conn, organisation)
        if len(found) != 1:
            wanted = f"no organisation has the code {organisation!r}" if organisation else "there is not exactly one"
            raise SystemExit(f"user add: {wanted}; name one with --organisation CODE (import-estate creates them)")
        tenant_id = await repository.tenant_id(conn, found[0], tenant) if tenant else None
        if tenant and tenant_id is None:
            raise SystemExit(f"user add: no tenant has the code {tenant!r}")
        await service.create_user(
            conn,
            organisation_id=found[0],
            login=login,
            password=password,
            display_name=name,
            roles=roles,
            tenant_id=tenant_id,
            language=as_language(language),
        )
        await service.audit(conn, viewer=None, at=Clock().now(), action="user.add", subject=login, roles=sorted(roles))
