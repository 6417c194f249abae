"""What a technician sees of the outbox."""

import json

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox, Rejection

run = CliRunner().invoke


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "outbox.sqlite3"
    outbox = Outbox(path)
    outbox.use_scales({"m/energy": 3})
    outbox.append(
        [
            Frame(device="m", observed_at_ms=1_764_000_000_000, points=("energy", "power"), values=(12_345_678, 1.5),
                  qualities=(Quality.GOOD, Quality.UNCERTAIN)),
            Frame(device="m", observed_at_ms=1_764_000_001_000, points=("power",), values=(None,),
                  qualities=(Quality.NO_ANSWER,)),
        ],
        [Event(kind="door.access", device="d", at_ms=5, received_at_ms=6, data={"door": "1"})],
    )  # fmt: skip
    outbox.flush()
    outbox.settle(outbox.begin_batch(3), accepted=[], rejected=[Rejection(seq=2, code="future", reason="why")])
    outbox.close()
    return path


def test_show_says_what_waits_and_what_was_rejected(path):
    text = run(app, ["outbox", "show", str(path)]).output
    assert "telemetry             2 in 1 rows" in text
    assert "rejected by the cloud 1" in text
    summary = json.loads(run(app, ["outbox", "show", str(path), "--json"]).output)
    assert summary["waiting"]["event"][0] == 1


def test_rejected_shows_the_observation_and_the_reason(path):
    [row] = [json.loads(line) for line in run(app, ["outbox", "rejected", str(path)]).output.splitlines()]
    assert (row["code"], row["reason"], row["content"]["point"], row["content"]["value"]) == ("future", "why", "m/power", 1.5)  # fmt: skip


def test_export_writes_exact_values_and_leaves_out_what_was_settled(path, tmp_path):
    target = tmp_path / "copy.jsonl"
    result = run(app, ["outbox", "export", str(path), "--to", str(target)])
    assert "3 lines written" in result.output
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(r["seq"], r.get("point"), r.get("value")) for r in rows] == [
        (1, "m/energy", "12345.678"), (3, "m/power", None), (4, None, None),
    ]  # fmt: skip
    assert rows[1]["quality"] == "no_answer"
    assert rows[2]["data"] == {"door": "1"}
    again = run(app, ["outbox", "export", str(path), "--to", str(target)])
    assert again.exit_code == 1
    assert "does not exist yet" in again.output


def test_a_running_agent_does_not_stand_in_the_way(path):
    outbox = Outbox(path)
    outbox.append([Frame(device="m", observed_at_ms=1, points=("p",), values=(1.0,), qualities=(Quality.GOOD,))])
    outbox.flush()
    assert "waiting" in run(app, ["outbox", "show", str(path)]).output
    outbox.close()


@pytest.mark.parametrize("command", ["show", "rejected", "export"])
def test_a_missing_or_foreign_file_is_one_clear_error(tmp_path, command):
    missing = run(app, ["outbox", command, str(tmp_path / "none")])
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert "there is no outbox" in missing.output
    (tmp_path / "foreign").write_bytes(b"foreign " * 1000)
    foreign = run(app, ["outbox", command, str(tmp_path / "foreign")])
    assert foreign.exit_code == 1
    assert "repairs a damaged outbox" in foreign.output
