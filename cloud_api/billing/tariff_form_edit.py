"""What people do with the form of a tariff: begin one, add and move rows, read a field, see the days it draws. Pure."""

from copy import deepcopy
from datetime import date
from typing import Any

from cloud_api.billing import tariff_file
from cloud_api.billing.tariff import WHOLE_DAY, Bucket, DayRule, DayType, Label, Season, Version, Window
from cloud_api.billing.tariff_form import ROWS, ROWS_MAX, Form, filled, window_data
from cloud_api.kit.errors import Invalid


def changed(form: Form, step: str) -> Form:
    """Return the form after a press on one of its buttons: `add:components`, `remove:windows.3`, `up:components.2`.

    A step that leads nowhere (the row is gone already) changes nothing.
    """
    verb, _, path = step.partition(":")
    form = deepcopy(form)
    keys = path.split(".")
    if verb == "add" and keys[-1] in ROWS:
        rows = _at(form, keys[:-1]).setdefault(keys[-1], [])
        if len(rows) < ROWS_MAX:
            rows.append(dict(_NEW_ROWS.get(keys[-1], {})))
    elif verb in {"remove", "up"} and keys[-1].isdigit():
        rows, number = _at(form, keys[:-1]), int(keys[-1])
        if isinstance(rows, list) and number < len(rows):
            row = rows.pop(number)
            if verb == "up":
                rows.insert(max(number - 1, 0), row)
    return form


_NEW_ROWS: dict[str, Form] = {"components": {"kind": "energy", "tax_included": "true", "vat_percent": "13"}}


def _at(form: Form, keys: list[str]) -> Any:
    """Follow keys into a form; what is missing on the way is made."""
    place: Any = form
    for key in keys:
        if isinstance(place, list):
            place = place[int(key)] if key.isdigit() and int(key) < len(place) else {}
        else:
            place = place.setdefault(key, {})
    return place


def empty_form(first: date) -> Form:
    """Return the form of a tariff that is not there yet: one price around the clock, all year."""
    everything = {"code": WHOLE_DAY, "name": {}, "ratio": ""}
    component = _NEW_ROWS["components"] | {"code": "energy", "name": {"zh": "电量电费", "en": "Energy"}}
    return {
        "utility": "electricity", "currency": "CNY", "time_zone": "Asia/Shanghai", "version": f"{first:%Y-%m}",
        "valid_from": str(first), "buckets": [everything],
        "seasons": [{"code": "year", "months": [str(month) for month in range(1, 13)]}],
        "day_types": [{"code": "any"}],
        "windows": [{"bucket": WHOLE_DAY, "hours": "00:00-24:00"}], "components": [component],
    }  # fmt: skip


def next_version(form: Form, first: date) -> Form:
    """Return the form of the version that follows: the same rules from another day on, to be changed."""
    return form | {
        "version": f"{first:%Y-%m}",
        "valid_from": str(first),
        "valid_to": "",
        "doc_no": "",
        "source_url": "",
    }


def value_of(form: Form, name: str) -> Any:
    """Return what stands in a field, by its name; an empty text when there is nothing."""
    place: Any = form
    for key in name.split("."):
        place = _inside(place, key)
        if place == "":
            break
    return place


def _inside(place: Any, key: str) -> Any:
    if isinstance(place, list):
        return place[int(key)] if int(key) < len(place) else ""
    return place.get(key, "")


def sketch(form: Form) -> Version:
    """Return the seasons, kinds of day and hours of a form as far as they can be read, to be drawn."""
    buckets = {row.get("code", ""): Bucket(name=_some_label(row)) for row in form.get("buckets", [])}
    windows: list[Window] = []
    for row in form.get("windows", []):
        for stretch in window_data(row)["hours"]:
            start, _dash, end = stretch.partition("-")
            try:
                hours = {"start": tariff_file.minute_of(start), "end": tariff_file.minute_of(end)}
            except Invalid:
                continue
            seasons, day_types = tuple(row.get("season", [])), tuple(row.get("day_type", []))
            windows.append(Window(bucket=row.get("bucket", ""), seasons=seasons, day_types=day_types, **hours))
    return Version(
        version=form.get("version", ""),
        valid_from=date.min,
        buckets=buckets,
        seasons=tuple(_season(row) for row in form.get("seasons", [])) or (Season(code="year"),),
        day_types=tuple(_day_type_sketch(row) for row in form.get("day_types", [])) or (DayType(code="any"),),
        windows=tuple(windows),
    )


def _season(row: Form) -> Season:
    months = tuple(int(m) for m in row.get("months", []) if m.isdigit())
    return Season(
        code=row.get("code", ""), name=_some_label(row), months=months, starts=row.get("starts"), ends=row.get("ends")
    )


def _day_type_sketch(row: Form) -> DayType:
    when = filled(row.get("when") or {})
    holiday, weekdays = tuple(when.get("holiday", [])), tuple(when.get("weekdays", []))
    rule = DayRule(kind=tuple(when.get("kind_of_day", [])), weekdays=weekdays, holiday=holiday) if when else None
    return DayType(code=row.get("code", ""), name=_some_label(row), when=rule)


def _some_label(row: Form) -> Label | None:
    """Return a name of which one language may still be missing: the other stands in."""
    name = row.get("name") or {}
    zh, en = name.get("zh", ""), name.get("en", "")
    return Label(zh=zh or en, en=en or zh) if zh or en else None
