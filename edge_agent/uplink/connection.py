"""One kept-alive HTTP/1.1 connection to the cloud.

A general HTTP client spends more CPU on one small message than the rest of the agent on its values. Here h11 parses
and asyncio carries; nothing else is needed: one host, no redirects, no cookies, no proxy.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

CONNECT_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 16 * 1024**2
READ_BYTES = 65_536


class HttpError(Exception):
    """No complete answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpConnection:
    """Sends one request at a time. Not for concurrent use."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """`url` is what the paths of requests are appended to; raises ValueError for anything but http and https."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url} is not an http address")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._base = parts.path.rstrip("/")
        self._headers = [("Host", parts.netloc.rpartition("@")[2]), *headers.items()]
        self._timeout_s = timeout_s
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._state = h11.Connection(h11.CLIENT)

    async def request(self, method: str, path: str, body: bytes) -> Answer:
        """Send one request and return its answer. Raises HttpError; the next request then connects anew.

        A kept connection that the server has closed meanwhile is replaced once: every message of ours may be sent
        twice.
        """
        was_kept = self._writer is not None
        try:
            return await self._exchange(method, path, body)
        except _ClosedWithoutAnswerError as error:
            if not was_kept:
                raise HttpError(str(error)) from error
        try:
            return await self._exchange(method, path, body)
        except _ClosedWithoutAnswerError as error:
            raise HttpError(str(error)) from error

    def close(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _exchange(self, method: str, path: str, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await self._connected()
                fields = [*self._headers, ("Content-Length", str(len(body)))]
                head = h11.Request(method=method, target=f"{self._base}/{path}", headers=fields)
                data = [
                    self._state.send(head),
                    self._state.send(h11.Data(data=body)),
                    self._state.send(h11.EndOfMessage()),
                ]
                writer.write(b"".join(part for part in data if part))
                await writer.drain()
                answer = await self._receive(reader)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise HttpError(f"no answer in {self._timeout_s:g} s") from error
            if isinstance(error, OSError | h11.ProtocolError):
                raise HttpError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
            raise
        if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
        else:
            self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._state = h11.Connection(h11.CLIENT)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                name = self._host if self._tls else None
                self._reader, self._writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._tls, server_hostname=name
                )
        return self._reader, self._writer

    async def _receive(self, reader: asyncio.StreamReader) -> Answer:
        head: h11.Response | None = None
        content = bytearray()
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(READ_BYTES)
                if not data and head is None and self._state.their_state is h11.SEND_RESPONSE:
                    raise _ClosedWithoutAnswerError("the server closed the connection")
                self._state.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                content += event.data
                if len(content) > ANSWER_BYTES_MAX:
                    raise HttpError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                return Answer(status=head.status_code, headers=headers, content=bytes(content))
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise HttpError("the server ended the connection in the middle of an answer")


class _ClosedWithoutAnswerError(Exception):
    """Nothing at all came back."""
