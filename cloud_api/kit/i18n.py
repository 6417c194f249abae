"""The two languages of what people see: catalogues, and numbers, money and instants as each language writes them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_timedelta
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_LOCALES = {"zh": "zh_Hans_CN", "en": "en"}
_DAY = {"zh": "y年M月d日", "en": "d MMM y"}
_SHORT_DAY = {"zh": "M月d日", "en": "d MMM"}
_MONTH = {"zh": "y年M月", "en": "MMMM y"}
_WEEKDAY = {"zh": "M月d日 EEE", "en": "EEE d MMM"}

_current: ContextVar[Language] = ContextVar("language", default="zh")


def current_language() -> Language:
    """Return the language of the page, message or document being written."""
    return _current.get()


@contextmanager
def use_language(language: Language) -> Iterator[None]:
    """Write in `language` inside the block."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def as_language(text: str | None) -> Language:
    """Return the language that a tag such as `en-GB` or `zh-Hans` asks for; Chinese when it asks for neither."""
    return "en" if (text or "").lower().startswith("en") else "zh"


def mark(message: str) -> str:
    """Mark a text for the catalogue where it cannot be translated yet (module level); imported as `N_`."""
    return message


class Text:
    """A sentence with places to fill, not yet in a language: what rules say, before they know who reads it.

    `message` is English and the key of its translation. A value may be a `Text` itself, a tuple (written in one
    line) or a list (one line each). `str()` is English; `Catalogue.say` writes it in the reader's language.
    """

    __slots__ = ("message", "values")

    def __init__(self, message: str, /, **values: Any) -> None:
        self.message = message
        self.values = values

    def __str__(self) -> str:
        return self.written(str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and (self.message, self.values) == (other.message, other.values)

    def __hash__(self) -> int:
        return hash((self.message, str(self)))

    def written(self, translate: Callable[[str], str]) -> str:
        """Return the sentence with its places filled, each text in it translated by `translate`."""
        filled = {name: _filled(value, translate) for name, value in self.values.items()}
        return translate(self.message).format_map(filled) if filled else translate(self.message)


class Named(Text):
    """A name that is given in both languages, as a value of a `Text`: said in the reader's, English in `str()`."""

    __slots__ = ("zh",)

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh = zh

    def written(self, translate: Callable[[str], str]) -> str:
        """Return the name in English for programs and logs, else in the language that is spoken now."""
        return self.message if translate is str else in_language(self.zh, self.message)


def _filled(value: Any, translate: Callable[[str], str]) -> Any:
    if isinstance(value, Text):
        return value.written(translate)
    if isinstance(value, list | tuple):
        parts = [str(_filled(v, translate)) for v in cast("Sequence[Any]", value)]
        return ", ".join(parts) if isinstance(value, tuple) else "".join(f"\n  {part}" for part in parts)
    return value


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Translations by message; English text is the message itself, so only Chinese needs a file."""

    messages: dict[Language, dict[str, str]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)  # Texts translated twice differently; the first holds.

    def gettext(self, message: str, **values: object) -> str:
        """Translate into the current language and fill `{name}` places; an unknown message stays English."""
        text = self.messages.get(current_language(), {}).get(message, message)
        return text.format_map({k: str(v) for k, v in values.items()}) if values else text

    def say(self, what: Text) -> str:
        """Write a text in the current language; what has no translation stays English."""
        known = self.messages.get(current_language(), {})
        return what.written(lambda message: known.get(message, message))

    def ngettext(self, singular: str, plural: str, count: int, **values: object) -> str:
        """Translate a counted text; `{count}` is filled. Chinese has one form, found under the singular."""
        message = singular if count == 1 or current_language() == "zh" else plural
        return self.gettext(message, count=format_number(count), **values)


def load_catalogue(folder: Path) -> Catalogue:
    """Read every `<language>/*.po` below `folder`. A conflict is noted, not raised: it must not keep a service down."""
    catalogue = Catalogue({language: {} for language in LANGUAGES})
    for language in LANGUAGES:
        known = catalogue.messages[language]
        for path in sorted((folder / language).glob("*.po")):
            with path.open("rb") as file:
                entries = read_po(file, locale=_LOCALES[language])
            for entry in entries:
                message, text = _first(entry.id), _first(entry.string)
                if not message or not text or entry.fuzzy:
                    continue
                if known.setdefault(message, text) != text:
                    catalogue.conflicts.append(f"{path.name}: {message!r} is {text!r} and elsewhere {known[message]!r}")
    return catalogue


def _first(text: object) -> str:
    if isinstance(text, list | tuple):
        return str(text[0]) if text else ""
    return str(text or "")


def in_language(zh: str, en: str) -> str:
    """Choose between the two names that a thing has."""
    return zh if current_language() == "zh" else en


def format_number(value: float | Decimal, decimals: int = 0) -> str:
    """Write a number with grouping and exactly `decimals` places."""
    pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
    return format_decimal(value, pattern, locale=_locale())


def format_money(amount: Decimal, currency: str = "CNY") -> str:
    """Write an amount with its currency sign, to the cent."""
    return format_currency(amount, currency, locale=_LOCALES["zh"] if currency == "CNY" else _locale())


def format_about(amount: Decimal, currency: str = "CNY") -> str:
    """Write an estimated amount with its currency sign, without cents that nobody can know."""
    locale = _LOCALES["zh"] if currency == "CNY" else _locale()
    return format_currency(amount, currency, "¤#,##0", locale=locale, currency_digits=False)


def format_day(day: date) -> str:
    """Write a date: 2026年11月22日, 22 Nov 2026."""
    return format_date(day, _DAY[current_language()], locale=_locale())


def format_short_day(day: date) -> str:
    """Write a date without the year: 11月22日, 22 Nov."""
    return format_date(day, _SHORT_DAY[current_language()], locale=_locale())


def format_weekday(day: date) -> str:
    """Write a date with its day of the week."""
    return format_date(day, _WEEKDAY[current_language()], locale=_locale())


def format_month(day: date) -> str:
    """Write a month: 2026年11月, November 2026."""
    return format_date(day, _MONTH[current_language()], locale=_locale())


def format_days(first: date, after: date) -> str:
    """Write the days `[first, after)`: a whole calendar month as such, else 26 Sep 2026 – 25 Oct 2026."""
    last = after - timedelta(days=1)
    if first.day == 1 and after.day == 1 and last.replace(day=1) == first:
        return format_month(first)
    return f"{format_day(first)} – {format_day(last)}"


def format_instant(instant: datetime, zone: ZoneInfo, *, seconds: bool = False) -> str:
    """Write an instant as the local day and time of `zone`."""
    pattern = f"{_DAY[current_language()]} HH:mm{':ss' if seconds else ''}"
    return format_datetime(instant.astimezone(zone), pattern, locale=_locale())


def format_ago(instant: datetime, now: datetime) -> str:
    """Write how long ago an instant was: 3 minutes ago, 3分钟前."""
    return format_timedelta(instant - now, add_direction=True, locale=_locale(), threshold=1.0)


def _locale() -> str:
    return _LOCALES[current_language()]
