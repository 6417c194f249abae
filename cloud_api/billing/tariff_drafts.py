"""Tariffs that are being entered: kept as drafts, checked while they grow, tried, and put in force from a date."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import tariff_form
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import SiteFacts
from cloud_api.billing.service import find_tariff, import_tariff
from cloud_api.billing.tariff import Tariff, Version
from cloud_api.billing.tariff_file import TariffFileInvalid, load_dumped, read_tariff
from cloud_api.billing.tariff_form import Form
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text

DRAFTS_MAX = 100
"""Of one organisation; the oldest are put in force or deleted before more are begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A form as the tariff it stands for, or what keeps it from being one: the form's field and the words."""

    recorded: Tariff | None
    tariff: Tariff | None
    place: int
    problems: tuple[tuple[str, Text], ...] = ()

    @property
    def version(self) -> Version | None:
        """The version that the form writes, when it is sound."""
        return self.tariff.versions[self.place] if self.tariff else None

    @property
    def as_if_always(self) -> Tariff:
        """The tariff with this version alone, at all times: what a trial on past months needs. Raises NotFound."""
        if self.tariff is None or self.version is None:
            raise NotFound
        return replace(self.tariff, versions=(replace(self.version, valid_from=date(2000, 1, 1), valid_to=None),))


async def list_drafts(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the drafts of an organisation, newest first."""
    return await rows(conn, queries.tariff_drafts, {"organisation_id": organisation_id, "limit": DRAFTS_MAX})


async def find_draft(conn: AsyncConnection, organisation_id: int, draft_id: int) -> Row:
    """Return a draft. Raises NotFound."""
    found = await one(conn, queries.tariff_draft, {"organisation_id": organisation_id, "id": draft_id})
    if found is None:
        raise NotFound("there is no draft {draft_id} of a tariff", draft_id=draft_id)
    return found


async def save_draft(
    conn: AsyncConnection, organisation_id: int, form: Form, *, draft_id: int | None, actor: str, clock: Clock
) -> int:
    """Keep a form as it stands, sound or not; returns the draft's id. Raises Invalid when there are too many."""
    ids: dict[str, Any] = {"organisation_id": organisation_id, "id": draft_id}
    ids |= {"content": as_json(form), "at": clock.now(), "actor": actor}
    if draft_id is not None:
        if await one(conn, queries.change_tariff_draft, ids) is None:
            raise NotFound("there is no draft {draft_id} of a tariff", draft_id=draft_id)
        return draft_id
    count = await one(conn, queries.count_tariff_drafts, ids)
    if count and count["count"] >= DRAFTS_MAX:
        raise Invalid("there are {limit} drafts of tariffs; delete one before you begin another", limit=DRAFTS_MAX)
    added = await one(conn, queries.add_tariff_draft, ids)
    assert added is not None
    return added["id"]


async def delete_draft(conn: AsyncConnection, organisation_id: int, draft_id: int) -> None:
    """Forget a draft; one that is gone already stays gone."""
    await store(conn, queries.delete_tariff_draft, {"organisation_id": organisation_id, "id": draft_id})


async def check_form(conn: AsyncConnection, organisation_id: int, form: Form) -> Checked:
    """Tell which tariff a form stands for, together with the recorded versions that it joins, or what is wrong."""
    code = str(form.get("tariff", ""))
    found = await find_tariff(conn, organisation_id, code) if code else None
    recorded = load_dumped(found["content"]) if found else None
    return checked(form, recorded)


def checked(form: Form, recorded: Tariff | None) -> Checked:
    """As `check_form`, beside a recorded tariff."""
    data, place = tariff_form.file_data(form, recorded)
    try:
        return Checked(recorded=recorded, tariff=read_tariff(data).tariff, place=place)
    except TariffFileInvalid as error:
        problems = tuple((_field(form, place, p.at), p.text) for p in error.found)
        return Checked(recorded=recorded, tariff=None, place=place, problems=problems)


def _field(form: Form, place: int, at: tuple[str | int, ...]) -> str:
    """Return the field of a key of the file; what concerns another version is a matter of the dates."""
    if at[:1] != ("versions",) or len(at) < 2:
        return tariff_form.field_of(form, at)
    return tariff_form.field_of(form, at[2:]) if at[1] == place else "valid_from"


async def put_in_force(
    conn: AsyncConnection,
    site: SiteFacts,
    form: Form,
    *,
    draft_id: int | None,
    payers: Sequence[str],
    actor: str,
    clock: Clock,
) -> tuple[Tariff, int]:
    """Record the tariff of a sound form, use it at a site from the version's first day, and forget the draft.

    Returns the tariff and its revision. Raises TariffFileInvalid. Bills that were issued keep their prices.
    """
    found = await check_form(conn, site.organisation_id, form)
    data, _ = tariff_form.file_data(form, found.recorded)
    tariff = read_tariff(data, name=str(form.get("tariff", ""))).tariff
    revision = await import_tariff(conn, site, tariff, actor=actor, clock=clock, payers=payers)
    if draft_id is not None:
        await delete_draft(conn, site.organisation_id, draft_id)
    return tariff, revision
