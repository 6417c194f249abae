"""Opening the file of the outbox: never empty in silence, repaired when it is damaged."""

import sqlite3
from pathlib import Path

import structlog

from edge_agent.outbox import repair as repairing
from edge_agent.outbox.model import Limits, Stats
from edge_agent.outbox.queries import queries
from edge_agent.outbox.store import Lock, OutboxError, Store, is_corrupt, sync_folder

log = structlog.get_logger()


def open_store(path: Path, limits: Limits, stats: Stats, now_ms: int) -> tuple[Lock, Store]:
    """Open or create the outbox. Raises `OutboxError` with the remedy when the folder cannot be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
    except OSError as error:
        raise OutboxError(
            f"{path}: {error.strerror}; choose a writable folder: outbox.path in the site file, or EDGE_DATA_DIR"
        ) from error
    try:
        return lock, _open(path, limits, stats, now_ms)
    except BaseException:
        lock.release()
        raise


def _open(path: Path, limits: Limits, stats: Stats, now_ms: int) -> Store:
    lost = _was_emptied(path)
    try:
        store = Store(path, bytes_max=limits.bytes_max)
    except sqlite3.Error as error:
        if not is_corrupt(error):
            raise OutboxError(f"{path}: {error}; check the disk and the permissions of the folder") from error
        store = repair(path, limits, stats, now_ms, cause=str(error))
    if lost:
        _note(store, stats, now_ms, "the outbox file was missing or empty although one was here before: a new stream")
    _mark(path)
    return store


def repair(path: Path, limits: Limits, stats: Stats, now_ms: int, *, cause: str) -> Store:
    """Put the damaged file aside and go on with what can be read from it."""
    aside = repairing.set_aside(path, now_ms)
    store = Store(path, bytes_max=limits.bytes_max)
    saved = repairing.salvage(aside, store)
    _note(store, stats, now_ms, f"{cause}: {saved} observations saved, the damaged file is kept as {aside.name}")
    _mark(path)
    return store


def _note(store: Store, stats: Stats, now_ms: int, text: str) -> None:
    stats.repair = text
    log.error("outbox_repaired", path=str(store.path), what=text)
    with store.transaction() as db:
        db.execute(queries.insert_note, {"at": now_ms, "text": text})


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".exists")


def _was_emptied(path: Path) -> bool:
    return _marker(path).exists() and (not path.exists() or path.stat().st_size == 0)


def _mark(path: Path) -> None:
    marker = _marker(path)
    if not marker.exists():
        marker.touch()
        sync_folder(path.parent)
