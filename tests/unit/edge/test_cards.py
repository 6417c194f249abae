"""A list of cards leaves the building as the hashes that its doors send."""

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.drivers.mqtt.privacy import hash_credential

KEY = "0123456789abcdef0123456789abcdef"


def test_card_numbers_become_the_hashes_that_doors_send_and_the_rest_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_PRIVACY_KEY", KEY)
    file = tmp_path / "cards.csv"
    file.write_text("card,tenant,first_day\n0098F421,t-03,2026-01-01\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["cards", str(file)])
    assert done.exit_code == 0, done.output
    assert (
        done.output
        == f"card,tenant,first_day\n{hash_credential('98f421'.rjust(8, '0'), KEY.encode())},t-03,2026-01-01\n"
    )
    assert "98F421" not in done.output


@pytest.mark.parametrize(
    ("text", "words"), [("number\n1\n", "no column 'card'"), ("card,tenant\n,t-03\n", "row 2: no card number")]
)
def test_a_list_that_cannot_be_hashed_says_why(tmp_path, monkeypatch, text, words):
    monkeypatch.setenv("EDGE_PRIVACY_KEY", KEY)
    file = tmp_path / "cards.csv"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["cards", str(file)])
    assert (done.exit_code, words in done.output) == (1, True), done.output


def test_without_the_sites_key_no_hash_is_made_and_none_is_invented(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGE_PRIVACY_KEY", raising=False)
    monkeypatch.setenv("EDGE_DATA_DIR", str(tmp_path / "data"))
    file = tmp_path / "cards.csv"
    file.write_text("card\n1\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["cards", str(file)])
    assert done.exit_code == 1
    assert "EDGE_PRIVACY_KEY" in done.output
    assert not (tmp_path / "data").exists()
