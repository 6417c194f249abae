"""The storage report as text for the command line."""

from datetime import datetime

from cloud_api.operations.storage.model import Report, Table

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_HEAD = ("table", "kind", "pieces", "rows", "size", "B/row", "ratio", "oldest", "newest", "keep", "next drop")


def size(count: float) -> str:
    """Return bytes in the largest unit that leaves at least one."""
    power = min((int(abs(count)).bit_length() - 1) // 10, len(_UNITS) - 1) if count else 0
    return f"{count / 1024**power:.{1 if power else 0}f} {_UNITS[power]}"


def lines(report: Report) -> list[str]:
    """Return the report, one line per table, what holds them, and the newest entries of the journal."""
    rows = [_HEAD, *(_row(table) for table in report.tables)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    compression = "old chunks are compressed" if report.compresses else "this edition has no compression"
    engine = f"TimescaleDB, licence {report.licence}: {compression}" if report.licence else "PostgreSQL, partitions"
    shown.insert(0, engine)
    shown += [
        f"held: {table.name} from {_day(hold.needed_from)} ({hold.reason}{' ' + hold.what if hold.what else ''})"
        for table in report.tables
        for hold in table.holds
    ]
    shown += [
        f"{deed.at:%Y-%m-%d %H:%M}  {deed.action:<11} {deed.kind:<9} {deed.name} {deed.note}".rstrip()
        for deed in report.journal
    ]
    return shown


def _row(table: Table) -> tuple[str, ...]:
    pieces = f"{table.piece_count}" + (f" ({table.compressed_count} compressed)" if table.compressed_count else "")
    return (
        table.name,
        str(table.kind),
        pieces,
        f"{table.row_count:,}",
        size(table.byte_count),
        "-" if table.bytes_per_row is None else f"{table.bytes_per_row:.0f}",
        "-" if table.compression_ratio is None else f"{table.compression_ratio:.1f}",
        _day(table.oldest_at),
        _day(table.newest_at),
        "for ever" if table.keep_days is None else f"{table.keep_days} d",
        _day(table.next_drop_at),
    )


def _day(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d}"
