"""The steps of a lease's life as forms: one table says which use case a form starts and how its fields are read."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData

from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.operations.tenancy import changes
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.words import parse_hours, parse_readings
from cloud_api.web.shared.forms import decimal
from cloud_api.web.shared.templates import gettext as _

READING_PREFIX = "reading."
_TEXT_MAX = 500


class Fields:
    """A form as it was sent, read in people's terms. Every method raises Invalid and names the field."""

    def __init__(self, form: FormData) -> None:
        self._form = form

    def text(self, name: str) -> str:
        """Return what was typed, without the spaces around it; empty when the field was left out."""
        found = self._form.get(name)
        return found.strip()[:_TEXT_MAX] if isinstance(found, str) else ""

    def optional_day(self, name: str) -> date | None:
        """Return a day, or None for an empty field."""
        text = self.text(name)
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            raise Invalid("{text!r} is not a day; write 2026-11-03", text=text) from None

    def day(self, name: str) -> date:
        """Return a day; an empty field is refused."""
        found = self.optional_day(name)
        if found is None:
            raise Invalid("{text!r} is not a day; write 2026-11-03", text="")
        return found

    def number(self, name: str, label: str) -> Decimal | None:
        """Return an exact number, or None for an empty field."""
        text = self.text(name)
        return decimal(label, text) if text else None

    def count(self, name: str, label: str) -> int | None:
        """Return a whole number, or None for an empty field."""
        found = self.number(name, label)
        if found is not None and found != int(found):
            raise Invalid("{name}: {text!r:.40} is not a whole number", name=label, text=self.text(name))
        return None if found is None else int(found)

    def readings(self) -> dict[str, Decimal]:
        """Return what was read off: fields `reading.<meter>`, and `readings` (meter = value, …).

        An empty field leaves it to telemetry.
        """
        single = [key for key in self._form if key.startswith(READING_PREFIX) and self.text(key)]
        return parse_readings(self.text("readings")) | {
            (meter := key.removeprefix(READING_PREFIX)): decimal(meter, self.text(key)) for key in single
        }


async def fields_of(request: Request) -> Fields:
    """Read the form of a request."""
    return Fields(await request.form())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepForm:
    """One step: the use case, how its arguments are read from the form, and what is said when it is done.

    The use case is called with connection, site and lease number, the arguments, `actor` and `clock`; `notice` may
    name arguments.
    """

    use_case: Callable[..., Awaitable[Any]]
    arguments: Callable[[Fields], Mapping[str, Any]]
    notice: str


def _review(fields: Fields) -> dict[str, Any]:
    decision = fields.text("decision")
    if decision not in {"review", "approve", "reject"}:
        raise Invalid("choose a decision")
    return {"decision": decision, "reason": fields.text("reason")}


def _amendment(fields: Fields) -> dict[str, Any]:
    space, area, hours = fields.text("space"), fields.number("area", _("Area")), fields.text("hours")
    return {
        "on_day": fields.day("on_day"),
        "areas": {space: area} if space and area is not None else None,
        "people": fields.count("people", _("People")),
        "hours": parse_hours(hours) if hours else None,
    }


STEP_FORMS: Mapping[str, StepForm] = {
    "review": StepForm(use_case=tenancy.decide, arguments=_review, notice=N_("Done.")),
    "move-in": StepForm(
        use_case=tenancy.move_in, arguments=lambda f: {"readings": f.readings()}, notice=N_("Moved in.")
    ),
    "move-out": StepForm(
        use_case=tenancy.move_out,
        arguments=lambda f: {
            "last_day": f.day("last_day"),
            "readings": f.readings(),
            "without_final_bill": f.text("without_final_bill"),
        },
        notice=N_("Moved out."),
    ),
    "take": StepForm(
        use_case=changes.take_space,
        arguments=lambda f: {
            "space": f.text("space"),
            "from_day": f.day("from_day"),
            "area_m2": f.number("area", _("Area")),
            "readings": f.readings(),
        },
        notice=N_("{space} belongs to the lease."),
    ),
    "give-back": StepForm(
        use_case=changes.give_back_space,
        arguments=lambda f: {"space": f.text("space"), "last_day": f.day("last_day"), "readings": f.readings()},
        notice=N_("{space} is given back."),
    ),
    "sublet": StepForm(
        use_case=changes.sublet,
        arguments=lambda f: {
            "space": f.text("space"),
            "to_tenant": f.text("to_tenant"),
            "new_number": f.text("new_number"),
            "first": f.day("first"),
            "last_day": f.optional_day("last_day"),
            "readings": f.readings(),
            "area_m2": f.number("area", _("Area")),
        },
        notice=N_("{space} is sub-let."),
    ),
    "amend": StepForm(use_case=changes.amend, arguments=_amendment, notice=N_("The lease is amended.")),
}
