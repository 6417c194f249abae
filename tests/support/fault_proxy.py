"""A TCP proxy that does to a connection what cables, routers and gateways do. For any protocol."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Self


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target_port`.

    delay_s         added to every piece of data, both ways
    bytes_per_s     the speed of the line, both ways; None: as fast as it goes
    is_black_hole   data are swallowed, connections stay open
    change          called with (direction, data), returns the pieces to forward instead: drop, repeat, alter;
                    direction is "up" (to the target) or "down"
    cut_after       called once per connection, returns after how many bytes from the target it is cut; None: never
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.is_black_hole = False
        self.change: Callable[[str, bytes], list[bytes]] = lambda _, data: [data]
        self.cut_after: Callable[[], int | None] = lambda: None
        self.connections = 0
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        await self._server.wait_closed()

    def cut_all(self) -> None:
        """Break every connection at once, without a goodbye."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(up_writer)
            tasks = [
                asyncio.create_task(self._pipe("up", reader, up_writer, None)),
                asyncio.create_task(self._pipe("down", up_reader, writer, self.cut_after())),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        except OSError:
            pass  # The target is away; so is the connection.
        finally:
            for one in (writer, up_writer):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _pipe(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                if self.is_black_hole:
                    continue
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                for piece in self.change(direction, data):
                    if self.bytes_per_s:
                        await asyncio.sleep(len(piece) / self.bytes_per_s)
                    if left is not None and len(piece) >= left:
                        writer.write(piece[:left])
                        await writer.drain()
                        self.cuts += 1
                        return
                    if left is not None:
                        left -= len(piece)
                    writer.write(piece)
                await writer.drain()


def sometimes(share: float, bytes_max: int, source: random.Random) -> Callable[[], int | None]:
    """Cut this share of the connections somewhere within their first bytes."""
    return lambda: source.randrange(bytes_max) if source.random() < share else None
