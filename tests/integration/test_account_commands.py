"""`cloud-api user`: the commands against a database, as an operator types them."""

import pytest
from typer.testing import CliRunner

from cloud_api.cli import app


@pytest.fixture
def run(database, monkeypatch):
    """Run a command; `refused` tells whether it must fail."""
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)
    monkeypatch.setenv("CLOUD_PUBLIC_URL", "https://energy.example.org/")

    def command(*arguments, refused=False, words=None):
        result = CliRunner().invoke(app, ["user", *arguments], input=words)
        assert (result.exit_code != 0) is refused, result.output
        return result.output

    return command


@pytest.fixture
def organisation(database):
    import psycopg

    with psycopg.connect(database.superuser, autocommit=True) as conn:
        conn.execute("INSERT INTO app.organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park')")


def _row(output, login):
    [line] = [line for line in output.splitlines() if f" {login} " in line]
    return line


def test_an_account_is_created_changed_closed_and_opened(run, organisation):
    assert len(run("add", "boss", "--role", "admin").splitlines()[-1]) >= 16
    run("add", "lin", "--role", "finance", "--password-stdin", words="four unrelated words\n")
    run("roles", "lin", "--role", "leasing", "--role", "facilities")
    assert "facilities, leasing" in _row(run("list"), "lin")
    run("disable", "lin")
    assert "closed" in _row(run("list"), "lin")
    run("enable", "lin")
    assert "open" in _row(run("list"), "lin")
    link = run("link", "lin").strip()
    assert link.startswith("https://energy.example.org/account/password/")
    assert "invited" in _row(run("list"), "lin")
    assert len(run("password", "lin").splitlines()[-1]) >= 16


def test_refusals_end_the_command_with_their_words(run, organisation):
    run("add", "boss", "--role", "admin")
    assert "administrator first" in run("disable", "boss", refused=True)
    assert "administrator first" in run("roles", "boss", "--role", "finance", refused=True)
    assert "nothing here by that name" in run("password", "nobody", refused=True)
    assert "is taken" in run("add", "boss", "--role", "admin", refused=True)
    assert "10 to 256" in run("password", "boss", "--password-stdin", words="short\n", refused=True)


def test_without_an_organisation_the_operator_is_told_what_to_do(run):
    assert "import-estate" in run("add", "boss", "--role", "admin", refused=True)
