import contextlib
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_api.ingest.limits import LIMITS, RateLimiter
from cloud_api.ingest.message import MessageRefused, read_batch
from cloud_api.ingest.verdicts import judge, to_ranges
from cloud_api.telemetry.columns import COPY_HEADER, COPY_TRAILER, Observations, copy_rows

NOW_MS = 1_773_144_000_000
POINTS = {"m/energy": 1, "m/power": 2}

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
instants = st.integers(NOW_MS - 10**9, NOW_MS + 10**7) | anything
values = st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9) | st.none() | anything


@st.composite
def messages(draw):
    count = draw(st.integers(0, 12))

    def column(element):
        return draw(st.lists(element, min_size=count, max_size=count))

    message = {
        "v": 1,
        "stream": "00000000-0000-0000-0000-000000000001",
        "points": ["m/energy", "m/power", "m/unknown"],
        "scales": [3, None, None],
        "seq": column(st.integers(1, 30)),
        "point": column(st.integers(0, 2) | anything),
        "at_ms": column(instants),
        "value": column(values),
        "quality": column(st.integers(0, 3) | anything),
        "events": [
            {"seq": n, "kind": "door.access", "device": draw(st.sampled_from(["m", "x", None])), "at_ms": NOW_MS,
             "received_at_ms": draw(instants), "data": draw(st.dictionaries(st.text(max_size=3), anything, max_size=2))}
            for n in draw(st.lists(st.integers(31, 40), max_size=3, unique=True))
        ],
    }  # fmt: skip
    if draw(st.integers(0, 9)) == 0:
        message[draw(st.sampled_from(sorted(message)))] = draw(anything)
    return message


def verdicts(message, settled=()):
    batch = read_batch(orjson.dumps(message))
    return judge(batch, settled=settled, points=POINTS, devices={"m": 9}, now_ms=NOW_MS, limits=LIMITS)


@settings(max_examples=400, deadline=None)
@given(messages(), st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), max_size=3))
def test_every_new_number_gets_exactly_one_verdict_whatever_the_message_holds(message, spans):
    settled = to_ranges(np.array([n for first, length in spans for n in range(first, first + length)], dtype=np.int64))
    try:
        found = verdicts(message, settled)
    except MessageRefused:
        return
    known = {n for first, end in settled for n in range(first, end)}
    sent = set(message["seq"]) | {e["seq"] for e in message["events"]}
    accepted = found.accepted_seq.tolist()
    rejected = [r.seq for r in found.rejected]
    again = [n for r in found.retry for n in range(r.first, r.last + 1)]
    assert sorted(accepted + rejected + again) == sorted(sent - known)
    assert len(found.accepted) + len(found.accepted_events) == len(accepted)
    assert copy_rows(found.accepted).startswith(COPY_HEADER)
    assert all(r.code and r.reason for r in found.rejected)
    orjson.dumps([dict(r.content) for r in found.rejected], option=orjson.OPT_SERIALIZE_NUMPY)


@given(st.binary(max_size=200))
def test_no_body_is_read_without_a_refusal_or_a_batch(body):
    with contextlib.suppress(MessageRefused):
        read_batch(body)


@given(st.lists(st.integers(1, 10**6), max_size=50))
def test_ranges_hold_exactly_the_numbers(numbers):
    ranges = to_ranges(np.array(numbers, dtype=np.int64))
    assert sorted(n for first, end in ranges for n in range(first, end)) == sorted(set(numbers))
    assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_the_binary_rows_are_what_postgresql_expects():
    rows = Observations(
        point_id=np.array([1, 2]), at_ms=np.array([946_684_800_001, 946_684_800_002]), value=np.array([1.5, np.nan]),
        mantissa=np.array([15, 0]), quality=np.array([0, 3]), scale=np.array([1, -1]),
    )  # fmt: skip
    data = copy_rows(rows)
    full = 2 + 6 * 4 + 8 * 4 + 2 * 2
    assert len(data) == len(COPY_HEADER) + full + (full - 8 - 8 - 2) + len(COPY_TRAILER)


@pytest.mark.parametrize(("cost", "at_s", "waits"), [(100, 0, False), (1, 0, True), (10, 1.0, False), (11, 1.0, True)])
def test_a_gateway_that_sends_too_fast_waits_for_its_tokens(cost, at_s, waits):
    limiter = RateLimiter(per_second=10, burst=100, keys_max=2)
    if (cost, at_s) != (100, 0):
        assert limiter.wait_s(1, 100, 0) == 0
    assert (limiter.wait_s(1, cost, at_s) > 0) is waits
