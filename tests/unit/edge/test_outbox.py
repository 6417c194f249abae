"""What the outbox promises to the pollers before it and the uplink behind it."""

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Lane, Limits, Outbox, Rejection, Retry
from edge_agent.outbox.ranges import count, merge, missing, within
from edge_agent.outbox.store import OutboxError

G, U, BAD, N = Quality.GOOD, Quality.UNCERTAIN, Quality.INVALID, Quality.NO_ANSWER


class Time:
    """Wall clock and uptime that stand still until moved."""

    def __init__(self) -> None:
        self.ms = 1_764_000_000_000
        self.s = 0.0

    def now_ms(self) -> int:
        return self.ms

    def uptime_s(self) -> float:
        return self.s

    def pass_s(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self.s += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def path(tmp_path: Path):
    return tmp_path / "outbox.db"


@pytest.fixture
def open_outbox(path, time):
    opened: list[Outbox] = []

    def open_it(**limits) -> Outbox:
        outbox = Outbox(path, limits=Limits(**limits), now_ms=time.now_ms, uptime_s=time.uptime_s)
        opened.append(outbox)
        return outbox

    yield open_it
    for outbox in opened:
        with contextlib.suppress(sqlite3.ProgrammingError):  # Closed by the test.
            outbox.close()


def frame(*values, device="meter-1", at=1, qualities=None, is_billing=False) -> Frame:
    return Frame(
        device=device,
        observed_at_ms=at,
        points=tuple(f"p{index}" for index in range(len(values))),
        values=values,
        qualities=qualities or (G,) * len(values),
        is_billing=is_billing,
    )


def event(kind="door.access", at=5) -> Event:
    return Event(kind=kind, device="door-1", at_ms=at, received_at_ms=at + 1, data={"door": "2"})


def numbers(batch) -> dict[int, object]:
    found = {f.first_seq + index: value for f in batch.frames for index, value in enumerate(f.values)}
    return found | {e.seq: e.kind for e in batch.events}


def everything(outbox) -> dict[int, object]:
    found: dict[int, object] = {}
    batches = []
    while (batch := outbox.begin_batch(10_000)) is not None:
        batches.append(batch)
        found |= numbers(batch)
    for batch in batches:
        outbox.release(batch)
    return found


def test_observations_and_events_of_a_stream_are_numbered_from_one_without_holes(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.5, 2.5), frame(7, is_billing=True)], [event()])
    outbox.append([frame(3.5)])
    assert outbox.flush() == 5
    outbox.append([frame(4.5)])
    outbox.flush()
    assert sorted(everything(outbox)) == [1, 2, 3, 4, 5, 6]


def test_values_come_out_as_they_went_in(open_outbox):
    outbox = open_outbox()
    outbox.use_scales({"meter-1/p0": 3})
    values = (9_007_199_254_740_993, 0.1, -1e-300, None, 5.0)
    outbox.append([frame(*values, at=77, qualities=(G, G, U, BAD, G))])
    outbox.flush()
    batch = outbox.begin_batch(100)
    [stored] = batch.frames
    assert tuple(stored.values) == values
    assert list(stored.qualities) == [0, 0, 1, 2, 0]
    assert stored.layout.scales == (3, None, None, None, None)
    assert (stored.layout.device, stored.at_ms) == ("meter-1", 77)


def test_what_is_not_a_finite_number_becomes_invalid_and_is_counted(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(float("nan"), float("inf"), None, 2**70, True, 1.0)])
    outbox.flush()
    [stored] = outbox.begin_batch(100).frames
    assert list(stored.values) == [None, None, None, None, 1, 1.0]
    assert list(stored.qualities) == [2, 2, 2, 2, 0, 0]
    assert outbox.stats.malformed == 4


def test_a_value_never_travels_with_the_quality_of_a_silent_device(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(12.0, 13.0, qualities=(N, G))])
    outbox.flush()
    assert list(outbox.begin_batch(10).frames[0].values) == [None, 13.0]


def test_a_frame_whose_columns_disagree_is_counted_and_takes_no_number(open_outbox):
    outbox = open_outbox()
    broken = Frame(device="m", observed_at_ms=1, points=("a", "b"), values=(1.0,), qualities=(G,))
    outbox.append([broken, frame(1.0)])
    outbox.flush()
    assert everything(outbox) == {1: 1.0}
    assert outbox.stats.malformed == 1


