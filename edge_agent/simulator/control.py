"""A small HTTP server on the loopback for whoever plays with the building: faults, overrides, what is going on.

GET /state · GET /faults · PUT /faults/TARGET {"kind", "size"?, "point"?} · DELETE /faults/TARGET[/KIND]
PUT /overrides/DEVICE/POINT {"value"} · DELETE /overrides/DEVICE/POINT
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

import orjson

from edge_agent.simulator.faults import KINDS, FaultError
from edge_agent.simulator.world import World

HEAD_BYTES_MAX = 8192
BODY_BYTES_MAX = 16_384
READ_SECONDS_MAX = 5.0

Handler = Callable[[list[str], dict[str, Any]], Any]


class _Refused(Exception):  # It becomes an answer.
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Control:
    """Answers for one world; `devices` are the names that may be silenced or overridden."""

    def __init__(self, world: World, devices: Sequence[str]) -> None:
        """Offer the devices that are served and the equipment of the plan."""
        self.world = world
        self.devices = frozenset(devices)
        self.targets = sorted(self.devices | set(world.building.plan.serves))

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen; raises OSError when the port is taken."""
        return await asyncio.start_server(self._converse, host, port, limit=HEAD_BYTES_MAX)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                status, answer = await self._one(reader)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            status, answer = "400 Bad Request", {"detail": "cannot be read as HTTP with a JSON body"}
        body = orjson.dumps(answer, default=str)
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        try:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError:
            return

    async def _one(self, reader: asyncio.StreamReader) -> tuple[str, Any]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _version = head[0].split(" ")
        lines = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
        length = int(lines.get("content-length", "0"))
        if not 0 <= length <= BODY_BYTES_MAX:
            return "413 Content Too Large", {"detail": f"at most {BODY_BYTES_MAX} bytes"}
        body = await reader.readexactly(length) if length else b""
        parts = [unquote(part) for part in target.partition("?")[0].split("/") if part]
        try:
            return "200 OK", self._answer(method, parts, orjson.loads(body) if body else {})
        except (FaultError, orjson.JSONDecodeError, ValueError, TypeError) as error:
            return "422 Unprocessable Content", {"detail": str(error)}
        except _Refused as error:
            return error.status, {"detail": str(error)}

    def _answer(self, method: str, parts: list[str], body: dict[str, Any]) -> Any:
        match (method, parts):
            case ("GET", ["state"]):
                return self._state()
            case ("GET", ["faults"]):
                return self.world.journal.as_json(self.world.now_ms())
            case ("GET", ["faults", "kinds"]):
                return [asdict(kind) for kind in KINDS.values()]
            case ("PUT", ["faults", target]):
                return asdict(
                    self.world.journal.set(
                        target,
                        str(body.get("kind", "silent")),
                        at_ms=self.world.now_ms(),
                        size=None if body.get("size") is None else float(body["size"]),
                        point=body.get("point"),
                        known=self.targets,
                    )
                )
            case ("DELETE", ["faults", target, *kind]):
                self._known(target, self.targets)
                ended = self.world.journal.clear(target, kind[0] if kind else None, at_ms=self.world.now_ms())
                return {"target": target, "ended": ended}
            case ("PUT" | "DELETE", ["overrides", device, point]):
                self._known(device, self.devices)
                value = body.get("value") if method == "PUT" else None
                if method == "PUT" and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise _Refused("422 Unprocessable Content", "value: must be a number")
                self.world.override(device, point, value)
                return {"device": device, "point": point, "value": value, "at_ms": self.world.now_ms()}
        raise _Refused("404 Not Found", "there is: /state, /faults, /faults/TARGET, /overrides/DEVICE/POINT")

    def _known(self, name: str, names: Sequence[str] | frozenset[str]) -> None:
        if name not in names:
            raise _Refused("404 Not Found", f"no device or equipment “{name}” in this building")

    def _state(self) -> dict[str, Any]:
        building = self.world.instant().building
        return {
            "at_ms": self.world.now_ms(),
            "outdoor_c": round(building.weather.temperature_c, 1),
            "present": building.present,
            "main_w": building.power.meter_w[0],
            "faults": self.world.journal.as_json(self.world.now_ms()),
            "devices": sorted(self.devices),
        }
