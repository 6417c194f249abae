import re
from decimal import Decimal
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from markupsafe import Markup

from cloud_api.kit.i18n import as_language, format_money, format_number, load_catalogue, use_language
from cloud_api.web.shared import templates
from tests.support import refusals

WEB = Path(templates.FOLDER)
METHODS = [("static/**", "ignore"), ("node_modules/**", "ignore"), ("**.py", "python"), ("**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}


def _messages():
    found = extract_from_dir(str(WEB), METHODS, keywords=KEYWORDS)
    for file, line, message, _comments, _context in found:
        yield f"{file}:{line}", message if isinstance(message, str) else message[0]


def test_every_text_has_its_chinese():
    known = templates.catalogue.messages["zh"]
    missing = sorted({f"{message!r} ({place})" for place, message in _messages() if message and message not in known})
    assert not missing, "no Chinese in locale/zh/*.po for:\n" + "\n".join(missing)


def test_no_translation_is_left_over():
    used = {message for _, message in (*_messages(), *refusals.texts())} | set(refusals.STATE_NAMES)
    left = sorted(set(templates.catalogue.messages["zh"]) - used)
    assert not left, "locale/zh/*.po translates what no page says:\n" + "\n".join(left)


def test_translations_keep_the_places_to_fill():
    places = re.compile(r"\{(\w+)[^}]*\}")
    wrong = [
        (message, text)
        for message, text in templates.catalogue.messages["zh"].items()
        if set(places.findall(message)) - {"count"} != set(places.findall(text)) - {"count"}
    ]
    assert wrong == []


def test_no_word_stands_in_a_template_outside_the_catalogue():
    outside = []
    # Language names are written in their own language; units and formulae are the same in both.
    same_in_both = {"中文", "English", "CO", "kWh", "kW", "ppm", "ms"}
    for path in sorted(WEB.rglob("*.html")):
        if "node_modules" in path.parts or "static" in path.parts:
            continue
        tokens = templates.environment().lex(path.read_text(encoding="utf-8"))
        text = "".join(value if kind == "data" else " " if kind.endswith("_end") else "" for _, kind, value in tokens)
        text = re.sub(r"<[^>]*>", " ", text, flags=re.DOTALL)
        text = re.sub(r"""[\w:-]+=("[^"]*"|'[^']*')""", " ", text)  # Attributes that a block adds to a tag.
        words = set(re.findall(r"[A-Za-z]{2,}|[一-鿿]+", Markup(text).unescape())) - same_in_both
        outside += [f"{path.relative_to(WEB)}: {word}" for word in sorted(words)]
    assert not outside, "\n".join(outside)


def test_counted_texts_have_one_form_in_chinese_and_two_in_english():
    with use_language("en"):
        assert templates.ngettext("One alarm", "{count} alarms", 1) == "One alarm"
        assert templates.ngettext("One alarm", "{count} alarms", 1200) == "1,200 alarms"


def test_numbers_and_money_are_written_with_their_places():
    with use_language("en"):
        assert format_number(1234.5, 1) == "1,234.5"
        assert format_money(Decimal("1234.5")) == "¥1,234.50"


@pytest.mark.parametrize(("tag", "language"), [("en-GB,en;q=0.9", "en"), ("zh-Hans", "zh"), ("", "zh"), ("de", "zh")])
def test_a_browser_that_prefers_english_gets_english_and_all_others_chinese(tag, language):
    assert as_language(tag) == language


def test_no_text_is_translated_in_two_ways():
    assert templates.catalogue.conflicts == []


def test_a_text_translated_twice_differently_is_noted_and_keeps_nothing_down(tmp_path):
    folder = tmp_path / "zh"
    folder.mkdir()
    for name, text in {"a": "一", "b": "二"}.items():
        (folder / f"{name}.po").write_text(f'msgid "Floor"\nmsgstr "{text}"\n', encoding="utf-8")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.messages["zh"] == {"Floor": "一"}
    assert len(catalogue.conflicts) == 1
