"""What to do with a damaged outbox: keep the file aside, save what can be read, start a new stream, say so."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.outbox.store import Store, layout_crc, readable_layouts, sync_folder

DAMAGED_FILES_KEPT = 2
PROBES_MAX = 20_000  # How many ids are tried one by one where pages cannot be read.

Row = tuple[Any, ...]
NUMBERS_RESERVED = 1_000_000
SALVAGE_SQL = "SELECT id, stream, first_seq, count, class, stored_at, done, payload FROM chunk WHERE id "
LAYOUT_SQL = "INSERT OR IGNORE INTO layout (id, device, points, scales, crc) VALUES (?, ?, ?, ?, ?)"
INSERT_SQL = (
    "INSERT INTO chunk (stream, first_seq, count, class, stored_at, done, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def set_aside(path: Path, now_ms: int) -> Path:
    """Rename the damaged file (and its log) and drop the oldest ones kept from earlier repairs."""
    aside = path.with_name(f"{path.name}.damaged-{now_ms}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    kept = sorted(p for p in path.parent.glob(f"{path.name}.damaged-*") if not p.name.endswith(("-wal", "-shm")))
    for old in kept[:-DAMAGED_FILES_KEPT]:
        for suffix in ("-wal", "-shm", ""):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    sync_folder(path.parent)
    return aside


def salvage(aside: Path, store: Store) -> int:
    """Copy every readable chunk into the new store under its old stream and numbers; return how many observations.

    The cloud may have seen some of them already: under their own numbers they are recognised and not stored twice.
    Payloads are copied unread; one that is damaged is found by its checksum when its turn to be sent comes.
    """
    saved = 0
    try:
        old = sqlite3.connect(f"file:{aside}?mode=rw", uri=True, isolation_level=None)
    except sqlite3.Error:
        return 0
    try:
        _copy_layouts(old, store)
        with store.transaction() as db:
            for row in _readable_chunks(old):
                try:
                    db.execute(INSERT_SQL, row[1:])
                except (sqlite3.IntegrityError, sqlite3.InterfaceError):
                    continue  # The row is garbage: its types do not fit.
                saved += row[3]
    finally:
        old.close()
    return saved


def _copy_layouts(old: sqlite3.Connection, store: Store) -> None:
    """Keep the layouts under their old numbers, since the chunks refer to them."""
    rows = readable_layouts(old)
    with store.transaction() as db:
        for layout_id, device, points, scales, crc in rows:
            db.execute(LAYOUT_SQL, (layout_id, device.decode(), points.decode(), scales.decode(), crc))
        # A chunk may refer to a layout that could not be read. Its number must not be given to another layout.
        reserved = max((row[0] for row in rows), default=0) + NUMBERS_RESERVED
        db.execute(LAYOUT_SQL, (reserved, "", "[]", "[]", layout_crc(b"", b"[]", b"[]")))
        db.execute("INSERT OR REPLACE INTO layout_copy SELECT id, device, points, scales, crc FROM layout")
    store.reload_layouts()


def _readable_chunks(old: sqlite3.Connection) -> Iterator[Row]:
    """Read forwards to the first damaged page, backwards to the last one, then probe what lies between."""
    low, high = 0, 2**62
    with contextlib.suppress(sqlite3.Error):
        for row in old.execute(SALVAGE_SQL + "> ? ORDER BY id", (low,)):
            low = row[0]
            yield row
        return
    with contextlib.suppress(sqlite3.Error):
        for row in old.execute(SALVAGE_SQL + "> ? ORDER BY id DESC", (low,)):
            high = row[0]
            yield row
    step = max((min(high, low + PROBES_MAX * 64) - low) // PROBES_MAX, 1)
    for start in range(low + 1, min(high, low + step * PROBES_MAX), step):
        with contextlib.suppress(sqlite3.Error):
            yield from old.execute(SALVAGE_SQL + "BETWEEN ? AND ? ORDER BY id", (start, min(start + step, high) - 1))
