"""The agent writes message v1 as the golden files have it, and reads the cloud's golden answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from edge_agent.outbox.model import Rejection, Retry
from edge_agent.uplink import wire
from tests.contract.edge_messages import BATCH, CATALOGUE, STREAM

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def test_the_catalogue_is_written_as_agreed():
    message, revision = wire.encode_catalogue(CATALOGUE, agent_version="0.1.0", started_at_ms=1_764_000_000_000)
    assert json.loads(message) == golden("catalogue.json")
    assert golden("catalogue.json")["revision"] == revision


def test_the_revision_of_a_catalogue_depends_on_its_content_only():
    first = wire.encode_catalogue(CATALOGUE, agent_version="0.1.0", started_at_ms=1)
    second = wire.encode_catalogue(CATALOGUE, agent_version="0.2.0", started_at_ms=2)
    changed = replace(CATALOGUE, devices=CATALOGUE.devices[:1])
    assert first[1] == second[1]
    assert wire.encode_catalogue(changed, agent_version="0.1.0", started_at_ms=1)[1] != first[1]


def test_a_batch_is_written_as_agreed():
    message = wire.encode_batch(BATCH, sent_at_ms=1_764_000_000_400, clock_offset_ms=3)
    assert json.loads(message) == golden("batch.json")


def test_large_mantissas_are_written_as_integers():
    assert b"9007199254740993" in wire.encode_batch(BATCH, sent_at_ms=1, clock_offset_ms=None)


def test_compression_is_plain_zstd():
    assert zstandard.ZstdDecompressor().decompress(wire.compress(b'{"v":1}')) == b'{"v":1}'


def test_a_receipt_is_read_as_agreed():
    receipt = wire.decode_receipt((GOLDEN / "receipt.json").read_bytes(), stream=STREAM)
    assert receipt.accepted == [(101, 104), (106, 108)]
    assert receipt.rejected == [Rejection(seq=105, code="future", reason="11 minutes ahead of the cloud")]
    assert receipt.retry == [Retry(first=109, last=109, code="unknown_point", reason="ahu-3")]
    assert receipt.server_time_ms == 1_764_000_000_450


def test_a_newer_cloud_may_say_more_than_the_agent_understands():
    body = json.dumps({**golden("receipt.json"), "new": {"field": 1}}).encode()
    assert wire.decode_receipt(body, stream=STREAM).accepted


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"stream": "another", "accepted": [[1, 2]]}',
        b'{"stream": "%s", "accepted": [[1]]}' % STREAM.encode(),
        b'{"stream": "%s", "accepted": [[-1, 5]]}' % STREAM.encode(),
        b'{"stream": "%s", "accepted": [[1, 99999999999999999999999]]}' % STREAM.encode(),
        b'{"stream": "%s", "rejected": [{"code": "x"}]}' % STREAM.encode(),
    ],
)
def test_an_answer_that_is_no_receipt_settles_nothing(body):
    with pytest.raises(wire.WireError):
        wire.decode_receipt(body, stream=STREAM)


def test_a_refusal_is_read_and_a_proxy_page_is_no_surprise():
    problem = wire.decode_problem((GOLDEN / "problem.json").read_bytes())
    assert problem.code == "batch_too_large"
    assert "20000" in str(problem)
    assert str(wire.decode_problem(b"<html>502</html>")) == "no reason given"
