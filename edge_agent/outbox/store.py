"""One SQLite file with one connection: opening, locking, transactions, and telling kinds of failure apart."""

import contextlib
import fcntl
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from edge_agent.outbox.model import Layout
from edge_agent.outbox.queries import queries

LAYOUTS_MAX = 10_000  # Beyond it a frame carries its layout in the chunk: bigger, still correct.
WAL_BYTES_KEPT = 8 * 1024**2  # Kept allocated, so that a full disk still lets a transaction free pages.


class OutboxError(RuntimeError):
    """The outbox cannot be opened; the message says what to do."""


class Store:
    """The file of the outbox. Not thread-safe: `Outbox` serialises the calls."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self.layouts: dict[int, Layout] = {}
        self._layout_ids: dict[tuple[str, tuple[str, ...], tuple[int | None, ...]], int] = {}
        self.stream = ""
        self.next_seq = 1
        self._db = self._connect()
        try:
            self._db.executescript(queries.schema)
            self._load()
        except BaseException:
            self._db.close()
            raise

    def use_bytes_max(self, bytes_max: int) -> None:
        """Let the file grow to another size; a file that is larger already keeps its size until it is emptied."""
        self._bytes_max = bytes_max
        _limit(self._db, bytes_max)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # FULL: a commit is on the disk before it is acknowledged. NORMAL could forget the last transactions in a
            # power cut, and sequence numbers that the cloud has seen would be given to other data.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 1000")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            _limit(db, self._bytes_max)
        except BaseException:
            db.close()
            raise
        return db

    def _load(self) -> None:
        with self.transaction():
            self._db.execute(queries.drop_layouts_when_empty)
            self._db.execute(queries.drop_layout_copies_when_empty)
            self.reload_layouts()
            inode = self._inode()
            newest = self._db.execute(queries.newest_stream).fetchone()
            # A copied or restored file would give numbers away that the cloud has already seen: start a new stream.
            if newest is None or newest[2] != inode:
                newest = (str(uuid.uuid4()), 1, inode)
                self._db.execute(queries.insert_stream, {"uuid": newest[0], "inode": inode})
            self.stream, self.next_seq = newest[0], newest[1]

    def _inode(self) -> str:
        return str(self.path.stat().st_ino)

    def _remember(self, layout_id: int, layout: Layout) -> None:
        self.layouts[layout_id] = layout
        self._layout_ids[layout.device, layout.points, layout.scales] = layout_id

    def layout_id(self, device: str, points: tuple[str, ...], scales: tuple[int | None, ...]) -> int | list[Any]:
        """Return the number of a layout, storing it first if it is new; or the layout itself when the table is full."""
        known = self._layout_ids.get((device, points, scales))
        if known is not None:
            return known
        if len(self.layouts) >= LAYOUTS_MAX:
            return [device, points, scales]
        points_json, scales_json = orjson.dumps(points), orjson.dumps(scales)
        row = self.one(
            queries.insert_layout,
            device=device,
            points=points_json.decode(),
            scales=scales_json.decode(),
            crc=layout_crc(device.encode(), points_json, scales_json),
        )
        self._db.execute(queries.copy_layout, {"id": row[0]})
        self._remember(row[0], Layout(device=device, points=points, scales=scales))
        return row[0]

    def reload_layouts(self) -> None:
        """Read the layouts from the file: at the start, and when a transaction that stored new ones was rolled back."""
        self.layouts.clear()
        self._layout_ids.clear()
        for layout_id, device, points, scales, _ in readable_layouts(self._db):
            layout = Layout(
                device=device.decode(), points=tuple(orjson.loads(points)), scales=tuple(orjson.loads(scales))
            )
            self._remember(layout_id, layout)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit on success, roll back on any error."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite rolls back by itself on a full disk; a second ROLLBACK would hide the cause.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def one(self, sql: str, **parameters: object) -> Any:
        """Return the first row."""
        return self._db.execute(sql, parameters).fetchone()

    def rows(self, sql: str, **parameters: object) -> sqlite3.Cursor:
        """Return a cursor over the rows."""
        return self._db.execute(sql, parameters)

    def used_bytes(self) -> int:
        """Return the bytes in use; the file may be larger, but its free pages are used again first."""
        page_size = self._db.execute("PRAGMA page_size").fetchone()[0]
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return (pages - free) * page_size

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, so that its space can be used again."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection; SQLite folds the write-ahead log into the file."""
        self._db.close()


class Lock:
    """One agent per outbox; the kernel gives the lock back even after kill -9."""

    def __init__(self, path: Path) -> None:
        self._file = path.with_name(path.name + ".lock").open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutboxError(
                f"{path}: another agent uses this outbox; stop it, or give this one its own file"
            ) from error

    def release(self) -> None:
        """Let another agent open the outbox."""
        self._file.close()


def is_full(error: BaseException) -> bool:
    """Tell whether the disk, or the size this file may have, is used up."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_FULL


def is_corrupt(error: BaseException) -> bool:
    """Tell whether the file itself is damaged, so that only a repair can help."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Raised by Python's module itself: a text column that is no UTF-8.
        return isinstance(error, sqlite3.OperationalError) and "decode" in str(error)
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def readable_layouts(db: sqlite3.Connection) -> list[tuple[int, bytes, bytes, bytes, int]]:
    """Return every layout that one of its two copies still holds undamaged."""
    found: dict[int, tuple[int, bytes, bytes, bytes, int]] = {}
    for statement in (queries.layout_copies, queries.layouts):
        with contextlib.suppress(sqlite3.DatabaseError):  # Rows before a damaged page are kept.
            for row in db.execute(statement):
                if layout_crc(row[1], row[2], row[3]) == row[4]:
                    found[row[0]] = row
    return list(found.values())


def layout_crc(device: bytes, points: bytes, scales: bytes) -> int:
    """Return the checksum of a layout: a damaged one must not give values other names."""
    return zlib.crc32(b"\n".join((device, points, scales)))


def sync_folder(folder: Path) -> None:
    """Make the creation or renaming of a file in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _limit(db: sqlite3.Connection, bytes_max: int) -> None:
    """Build a second wall behind the eviction by `Outbox`; SQLite never sets it below the present size."""
    page_size = db.execute("PRAGMA page_size").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {int(bytes_max * 1.1) // page_size + 64}")
