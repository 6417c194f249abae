import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import zstandard

from tests.integration.ingest.conftest import CATALOGUE, NOW, NOW_MS

ENERGY = "meter-1/active_energy_import"
POWER = "meter-1/active_power"


async def test_a_batch_is_stored_and_its_numbers_are_accepted(edge, rows_of):
    await edge.announce()
    receipt = await edge.send([(1, ENERGY, NOW_MS - 5000, 12345678), (2, POWER, NOW_MS - 5000, 1500.5)])
    assert receipt["accepted"] == [[1, 2]]
    assert receipt["rejected"] == receipt["retry"] == []
    assert receipt["server_time_ms"] == NOW_MS
    rows = await rows_of(
        "SELECT p.name, o.observed_at, o.value, o.mantissa, o.scale, o.quality"
        "  FROM observation o JOIN point p ON p.id = o.point_id ORDER BY p.name"
    )
    at = NOW - timedelta(seconds=5)
    assert rows == [
        ("active_energy_import", at, 12345.678, 12345678, 3, 0),
        ("active_power", at, 1500.5, None, None, 0),
    ]


async def test_a_batch_sent_twice_changes_nothing(edge, rows_of):
    await edge.announce()
    rows = [(n, POWER, NOW_MS - 10_000 + n, float(n)) for n in range(1, 50)]
    first = await edge.send(rows)
    second = await edge.send(rows)
    assert first == second
    assert await rows_of("SELECT count(*) FROM observation") == [(49,)]


async def test_an_overlapping_batch_stores_only_what_is_new(edge, rows_of):
    await edge.announce()
    rows = [(n, POWER, NOW_MS - 10_000 + n, float(n)) for n in range(1, 31)]
    await edge.send(rows[5:10])
    await edge.send(rows[15:20])
    receipt = await edge.send(rows)
    assert receipt["accepted"] == [[1, 30]]
    assert await rows_of("SELECT count(*), count(DISTINCT value) FROM observation") == [(30, 30)]
    assert await rows_of("SELECT settled::text, accepted_count FROM ingest_stream") == [("{[1,31)}", 30)]


async def test_one_number_twice_in_one_message_counts_once(edge, rows_of):
    await edge.announce()
    receipt = await edge.send([(1, POWER, NOW_MS, 1.0), (1, POWER, NOW_MS, 2.0)])
    assert receipt["accepted"] == [[1, 1]]
    assert await rows_of("SELECT value FROM observation") == [(1.0,)]


async def test_the_same_numbers_of_another_outbox_are_other_observations(edge, rows_of):
    await edge.announce()
    await edge.send([(1, POWER, NOW_MS, 1.0)])
    edge.stream = "00000000-0000-0000-0000-000000000001"
    await edge.send([(1, POWER, NOW_MS + 1, 2.0)])
    assert await rows_of("SELECT count(*) FROM observation") == [(2,)]


async def test_poison_is_rejected_with_its_reason_and_its_neighbours_are_accepted(edge, rows_of):
    await edge.announce()
    receipt = await edge.send(
        [
            (1, POWER, NOW_MS, 1.0),
            (2, POWER, NOW_MS + 86_400_000, 1.0),
            (3, POWER, NOW_MS, "1.0"),
            (4, POWER, "now", 1.0),
            (5, POWER, NOW_MS, None),
            (6, POWER, NOW_MS, 1.0, 9),
            (7, ENERGY, NOW_MS, 1.5),
            (8, ENERGY, NOW_MS, 2**63),
            (9, POWER, 12, 1.0),
            (10, POWER, NOW_MS, [1]),
            (11, POWER, 10**30, 1.0),
            (12, POWER, NOW_MS, 2.0),
        ]
    )
    assert receipt["accepted"] == [[1, 1], [12, 12]]
    codes = {r["seq"]: r["code"] for r in receipt["rejected"]}
    assert codes == {
        2: "future",
        3: "not_a_number",
        4: "malformed",
        5: "no_value",
        6: "bad_quality",
        7: "not_exact",
        8: "out_of_range",
        9: "too_old",
        10: "not_a_number",
        11: "malformed",
    }
    kept = dict(await rows_of("SELECT seq, code FROM ingest_rejection"))
    assert kept == codes
    assert await rows_of("SELECT count(*) FROM observation") == [(2,)]


