"""Importing files of readings: preview with an error per row, import once, undo as a whole."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows, one_row
from cloud_api.identity import service as identity
from cloud_api.identity.model import StaffViewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.kit.ids import RegisterId
from cloud_api.metering.reading_files import ParsedFile, Row, RowError, parse

queries = load_queries(__file__, "imports.sql")

FILE_BYTES_MAX = 20 * 1024**2
_UPLOAD_LIFETIME = timedelta(days=1)


class ImportRefused(DomainError):
    """The file cannot be imported as it is."""

    code = "import_refused"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an import would do."""

    upload_id: int
    file_name: str
    format: str
    new: list[tuple[RegisterId, Row]]
    known_count: int
    errors: list[RowError]

    @property
    def stretches(self) -> list[tuple[str, datetime, datetime]]:
        """Return which meters it touches, from when to when: what depends on them changes."""
        found: dict[str, tuple[datetime, datetime]] = {}
        for _, row in self.new:
            first, last = found.get(row.meter, (row.taken_at, row.taken_at))
            found[row.meter] = (min(first, row.interval_from or row.taken_at), max(last, row.taken_at))
        return [(meter, first, last) for meter, (first, last) in found.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file that was imported."""

    id: int
    file_name: str
    format: str
    row_count: int
    actor: str
    imported_at: datetime
    undone_at: datetime | None
    undone_by: str | None


async def upload(
    conn: AsyncConnection,
    clock: Clock,
    viewer: StaffViewer,
    *,
    name: str,
    content: bytes,
    default_meter: str,
    zone: ZoneInfo,
) -> Preview:
    """Keep a file for a day and say what importing it would do. Raises FileUnreadable, ImportRefused."""
    if len(content) > FILE_BYTES_MAX:
        raise ImportRefused("the file has more than {mib} MiB; divide it", mib=FILE_BYTES_MAX // 1024**2)
    now = clock.now()
    parsed = parse(name, content, zone=zone, default_meter=default_meter)
    await conn.execute(queries.forget_uploads, {"before": now - _UPLOAD_LIFETIME})
    row = await one_row(
        conn,
        queries.add_upload,
        {"organisation_id": viewer.organisation_id, "file_name": name[:200], "default_meter": default_meter,
         "content": content, "actor": viewer.login, "now": now},
    )  # fmt: skip
    assert row is not None, "an insert returns its row"
    return await _preview(conn, row["id"], name, parsed)


async def confirm(conn: AsyncConnection, clock: Clock, viewer: StaffViewer, upload_id: int, *, zone: ZoneInfo) -> int:
    """Import the readable rows of an uploaded file and return how many were new."""
    found = await one_row(conn, queries.upload, {"id": upload_id})
    if found is None:
        raise NotFound("this upload is no longer there: choose the file again")
    content = bytes(found["content"])
    parsed = parse(found["file_name"], content, zone=zone, default_meter=found["default_meter"])
    preview = await _preview(conn, upload_id, found["file_name"], parsed)
    now = clock.now()
    added = await one_row(
        conn,
        queries.add_import,
        {"organisation_id": viewer.organisation_id, "file_name": found["file_name"], "format": parsed.format,
         "sha256": hashlib.sha256(content).digest(), "row_count": len(preview.new), "actor": viewer.login, "now": now},
    )  # fmt: skip
    if added is None:
        raise ImportRefused("this very file has been imported already; undo that import first")
    rows = [*await _beginnings(conn, preview.new), *preview.new]
    await conn.execute(
        queries.add_readings,
        {"register_id": [r for r, _ in rows], "taken_at": [row.taken_at for _, row in rows],
         "value": [row.value for _, row in rows], "quality": [row.quality for _, row in rows],
         "import_id": added["id"], "now": now},
    )  # fmt: skip
    await conn.execute(queries.delete_upload, {"id": upload_id})
    await identity.audit(
        conn, viewer=viewer, at=now, action="reading.import", subject=f"import:{added['id']}",
        file=found["file_name"], rows=len(preview.new),
    )  # fmt: skip
    return len(preview.new)


async def undo(conn: AsyncConnection, clock: Clock, viewer: StaffViewer, import_id: int) -> None:
    """Remove exactly the readings that an import brought; the ledger returns to what it was."""
    now = clock.now()
    undone = await one_row(conn, queries.undo_import, {"id": import_id, "now": now, "actor": viewer.login})
    if undone is None:
        raise ImportRefused("that import does not exist or is undone already")
    await conn.execute(queries.remove_readings, {"id": import_id})
    await identity.audit(
        conn,
        viewer=viewer,
        at=now,
        action="reading.undo_import",
        subject=f"import:{import_id}",
        file=undone["file_name"],
    )


async def imports(conn: AsyncConnection) -> list[Import]:
    """Return the imports that the viewer may see, newest first."""
    async with conn.cursor(row_factory=class_row(Import)) as cursor:
        await cursor.execute(queries.imports)
        return await cursor.fetchall()


async def _preview(conn: AsyncConnection, upload_id: int, name: str, parsed: ParsedFile) -> Preview:
    registers = await _registers(conn, parsed.rows)
    matched: list[tuple[RegisterId, Row]] = []
    for row in parsed.rows:
        register = registers.get((row.meter, row.quantity))
        if register is None:
            refusal = Text(
                "no meter {meter!r:.60} with a register {quantity!r:.60}", meter=row.meter, quantity=row.quantity
            )
            parsed.refuse(row.line, refusal)
        elif register["is_delta"] != (row.interval_from is not None):
            parsed.refuse(row.line, _WRONG_KIND[register["is_delta"]])
        else:
            matched.append((RegisterId(register["id"]), row))
    existing = {
        (found["register_id"], found["taken_at"]): found["value"]
        for found in await all_rows(
            conn,
            queries.existing,
            {"register_id": [r for r, _ in matched], "taken_at": [row.taken_at for _, row in matched]},
        )
    }
    new: dict[tuple[int, datetime], tuple[RegisterId, Row]] = {}
    known = 0
    for register_id, row in matched:
        key = (register_id, row.taken_at)
        earlier = existing.get(key, new[key][1].value if key in new else None)
        if earlier is None:
            new[key] = (register_id, row)
        elif earlier == row.value:
            known += 1
        else:
            parsed.refuse(row.line, Text("another value stands there already: {earlier}", earlier=earlier))
    return Preview(
        upload_id=upload_id,
        file_name=name,
        format=parsed.format,
        new=list(new.values()),
        known_count=known,
        errors=sorted(parsed.errors, key=lambda e: e.line),
    )


_WRONG_KIND = {
    True: Text("this register counts differences: import interval data, not cumulative readings"),
    False: Text("this register counts cumulatively: import its readings, not interval data"),
}


async def _registers(conn: AsyncConnection, rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Any]]:
    names = sorted({row.meter for row in rows})
    found = await all_rows(conn, queries.registers_by_meter, {"name": names})
    return {
        (name, register["quantity"]): register
        for register in found
        for name in (register["code"], register["nmi"])
        if name
    }


async def _beginnings(conn: AsyncConnection, rows: Sequence[tuple[RegisterId, Row]]) -> list[tuple[RegisterId, Row]]:
    """Return a reading of nothing at the start of the first interval of registers that have no reading before it."""
    first: dict[RegisterId, Row] = {}
    for register_id, row in rows:
        if row.interval_from is not None and (register_id not in first or row.taken_at < first[register_id].taken_at):
            first[register_id] = row
    starts = {r: row.interval_from for r, row in first.items()}
    fresh = await all_rows(
        conn, queries.first_readings, {"register_id": list(starts), "taken_at": list(starts.values())}
    )
    return [
        (
            RegisterId(f["register_id"]),
            Row(line=0, meter="", quantity="", taken_at=starts[f["register_id"]] or first[f["register_id"]].taken_at,
                value=first[f["register_id"]].value * 0),
        )
        for f in fresh
    ]  # fmt: skip
