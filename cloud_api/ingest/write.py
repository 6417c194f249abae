"""Line protocol over HTTP, as Telegraf's `influxdb_v2` output and InfluxDB's clients write it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from cloud_api.ingest.body import BodyUnreadable, read_body
from cloud_api.ingest.http import LeanRoute, door_of
from cloud_api.ingest.limits import LIMITS, counters
from cloud_api.ingest.lines import PRECISIONS, read_lines
from cloud_api.ingest.message import MessageRefused
from cloud_api.kit.errors import DomainError

router = APIRouter(tags=["ingest"], route_class=LeanRoute)
_PROBLEMS_TOLD = 50


class PartialWrite(DomainError):
    """Some lines were refused; every other line is stored."""

    code = "partial_write"
    status = 400  # As InfluxDB answers; clients drop what they sent, and need not send the rest again.


_LINES: dict[str, Any] = {
    "parameters": [
        {"name": "precision", "in": "query", "schema": {"type": "string", "enum": list(PRECISIONS), "default": "ns"}},
        *(
            {"name": n, "in": "query", "description": "Ignored.", "schema": {"type": "string"}}
            for n in ("org", "bucket")
        ),
    ],
    "requestBody": {
        "required": True,
        "description": "Lines; Content-Encoding may be gzip or zstd. Sent again, they change nothing.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    "responses": {"204": {"description": "Stored."}},
}


@router.post("/ingest/v1/write", openapi_extra=_LINES, status_code=204)
@router.post("/api/v2/write", openapi_extra=_LINES, status_code=204)
async def write_lines(request: Request) -> Response:
    """Store lines as observations of the gateway whose credential is the token; series unknown so far are added."""
    door = door_of(request)
    gateway = await door.gateway(request)
    precision = request.query_params.get("precision", "ns")
    if precision not in PRECISIONS:
        raise MessageRefused(
            "precision: must be one of {known}, not {found!r}", known=list(PRECISIONS), found=precision
        )
    async with door.place():
        try:
            body = (await read_body(request)).decode()
        except UnicodeDecodeError as error:
            raise BodyUnreadable("the body is not UTF-8: {reason}", reason=str(error)) from error
        count = body.count("\n") + (not body.endswith("\n"))
        if count > LIMITS.observations_max:
            raise MessageRefused("{count} lines in one body; at most {most}", count=count, most=LIMITS.observations_max)
        now_ms = int(door.ingest.clock.now().timestamp() * 1000)
        ahead_ms = int(LIMITS.future_tolerance.total_seconds() * 1000)
        lines = read_lines(
            body, precision=precision, now_ms=now_ms, oldest_ms=LIMITS.oldest_ms, latest_ms=now_ms + ahead_ms
        )
        if len(lines.values) > LIMITS.observations_max:
            most = LIMITS.observations_max
            raise MessageRefused("{count} values in one body; at most {most}", count=len(lines.values), most=most)
        door.pace(gateway, len(lines.values))
        counters["text_fields"] += lines.texts
        await door.ingest.accept_lines(gateway, lines)
    if lines.problems:
        counters["rejected_line"] += len(lines.problems)
        first, reason = lines.problems[0]
        raise PartialWrite(
            "partial write: {refused} of {count} lines refused, the rest is stored; line {first}: {reason}",
            refused=len(lines.problems),
            count=count,
            first=first,
            reason=reason,
            errors=[{"place": f"line {n}", "reason": why} for n, why in lines.problems[:_PROBLEMS_TOLD]],
        )
    return Response(status_code=204)