def test_a_mantissa_keeps_the_scale_it_was_read_with(open_outbox):
    outbox = open_outbox()
    outbox.use_scales({"meter-1/p0": 3})
    outbox.append([frame(1000)])
    outbox.use_scales({"meter-1/p0": 2})
    outbox.append([frame(100)])
    outbox.flush()
    assert [f.layout.scales for f in outbox.begin_batch(10).frames] == [(3,), (2,)]


def test_only_durable_data_are_offered(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    assert outbox.begin_batch(10) is None


def test_accepted_leaves_rejected_is_kept_for_inspection_the_rest_stays(open_outbox, time, path):
    outbox = open_outbox()
    outbox.append([frame(10.0, 20.0, 30.0, 40.0)], [event()])
    outbox.flush()
    batch = outbox.begin_batch(100)
    outbox.settle(
        batch,
        accepted=[(1, 1), (5, 5)],
        rejected=[Rejection(seq=2, code="future", reason="too far")],
        retry=[Retry(first=3, last=4, code="unknown_point")],
    )
    assert outbox.begin_batch(100) is None  # Refused data pause.
    time.pass_s(2)
    assert everything(outbox) == {3: 30.0, 4: 40.0}
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT seq, code, reason, content FROM rejected").fetchall()
    db.close()
    assert [(seq, code, reason) for seq, code, reason, _ in rows] == [(2, "future", "too far")]
    assert '"meter-1/p1"' in rows[0][3]
    assert '"value":20.0' in rows[0][3]


def test_what_a_receipt_does_not_mention_is_sent_again(open_outbox, time):
    outbox = open_outbox()
    outbox.append([frame(1.0, 2.0)])
    outbox.flush()
    outbox.settle(outbox.begin_batch(10), accepted=[(1, 1)])
    time.pass_s(2)
    assert everything(outbox) == {2: 2.0}


def test_a_receipt_of_another_batch_settles_nothing(open_outbox, time):
    outbox = open_outbox()
    outbox.append([frame(1.0, 2.0)])
    outbox.flush()
    batch = outbox.begin_batch(10)
    outbox.settle(batch, accepted=[(3, 99)], rejected=[Rejection(seq=77, code="x")])
    time.pass_s(2)
    assert everything(outbox) == {1: 1.0, 2: 2.0}


def test_the_second_receipt_of_a_batch_is_ignored(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.flush()
    batch = outbox.begin_batch(10)
    outbox.release(batch)
    outbox.settle(batch, accepted=[(1, 1)])
    assert everything(outbox) == {1: 1.0}
    assert outbox.stats.ignored_receipts == 1


def test_what_was_settled_in_part_stays_settled_after_a_restart(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0, 2.0, 3.0)])
    outbox.flush()
    outbox.settle(outbox.begin_batch(10), accepted=[(2, 2)])
    outbox.close()
    again = open_outbox()
    assert everything(again) == {1: 1.0, 3: 3.0}
    assert sum(again.waiting().values()) == 2
    assert again.begin_batch(10).stream == outbox.stream


def test_numbers_go_on_after_a_restart_even_when_all_was_settled(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0, 2.0)])
    outbox.flush()
    outbox.settle(outbox.begin_batch(10), accepted=[(1, 2)])
    outbox.close()
    again = open_outbox()
    again.append([frame(3.0)])
    again.flush()
    assert again.stream == outbox.stream
    assert everything(again) == {3: 3.0}


def test_a_copied_file_starts_a_new_stream_and_keeps_the_numbers_of_the_old_one(open_outbox, path, time, tmp_path):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.close()
    copy = tmp_path / "restored" / "outbox.db"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    restored = Outbox(copy, now_ms=time.now_ms, uptime_s=time.uptime_s)
    restored.append([frame(2.0)])
    restored.flush()
    first, second = restored.begin_batch(100), restored.begin_batch(100)
    assert (first.stream, numbers(first)) == (outbox.stream, {1: 1.0})
    assert (second.stream, numbers(second)) == (restored.stream, {1: 2.0})
    assert restored.stream != outbox.stream
    restored.close()


