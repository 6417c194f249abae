"""A small cloud that implements ARCHITECTURE.md section 9 over real HTTP, and misbehaves when told to.

It stores in memory. `faults` is a queue of names taken one per batch:
  cut_before      the connection breaks before anything is stored
  cut_after       stored, then the connection breaks before the receipt
  half_receipt    stored, the receipt breaks off in the middle
  stale_receipt   stored, answered with the receipt of an earlier batch
  foreign_receipt answered with a receipt of another stream
  garbage         200 with something that is not a receipt
  busy            503 with Retry-After
  refuse_half     the second half of the batch comes back as retry
"""

import asyncio
import json
import ssl
import time
from collections import deque

import h11
import zstandard

ENCODED = zstandard.ZstdDecompressor()


class ContractCloud:
    def __init__(self, *, credential: str = "secret") -> None:
        self.credential = credential
        self.stored: dict[tuple[str, int], dict] = {}
        self.duplicates = 0
        self.conflicts: list[tuple] = []
        self.catalogue: dict | None = None
        self.catalogues = 0
        self.refuses_catalogue = False
        self.heartbeats: list[dict] = []
        self.batches: list[dict] = []
        self.arrived_at: list[float] = []
        self.faults: deque[str] = deque()
        self.fault_of = lambda: self.faults.popleft() if self.faults else None
        self.retry_after = "1"
        self.known_points: set[str] | None = None
        self.reject: dict[int, str] = {}
        self.poison_seq: int | None = None
        self.observations_max: int | None = None
        self.clock_ahead_ms = 0
        self.bytes_per_s: float | None = None
        self.heartbeat_answer: dict = {}
        self._receipts: list[dict] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> str:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=2**26, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        connection = h11.Connection(h11.SERVER)
        try:
            while (message := await self._read(connection, reader)) is not None:
                status, headers, answer, cut = self._answer(*message)
                if cut == "before":
                    return
                head = connection.send(
                    h11.Response(status_code=status, headers=[*headers.items(), ("Content-Length", str(len(answer)))])
                )
                writer.write(head + (answer[: len(answer) // 2] if cut == "half" else answer))
                connection.send(h11.Data(data=answer))
                connection.send(h11.EndOfMessage())
                await writer.drain()
                if cut == "half":
                    return
                connection.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _read(self, connection: h11.Connection, reader: asyncio.StreamReader):
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(65536)
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None

    def _answer(self, request: h11.Request, body: bytes):
        headers = {k.decode().lower(): v.decode() for k, v in request.headers}
        if headers.get("authorization") != f"Bearer {self.credential}":
            return self._json(401, {"code": "unknown_credential", "title": "no"})
        assert headers["content-encoding"] == "zstd"
        message = json.loads(ENCODED.decompress(body))
        assert message["v"] == 1
        path = request.target.decode()
        method = request.method.decode()
        if (method, path) == ("PUT", "/ingest/v1/catalogue") and self.refuses_catalogue:
            return self._json(422, {"code": "catalogue_refused", "detail": "it contradicts itself"})
        if (method, path) == ("PUT", "/ingest/v1/catalogue"):
            self.catalogue = message
            self.catalogues += 1
            self.known_points = {f"{d['name']}/{p['name']}" for d in message["devices"] for p in d["points"]}
            return self._json(200, {"server_time_ms": self._now_ms()})
        if (method, path) == ("POST", "/ingest/v1/heartbeat"):
            self.heartbeats.append(message)
            return self._json(200, {"server_time_ms": self._now_ms(), **self.heartbeat_answer})
        assert (method, path) == ("POST", "/ingest/v1/batches")
        return self._batch(message)

    def _batch(self, message: dict):
        fault = self.fault_of()
        refusal = self._refusal(fault, message)
        if refusal is not None:
            return refusal
        self.batches.append(message)
        self.arrived_at.append(time.monotonic())
        receipt = self._store(message, half=fault == "refuse_half")
        self._receipts.append(receipt)
        if fault == "cut_after":
            return 0, {}, b"", "before"
        if fault == "stale_receipt" and len(self._receipts) > 1:
            receipt = self._receipts[-2]
        status, headers, body, _ = self._json(200, receipt)
        return status, headers, body, "half" if fault == "half_receipt" else None

    def _refusal(self, fault: str | None, message: dict):
        self._check(message)
        numbers = {*message["seq"], *(event["seq"] for event in message["events"])}
        refusals = {
            "cut_before": (0, {}, b"", "before"),
            "busy": (503, {"Retry-After": self.retry_after}, b"", None),
            "garbage": (200, {}, b"<html>captive portal</html>", None),
            "foreign_receipt": self._json(200, {"stream": "another", "accepted": [[1, 10**6]]}),
        }
        if fault in refusals:
            return refusals[fault]
        if self.observations_max is not None and len(numbers) > self.observations_max:
            return self._json(413, {"code": "too_large"})
        if self.poison_seq in numbers:
            return self._json(422, {"code": "poison", "detail": "cannot digest this"})
        return None

    @staticmethod
    def _check(message: dict) -> None:
        lengths = {len(message[key]) for key in ("seq", "point", "at_ms", "value", "quality")}
        assert len(lengths) == 1, f"columns differ: {lengths}"
        assert len(message["points"]) == len(message["scales"])
        assert all(0 <= p < len(message["points"]) for p in message["point"])
        assert all((v is None) == (q >= 2) for v, q in zip(message["value"], message["quality"], strict=True))

    def _store(self, message: dict, *, half: bool) -> dict:
        stream, accepted, rejected, retry = message["stream"], [], [], []
        rows = [
            (
                seq,
                {
                    "point": message["points"][point],
                    "scale": message["scales"][point],
                    "at_ms": at,
                    "value": value,
                    "quality": quality,
                },
            )
            for seq, point, at, value, quality in zip(
                *(message[key] for key in ("seq", "point", "at_ms", "value", "quality")), strict=True
            )
        ]
        rows += [(event["seq"], event) for event in message["events"]]
        for index, (seq, row) in enumerate(rows):
            if seq in self.reject:
                rejected.append({"seq": seq, "code": self.reject[seq], "reason": "told to"})
            elif self.known_points is not None and "point" in row and row["point"] not in self.known_points:
                retry.append({"from": seq, "to": seq, "code": "unknown_point", "reason": row["point"]})
            elif half and index >= len(rows) // 2:
                retry.append({"from": seq, "to": seq, "code": "busy", "reason": "half"})
            else:
                known = self.stored.get((stream, seq))
                if known is None:
                    self.stored[stream, seq] = row
                else:
                    self.duplicates += 1
                    if known != row:
                        self.conflicts.append((stream, seq, known, row))
                accepted.append([seq, seq])
        return {
            "stream": stream,
            "accepted": accepted,
            "rejected": rejected,
            "retry": retry,
            "server_time_ms": self._now_ms(),
        }

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.clock_ahead_ms

    @staticmethod
    def _json(status: int, content: dict):
        return status, {"Content-Type": "application/json"}, json.dumps(content).encode(), None