async def test_rejected_numbers_get_the_same_verdict_when_they_are_sent_again(edge, rows_of):
    await edge.announce()
    rows = [(1, POWER, NOW_MS, 1.0), (2, POWER, NOW_MS + 86_400_000, 1.0)]
    assert await edge.send(rows) == await edge.send(rows)
    assert await rows_of("SELECT rejected_count FROM ingest_stream") == [(1,)]


async def test_an_unknown_point_is_kept_by_the_agent_until_the_catalogue_is_known(edge, rows_of):
    rows = [(1, ENERGY, NOW_MS, 1), (2, POWER, NOW_MS, 1.0)]
    before = await edge.send(rows)
    assert before["accepted"] == []
    assert [(r["from"], r["to"], r["code"]) for r in before["retry"]] == [(1, 2, "unknown_point")]
    assert ENERGY in before["retry"][0]["reason"]
    await edge.announce()
    assert (await edge.send(rows))["accepted"] == [[1, 2]]
    assert await rows_of("SELECT count(*) FROM observation") == [(2,)]


async def test_late_values_are_stored_but_do_not_replace_newer_latest_values(edge, rows_of):
    await edge.announce()
    await edge.send([(1, ENERGY, NOW_MS, 2000)])
    await edge.send([(2, ENERGY, NOW_MS - 4 * 365 * 86_400_000, 1000)])
    assert await rows_of("SELECT observed_at, value, exact, quality FROM latest_value") == [(NOW, 2.0, Decimal(2), 0)]
    assert await rows_of("SELECT count(*) FROM observation") == [(2,)]


async def test_an_unanswered_poll_is_stored_without_a_value(edge, rows_of):
    await edge.announce()
    await edge.send([(1, ENERGY, NOW_MS, None, 3), (2, POWER, NOW_MS, 7.0, 2)])
    assert await rows_of("SELECT value, mantissa, quality FROM observation ORDER BY quality") == [
        (None, None, 2),
        (None, None, 3),
    ]


async def test_events_are_stored_once_and_set_the_device_state(edge, rows_of):
    await edge.announce()
    events = [
        {"seq": 1, "kind": "device.state", "device": "meter-1", "at_ms": NOW_MS - 1000, "received_at_ms": NOW_MS,
         "data": {"state": "offline", "error": "timeout"}},
        {"seq": 2, "kind": "door.access", "device": "door-1", "at_ms": NOW_MS - 500, "received_at_ms": NOW_MS,
         "data": {"direction": "in"}},
    ]  # fmt: skip
    await edge.send(events=events)
    receipt = await edge.send(events=events)
    assert receipt["accepted"] == [[1, 2]]
    assert await rows_of("SELECT kind, data ->> 'direction' FROM event ORDER BY id") == [
        ("device.state", None),
        ("door.access", "in"),
    ]
    assert await rows_of("SELECT state, last_error, state_since FROM device WHERE name = 'meter-1'") == [
        ("offline", "timeout", NOW - timedelta(seconds=1))
    ]


async def test_an_older_state_does_not_replace_a_newer_one(edge, rows_of):
    await edge.announce()

    def state(seq, value, at_ms):
        return {"seq": seq, "kind": "device.state", "device": "meter-1", "at_ms": at_ms, "received_at_ms": NOW_MS,
                "data": {"state": value}}  # fmt: skip

    await edge.send(events=[state(2, "online", NOW_MS)])
    await edge.send(events=[state(1, "offline", NOW_MS - 60_000)])
    assert await rows_of("SELECT state FROM device WHERE name = 'meter-1'") == [("online",)]


async def test_a_broken_event_is_rejected_alone(edge, rows_of):
    await edge.announce()
    good = {"seq": 2, "kind": "clock.jump", "device": None, "at_ms": NOW_MS, "received_at_ms": NOW_MS, "data": {}}
    receipt = await edge.send(events=[{"seq": 1, "kind": "door.access"}, good])
    assert receipt["accepted"] == [[2, 2]]
    assert [(r["seq"], r["code"]) for r in receipt["rejected"]] == [(1, "malformed")]


async def test_compressed_bodies_are_understood(edge):
    await edge.announce()
    for seq, encoding, pack in ((1, "gzip", gzip.compress), (2, "zstd", zstandard.ZstdCompressor().compress)):
        body = json.dumps(edge.message([(seq, POWER, NOW_MS, 1.0)])).encode()
        answer = await edge.client.post(
            "/ingest/v1/batches", content=pack(body), headers=edge.headers | {"Content-Encoding": encoding}
        )
        assert answer.json()["accepted"] == [[seq, seq]]