def test_live_data_are_taken_before_the_backlog(open_outbox):
    outbox = open_outbox()
    for index in range(5):
        outbox.append([frame(float(index))])
        outbox.flush()
    outbox.close()
    outbox = open_outbox()
    outbox.append([frame(9.0)])
    outbox.flush()
    assert list(numbers(outbox.begin_batch(2, lane=Lane.LIVE)).values()) == [9.0]
    assert outbox.begin_batch(2, lane=Lane.LIVE) is None
    assert list(numbers(outbox.begin_batch(3)).values()) == [0.0, 1.0, 2.0]
    assert list(numbers(outbox.begin_batch(3)).values()) == [3.0, 4.0]


def test_live_that_does_not_fit_one_batch_becomes_backlog_oldest_first(open_outbox):
    outbox = open_outbox()
    for index in range(5):
        outbox.append([frame(float(index))])
        outbox.flush()
    assert list(numbers(outbox.begin_batch(2, lane=Lane.LIVE)).values()) == [3.0, 4.0]
    assert list(numbers(outbox.begin_batch(9)).values()) == [0.0, 1.0, 2.0]


def test_a_batch_given_back_is_offered_again(open_outbox):
    outbox = open_outbox()
    for index in range(3):
        outbox.append([frame(float(index))])
        outbox.flush()
    first, second = outbox.begin_batch(1), outbox.begin_batch(1)
    outbox.settle(second, accepted=[(2, 2)])
    outbox.release(first)
    assert everything(outbox) == {1: 0.0, 3: 2.0}


def test_refused_data_wait_longer_each_time_and_do_not_block_the_others(open_outbox, time):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.flush()
    outbox.release(outbox.begin_batch(10), refused=True)
    outbox.append([frame(2.0)])
    outbox.flush()
    other = outbox.begin_batch(10)
    assert numbers(other) == {2: 2.0}
    outbox.settle(other, accepted=[(2, 2)])
    time.pass_s(1.1)
    outbox.release(outbox.begin_batch(10), refused=True)
    time.pass_s(1.1)
    assert outbox.begin_batch(10) is None
    time.pass_s(1)
    assert numbers(outbox.begin_batch(10)) == {1: 1.0}


