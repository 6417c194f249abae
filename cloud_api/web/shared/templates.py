"""The template environment: strict, escaping, in the reader's language and the site's time zone."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cloud_api.kit import i18n
from cloud_api.kit.errors import DomainError
from cloud_api.web.shared.navigation import ROLE_NAMES, navigation_for, portal_navigation
from device_profiles import wording
from device_profiles.vocabulary import QUANTITIES

FOLDER = Path(__file__).resolve().parents[1]
_UTC = ZoneInfo("UTC")
_zone: ContextVar[ZoneInfo] = ContextVar("zone", default=_UTC)
catalogue = i18n.load_catalogue(FOLDER / "locale")
gettext = catalogue.gettext
ngettext = catalogue.ngettext

NO_VALUE = "–"


def say(what: DomainError | i18n.Text | str) -> str:
    """Write a refusal, or what a rule says, in the reader's language; a plain string is said as it is."""
    if isinstance(what, str):
        return what
    return catalogue.say(what.text if isinstance(what, DomainError) else what)


@contextmanager
def use_zone(zone: ZoneInfo) -> Iterator[None]:
    """Write instants in `zone` inside the block."""
    token = _zone.set(zone)
    try:
        yield
    finally:
        _zone.reset(token)


def draw(template: str, context: Mapping[str, object], *, block: str | None = None) -> str:
    """Draw a template, or one named block of it."""
    found = environment().get_template(template)
    if block is None:
        return found.render(context)
    if block not in found.blocks:
        raise LookupError(f"{template} has no block {block!r}; it has: {', '.join(sorted(found.blocks))}")
    return "".join(found.blocks[block](found.new_context(dict(context))))


@cache
def environment() -> Environment:
    """Return the environment; the macros of components.html are `ui` in every template."""
    env = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals.update(
        _=gettext,
        ngettext=ngettext,
        static_url=static_url,
        navigation_for=navigation_for,
        portal_navigation=portal_navigation,
        languages=i18n.LANGUAGES,
        role_names=ROLE_NAMES,
    )
    env.filters.update(
        named=named,
        device_name=device_name,
        quantity_named=quantity_named,
        say=say,
        actor=actor,
        agent_text=agent_text,
        num=number,
        as_decimal=as_decimal,
        money=money,
        about=about,
        pct=percent,
        day=_or_dash(i18n.format_day),
        short_day=_or_dash(i18n.format_short_day),
        weekday=_or_dash(i18n.format_weekday),
        month=_or_dash(i18n.format_month),
        days_until=i18n.format_days,
        instant=instant,
        clock=clock_time,
        iso=iso,
    )
    env.globals["ui"] = env.get_template("shared/components.html").module
    return env


def static_url(path: str) -> str:
    """Return the address of a static file with the hash of its content, so that a new version is fetched."""
    return f"/static/{path}?v={_content_hash(path)}"


def quantity_named(code: str) -> str:
    """Return the name of a measured quantity in the reader's language; the code itself if the vocabulary has none."""
    known = QUANTITIES.get(code)
    return code if known is None else i18n.in_language(known.zh, known.en)


def named(thing: object) -> str:
    """Return a thing's name in the reader's language; it has `name_zh` and `name_en`."""
    read = thing.get if isinstance(thing, Mapping) else lambda key: getattr(thing, key)
    return i18n.in_language(str(read("name_zh")), str(read("name_en")))


def device_name(device: Mapping[str, Any]) -> str:
    """Return a device's label as its site file tells it; the attribute `label_zh` is the one in Chinese."""
    label = str(device["label"] or device["name"])
    return i18n.in_language(str(device["attributes"].get("label_zh") or label), label)


def actor(who: str | None) -> str:
    """Return who did something, as people call it: a login as it is, a command, a parameter or the system in words."""
    if not who:
        return NO_VALUE
    kind, _, rest = who.partition(":")
    match kind:
        case "cli":
            return gettext("command line ({name})", name=rest)
        case "policy":
            return gettext("by rule")
        case "system":
            return gettext("the system")
        case _:
            return who


def agent_text(text: str) -> str:
    """Return what a gateway's agent said in the reader's language; what this version does not know stays as it is."""
    return wording.say_line(text, i18n.current_language())


def number(value: float | Decimal | None, decimals: int = 0) -> str:
    """Write a number, or a dash when there is none."""
    return NO_VALUE if value is None else i18n.format_number(value, decimals)


def as_decimal(text: str | Decimal | None) -> Decimal | None:
    """Return a number that a snapshot keeps as text, or None."""
    return None if text is None or text == "" else Decimal(text)


def money(amount: Decimal | None, currency: str = "CNY") -> str:
    """Write an amount of money, or a dash."""
    return NO_VALUE if amount is None else i18n.format_money(amount, currency)


def about(amount: Decimal | None, currency: str = "CNY") -> str:
    """Write an estimated amount without cents, or a dash."""
    return NO_VALUE if amount is None else i18n.format_about(amount, currency)


def percent(share: float | Decimal | None, decimals: int = 0) -> str:
    """Write a share of one as per cent."""
    return NO_VALUE if share is None else f"{i18n.format_number(share * 100, decimals)} %"


def instant(at: datetime | None, *, seconds: bool = False) -> str:
    """Write an instant as local day and time."""
    return NO_VALUE if at is None else i18n.format_instant(at, _zone.get(), seconds=seconds)


def clock_time(at: datetime | None) -> str:
    """Write only the local time of day."""
    return NO_VALUE if at is None else at.astimezone(_zone.get()).strftime("%H:%M")


def iso(at: datetime | None) -> str:
    """Write an instant for machines (`datetime` attributes)."""
    return "" if at is None else at.isoformat()


def _or_dash(write: object) -> object:
    def filtered(day: date | datetime | None) -> str | Markup:
        if day is None:
            return NO_VALUE
        local = day.astimezone(_zone.get()).date() if isinstance(day, datetime) else day
        return write(local)  # pyright: ignore[reportCallIssue]  # One of the day formats above.

    return filtered


@cache
def _content_hash(path: str) -> str:
    file = FOLDER / "static" / path
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; front-end packages come by `make assets`")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