async def test_a_decompression_bomb_is_refused_before_it_unfolds(edge):
    for encoding, bomb in (
        ("gzip", gzip.compress(bytes(100 * 1024**2))),
        ("zstd", zstandard.ZstdCompressor().compress(bytes(100 * 1024**2))),
    ):
        answer = await edge.client.post(
            "/ingest/v1/batches", content=bomb, headers=edge.headers | {"Content-Encoding": encoding}
        )
        assert answer.status_code == 413
        assert answer.json()["code"] == "body_too_large"


async def test_unreadable_messages_are_refused_as_a_whole_with_the_place(edge):
    await edge.announce()
    good = edge.message([(1, POWER, NOW_MS, 1.0)])
    cases = [
        (good | {"seq": [1, 2]}, 422, "seq"),
        (good | {"seq": ["1"]}, 422, "seq.0"),
        (good | {"seq": [0]}, 422, "seq"),
        (good | {"stream": "x"}, 422, "stream"),
        (good | {"v": 2}, 422, "v"),
        (good | {"scales": []} | {"scales": [None, 3]}, 422, "scales"),
        (good | {"events": {}}, 422, "events"),
        ([], 422, "object"),
    ]
    for message, status, word in cases:
        answer = await edge.client.post("/ingest/v1/batches", json=message, headers=edge.headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert word in answer.json()["detail"]
    answer = await edge.client.post("/ingest/v1/batches", content=b"{", headers=edge.headers)
    assert answer.status_code == 400


async def test_without_the_right_credential_nothing_is_accepted(edge):
    for credential in ("", "wl_gw_000000000000_" + "x" * 43, edge.credential[:-1] + "~", "nonsense"):
        answer = await edge.client.post(
            "/ingest/v1/batches", json=edge.message(), headers={"Authorization": f"Bearer {credential}"}
        )
        assert answer.status_code == 401


async def test_the_catalogue_replaces_what_was_known_and_keeps_ids(edge, rows_of):
    assert (await edge.announce())["changed"] is True
    assert (await edge.announce())["changed"] is False
    [before] = await rows_of("SELECT id FROM point WHERE name = 'active_power'")
    changed = CATALOGUE | {
        "revision": "r2",
        "devices": [CATALOGUE["devices"][0] | {"points": [{"name": "active_power", "unit": "kW"}]}],
    }
    await edge.announce(changed)
    assert await rows_of("SELECT id, unit FROM point WHERE name = 'active_power'") == [(before[0], "kW")]
    assert await rows_of("SELECT name FROM point WHERE retired_at IS NOT NULL") == [("active_energy_import",)]
    assert await rows_of("SELECT name FROM device WHERE retired_at IS NOT NULL") == [("door-1",)]


async def test_a_heartbeat_keeps_health_and_device_states(edge, rows_of):
    await edge.announce()
    heartbeat = {
        "v": 1, "clock_offset_ms": -12, "outbox_bytes": 4096,
        "devices": [{"name": "meter-1", "state": "online", "since_ms": NOW_MS - 1000, "last_error": ""},
                    {"name": "unknown", "state": "online", "since_ms": 1, "last_error": ""}],
    }  # fmt: skip
    answer = await edge.client.post("/ingest/v1/heartbeat", json=heartbeat, headers=edge.headers)
    assert answer.json()["server_time_ms"] == NOW_MS
    assert await rows_of("SELECT last_seen_at, clock_offset_ms, health ->> 'outbox_bytes' FROM gateway") == [
        (NOW, -12, "4096")
    ]
    assert await rows_of("SELECT state FROM device WHERE name = 'meter-1'") == [("online",)]


async def test_observations_find_their_month_at_every_edge(edge, rows_of):
    await edge.announce()
    edges = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), datetime(2024, 2, 29, 23, tzinfo=UTC),
             datetime(2025, 3, 30, 1, tzinfo=UTC), datetime(2025, 10, 26, 1, tzinfo=UTC)]  # fmt: skip
    instants = [int(at.timestamp() * 1000) + shift for at in edges for shift in (-1, 0, 1)]
    receipt = await edge.send([(n, POWER, ms, float(n)) for n, ms in enumerate(instants, start=1)])
    assert receipt["accepted"] == [[1, len(instants)]]
    assert await rows_of("SELECT count(*) FROM observation") == [(len(instants),)]