def test_refused_data_are_offered_at_once_when_the_obstacle_is_gone(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.flush()
    outbox.release(outbox.begin_batch(10), refused=True)
    outbox.offer_refused()
    assert numbers(outbox.begin_batch(10)) == {1: 1.0}


def test_a_cursor_becomes_durable_together_with_its_data(open_outbox):
    outbox = open_outbox()
    outbox.append([frame(1.0)], cursors={"door-1": "7"})
    assert outbox.cursor("door-1") is None
    outbox.flush()
    outbox.append([], cursors={"door-1": "8"})
    outbox.close()
    again = open_outbox()
    assert again.cursor("door-1") == "8"
    assert everything(again) == {1: 1.0}


def test_many_refused_chunks_wait_their_turn_and_all_come_back(open_outbox, time):
    outbox = open_outbox()
    for index in range(1200):
        outbox.append([frame(float(index))])
        outbox.flush()
    while (batch := outbox.begin_batch(100)) is not None:
        outbox.release(batch, refused=True)
    outbox.append([frame(-1.0)])
    outbox.flush()
    fresh = outbox.begin_batch(100)
    assert list(numbers(fresh).values()) == [-1.0]
    outbox.settle(fresh, accepted=[(1, 10**6)])
    time.pass_s(2)
    assert sorted(everything(outbox).values()) == [float(index) for index in range(1200)]


def test_a_refused_chunk_that_was_evicted_meanwhile_is_forgotten(open_outbox, time):
    outbox = open_outbox(bytes_max=512 * 1024)
    outbox.append([frame(1.0)])
    outbox.flush()
    outbox.release(outbox.begin_batch(10), refused=True)
    fill(outbox, 800)
    outbox.maintain()
    time.pass_s(2)
    assert 1 not in everything(outbox)
    assert len(outbox._picker._refused) == 0


def test_given_back_batches_come_again_oldest_first_whatever_the_order(open_outbox):
    outbox = open_outbox()
    for index in range(6):
        outbox.append([frame(float(index))])
        outbox.flush()
    batches = [outbox.begin_batch(1) for _ in range(6)]
    for batch in (batches[4], batches[1], batches[3]):
        outbox.release(batch)
    assert list(everything(outbox).values()) == [1.0, 3.0, 4.0]


def test_two_agents_cannot_share_an_outbox(open_outbox):
    open_outbox()
    with pytest.raises(OutboxError, match="another agent"):
        open_outbox()


def test_an_unusable_folder_is_one_clear_error(time):
    with pytest.raises(OutboxError, match="choose a writable folder"):
        Outbox(Path("/proc/nowhere/outbox.db"), now_ms=time.now_ms)


def fill(outbox, kib: int, *, is_billing=False, device="meter-1"):
    """Store about `kib` KiB that hardly compress."""
    source = random.Random(kib)
    for _ in range(kib // 4):
        outbox.append([frame(*(source.random() for _ in range(430)), device=device, is_billing=is_billing)])
        outbox.flush()


def test_overflow_drops_the_oldest_telemetry_first_and_billing_last(open_outbox, time):
    outbox = open_outbox(bytes_max=512 * 1024)
    outbox.append([frame(42, is_billing=True, device="bill")], [event()])
    outbox.flush()
    fill(outbox, 800)
    outbox.maintain()
    assert outbox.used_bytes() <= 512 * 1024
    assert outbox.stats.dropped["telemetry"] > 0
    assert outbox.stats.dropped["billing"] == outbox.stats.dropped["event"] == 0
    left = everything(outbox)
    assert left[1] == 42
    assert left[2] == "door.access"
    assert 3 not in left


def test_billing_is_dropped_only_when_nothing_else_is_left(open_outbox):
    outbox = open_outbox(bytes_max=512 * 1024)
    fill(outbox, 100)
    fill(outbox, 800, is_billing=True)
    outbox.maintain()
    assert outbox.stats.dropped["billing"] > 0
    assert {f.layout.device for f in outbox.begin_batch(10**6).frames} == {"meter-1"}
    assert outbox.waiting()[0] == 0


def test_an_outbox_that_is_nearly_full_says_so_once_and_says_when_it_is_well_again(open_outbox):
    outbox = open_outbox(bytes_max=512 * 1024)
    fill(outbox, 420)
    outbox.maintain()
    outbox.maintain()
    outbox.flush()
    batches = []
    while (batch := outbox.begin_batch(10_000)) is not None:
        batches.append(batch)
    states = [e.data["state"] for b in batches for e in b.events]
    assert states == ["warning"]
    for batch in batches:
        outbox.settle(batch, accepted=[(1, 10**9)])
    outbox.maintain()
    outbox.flush()
    assert [e.data["state"] for e in outbox.begin_batch(10).events] == ["normal"]


def test_dropped_ranges_are_told_to_the_cloud(open_outbox):
    outbox = open_outbox(bytes_max=512 * 1024)
    fill(outbox, 800)
    outbox.maintain()
    outbox.flush()
    events = []
    while (batch := outbox.begin_batch(10_000)) is not None:
        events += batch.events
    [told] = [e for e in events if e.data["state"] == "dropping"]
    assert told.kind == "outbox.overflow"
    assert told.data["dropped"] == [[1, outbox.stats.dropped["telemetry"]]]


def test_what_is_older_than_the_limit_leaves(open_outbox, time):
    outbox = open_outbox(age_max_ms=86_400_000)
    outbox.append([frame(1.0)])
    outbox.flush()
    time.pass_s(90_000)
    outbox.append([frame(2.0)])
    outbox.flush()
    outbox.maintain()
    assert {k: v for k, v in everything(outbox).items() if k <= 2} == {2: 2.0}


def test_a_clock_jump_does_not_make_data_old(open_outbox, time):
    outbox = open_outbox(age_max_ms=86_400_000)
    outbox.append([frame(1.0)])
    outbox.flush()
    time.ms += 10 * 365 * 86_400_000
    time.s += 120
    outbox.maintain()
    assert everything(outbox) == {1: 1.0}


def test_a_refused_write_keeps_the_data_in_memory_and_in_order(open_outbox, monkeypatch):
    outbox = open_outbox()
    real = outbox._write

    def full(taken):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(outbox, "_write", full)
    outbox.append([frame(1.0)])
    with pytest.raises(sqlite3.OperationalError):
        outbox.flush()
    assert outbox.report()["last_error"] == "database or disk is full"
    outbox.append([frame(2.0)])
    monkeypatch.setattr(outbox, "_write", real)
    outbox.flush()
    assert everything(outbox) == {1: 1.0, 2: 2.0}
    assert outbox.report()["last_error"] is None


def test_memory_is_bounded_while_the_disk_refuses_and_billing_is_kept(open_outbox):
    outbox = open_outbox(buffer_frames_max=100)
    outbox.append([frame(42, is_billing=True)])
    for index in range(500):
        outbox.append([frame(float(index))])
    assert outbox.report()["buffered"] <= 100
    outbox.flush()
    assert 42 in everything(outbox).values()
    assert outbox.stats.dropped["telemetry"] >= 400
    assert 499.0 in everything(outbox).values()


def test_rejected_data_are_bounded(open_outbox, path):
    outbox = open_outbox(rejected_max=10)
    outbox.append([frame(*(float(i) for i in range(50)))])
    outbox.flush()
    outbox.settle(outbox.begin_batch(100), accepted=[], rejected=[Rejection(seq=s, code="x") for s in range(1, 51)])
    assert outbox.begin_batch(10) is None
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT min(seq), count(*) FROM rejected").fetchone() == (41, 10)
    db.close()


def damage(path: Path, *, at_share: float, size: int = 8192) -> None:
    content = bytearray(path.read_bytes())
    start = int(len(content) * at_share) // 4096 * 4096
    content[start : start + size] = b"\xa5" * size
    path.write_bytes(content)


@pytest.mark.parametrize("at_share", [0.0, 0.03, 0.08, 0.15, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_file_is_set_aside_and_what_is_readable_is_saved(open_outbox, path, at_share):
    outbox = open_outbox()
    fill(outbox, 400)
    outbox.flush()
    before = everything(outbox)
    outbox.close()
    damage(path, at_share=at_share)
    outbox = open_outbox()
    found: dict[tuple[str, int], object] = {}
    for _ in range(100):
        batch = outbox.begin_batch(5_000)
        if batch is None and outbox.begin_batch(1) is None:
            break
        if batch is not None:
            found |= {(batch.stream, seq): value for seq, value in numbers(batch).items()}
    old_stream = {seq: value for (stream, seq), value in found.items() if seq in before}
    assert all(before[seq] == value for seq, value in old_stream.items())
    if at_share > 0:
        assert len(old_stream) > len(before) * 0.3
    report = outbox.report()
    if len(old_stream) < len(before):
        assert report["repair"] or report["damaged_chunks"]
    if report["repair"]:
        assert list(path.parent.glob("outbox.db.damaged-*"))


def test_a_file_that_is_not_a_database_is_set_aside(open_outbox, path):
    path.write_bytes(b"not a database at all, " * 400)
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.flush()
    assert everything(outbox) == {1: 1.0, 2: "outbox.repaired"}
    assert "kept as outbox.db.damaged-" in outbox.report()["repair"]


@pytest.mark.parametrize("harm", ["garbage", "vanished", "damaged while open"])
def test_a_repair_is_told_to_the_cloud_once(open_outbox, path, harm):
    outbox = open_outbox()
    outbox.append([frame(1.0)])
    outbox.flush()
    if harm == "damaged while open":
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        outbox._failed(error)
    else:
        outbox.close()
        path.unlink() if harm == "vanished" else path.write_bytes(b"not a database at all, " * 400)
        outbox = open_outbox()
    outbox.flush()
    events = []
    while (batch := outbox.begin_batch(10_000)) is not None:
        events += batch.events
    [told] = events
    assert (told.kind, told.data["what"]) == ("outbox.repaired", outbox.report()["repair"])


def test_a_file_that_vanished_is_not_replaced_in_silence(open_outbox, path):
    open_outbox().close()
    path.unlink()
    assert "missing or empty" in open_outbox().report()["repair"]


ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


@given(ranges, st.integers(1, 60), st.integers(0, 30))
def test_covered_and_missing_parts_make_up_the_whole(given_ranges, first, length):
    last = first + length
    merged = merge(given_ranges)
    plain = {n for a, b in given_ranges for n in range(a, b + 1)}
    assert {n for a, b in merged for n in range(a, b + 1)} == plain
    covered = {n for a, b in within(merged, first, last) for n in range(a, b + 1)}
    open_part = {n for a, b in missing(merged, first, last) for n in range(a, b + 1)}
    assert covered == plain & set(range(first, last + 1))
    assert open_part == set(range(first, last + 1)) - plain
    assert count(merged) == len(plain)
