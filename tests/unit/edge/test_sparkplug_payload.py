"""Sparkplug B payloads: what goes in comes out, and foreign bytes break nothing."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sparkplug.payload import DataType, Metric, Payload, SparkplugError, decode, encode, signed
from edge_agent.sparkplug.session import Session
from edge_agent.uplink.wire import Catalogue

SCALARS = (
    st.tuples(st.just(DataType.DOUBLE), st.floats(allow_nan=False))
    | st.tuples(st.just(DataType.INT64), st.integers(-(2**63), 2**63 - 1))
    | st.tuples(st.just(DataType.INT32), st.integers(-(2**31), 2**31 - 1))
    | st.tuples(st.just(DataType.INT16), st.integers(-(2**15), 2**15 - 1))
    | st.tuples(st.just(DataType.INT8), st.integers(-128, 127))
    | st.tuples(st.just(DataType.UINT64), st.integers(0, 2**64 - 1))
    | st.tuples(st.just(DataType.UINT32), st.integers(0, 2**32 - 1))
    | st.tuples(st.just(DataType.BOOLEAN), st.booleans())
    | st.tuples(st.just(DataType.STRING), st.text(max_size=30))
    | st.tuples(st.sampled_from(DataType), st.none())
)


@given(SCALARS, st.text(max_size=20), st.integers(0, 2**63 - 1), st.booleans())
def test_a_metric_comes_out_as_it_went_in(scalar, name, alias, is_historical):
    datatype, value = scalar
    metric = Metric(
        name=name, alias=alias, timestamp_ms=1, datatype=datatype, value=value, is_historical=is_historical,
        properties={"Quality": 192, "Exact": "12345.678"},
    )  # fmt: skip
    back = decode(encode(Payload(timestamp_ms=5, seq=255, metrics=(metric,))))
    [read] = back.metrics
    assert (back.timestamp_ms, back.seq) == (5, 255)
    assert signed(read.value, read.datatype) == value
    assert (read.name, read.alias, read.is_historical) == (name, alias, is_historical)
    assert dict(read.properties) == {"Quality": 192, "Exact": "12345.678"}


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused_or_read_and_never_break(data):
    with contextlib.suppress(SparkplugError):
        decode(data)


def test_an_oversized_payload_is_refused():
    with pytest.raises(SparkplugError, match="bytes"):
        decode(b"\0" * 5_000_000)


def test_the_will_carries_the_number_of_the_session_and_no_sequence():
    session = Session(group="g", node="n", catalogue=Catalogue(devices=()))
    will = session.begin(256, now_ms=7)
    payload = decode(will.payload)
    assert (will.topic, will.qos, payload.seq) == ("spBv1.0/g/NDEATH/n", 1, None)
    assert [(m.name, m.value) for m in payload.metrics] == [("bdSeq", 0)]


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#"])
def test_names_that_would_break_a_topic_are_refused(name):
    with pytest.raises(ValueError, match="must not be empty or contain"):
        Session(group=name, node="n", catalogue=Catalogue(devices=()))
