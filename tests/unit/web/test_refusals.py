import pytest

from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import Text, use_language
from cloud_api.web.shared import templates
from cloud_api.web.shared.templates import say
from tests.support import refusals


def test_every_refusal_is_a_literal_with_its_chinese():
    known = templates.catalogue.messages["zh"]
    wrong = sorted({f"{place}: {text!r}" for place, text in refusals.texts() if text is None or text not in known})
    assert not wrong, "a refusal says a literal with {places}, translated in locale/zh/refusals.po:\n" + "\n".join(
        wrong
    )


@pytest.mark.parametrize("name", refusals.STATE_NAMES)
def test_every_state_that_a_refusal_names_has_its_chinese(name):
    assert name in templates.catalogue.messages["zh"]


def test_a_refusal_is_said_in_the_language_of_its_reader():
    error = Invalid("there is no bill run {run_id}", run_id=7)
    assert str(error) == "there is no bill run 7"
    with use_language("zh"):
        assert say(error) == "没有编号为 7 的出账批次"
    with use_language("en"):
        assert say(error) == "there is no bill run 7"


def test_texts_inside_a_text_are_translated_with_it():
    error = DomainError("the corrected bill cannot be issued:{issues}", issues=[Text("nothing"), "x"])
    assert str(error) == "the corrected bill cannot be issued:\n  nothing\n  x"
    with use_language("zh"):
        assert "nothing" not in say(error)


def test_a_problem_carries_what_the_text_was_filled_with():
    assert Invalid("a period has 0 to {days} days", days=31).problem() == {
        "type": "about:blank#invalid",
        "code": "invalid",
        "status": 422,
        "detail": "a period has 0 to 31 days",
        "days": 31,
    }
