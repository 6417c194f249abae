"""The commissioning record of a device: what was read, when, by whom, and how far it made sense."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.commissioning.probe import Probe
from edge_agent.commissioning.ranking import PointReading


def record_of(probe: Probe, *, address: str, by: str, at: datetime, note: str = "") -> dict[str, Any]:
    """Return the record as plain data."""
    return {
        "device": probe.device,
        "address": address,
        "profile": probe.profile.name,
        "profile_revision": probe.profile.revision,
        "profile_confidence": probe.profile.confidence,
        "at": at.isoformat(timespec="seconds"),
        "by": by,
        "note": note,
        "score": round(probe.fit.score, 3),
        "requests": probe.requests,
        "seconds": round(probe.seconds, 3),
        "points": [reading_of(reading) for reading in probe.fit.readings],
        "not_served": [point.name for point in probe.refused],
        "verdicts": [
            {"rule": verdict.rule, "passed": verdict.passed, "detail": verdict.detail} for verdict in probe.fit.verdicts
        ],
        "alternatives": [{"order": fit.label, "score": round(fit.score, 3)} for fit in probe.alternatives],
    }


def reading_of(reading: PointReading) -> dict[str, Any]:
    """One point as data."""
    point = reading.point
    return {
        "name": point.name,
        "function": point.function.value,
        "address": point.wire_address,
        "doc_address": point.doc_address,
        "words": [f"{int(word):04X}" for word in reading.words],
        "value": reading.value if isinstance(reading.value, str) else reading.number,
        "unit": point.unit,
        "quality": reading.quality.name.lower(),
    }


def keep_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write the record beside earlier ones of the same device: a record is never overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{record['device']}-{re.sub('[^0-9T]', '', record['at'][:19])}"
    for number in range(1, 100):
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False, indent=1)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{folder}: 100 records of {record['device']} within one second")
