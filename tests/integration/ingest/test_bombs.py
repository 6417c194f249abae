"""Bodies that unfold to far more than they weigh, over a real socket to the real server: refused, at bounded memory."""

import gzip
import json
import tracemalloc

import httpx
import pytest
import zstandard

from cloud_api.ingest.limits import LIMITS
from tests.support.real_cloud import RealCloud

UNFOLDED = 20 * LIMITS.body_bytes_max
CHUNK = bytes(2**20)


def zstd_that_tells_its_size():
    return zstandard.ZstdCompressor().compress(bytes(UNFOLDED))


def zstd_that_hides_its_size():
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([*(packer.compress(CHUNK) for _ in range(UNFOLDED // len(CHUNK))), packer.flush()])


def zstd_that_lies_about_its_size():
    """A frame header (single segment, 8 bytes of size) that claims one byte, before the blocks of a real bomb."""
    real = zstd_that_hides_its_size()
    blocks = real[6:] if real[4] & 0x20 == 0 else real[5:]
    return real[:4] + bytes([0x20, 1]) + blocks


def gzip_bomb():
    return gzip.compress(bytes(UNFOLDED), 9)


@pytest.mark.parametrize(
    ("encoding", "bomb", "status", "code"),
    [
        ("zstd", zstd_that_tells_its_size, 413, "body_too_large"),
        ("zstd", zstd_that_hides_its_size, 413, "body_too_large"),
        ("zstd", zstd_that_lies_about_its_size, 400, "body_unreadable"),
        ("gzip", gzip_bomb, 413, "body_too_large"),
    ],
)
async def test_a_bomb_is_refused_with_its_reason_before_it_unfolds(database, pool, encoding, bomb, status, code):
    body = bomb()
    assert len(body) < UNFOLDED // 500
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    headers = {"Authorization": f"Bearer {await cloud.add_gateway()}", "Content-Encoding": encoding}
    try:
        async with httpx.AsyncClient(base_url=cloud.url, headers=headers) as client:
            assert (await client.post("/ingest/v1/batches", content=b"")).status_code in {400, 422}
            tracemalloc.start()
            answer = await client.post("/ingest/v1/batches", content=body)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert str(LIMITS.body_bytes_max) in answer.json()["detail"] or code == "body_unreadable"
            # What may unfold, twice (the decoder's piece and the joined one), and what the server needs anyway.
            assert most < 2 * LIMITS.body_bytes_max + 16 * 2**20
            # The server goes on.
            good = zstandard.ZstdCompressor().compress(json.dumps({"v": 2}).encode())
            answer = await client.post("/ingest/v1/batches", content=good, headers={"Content-Encoding": "zstd"})
            assert answer.status_code == 422
    finally:
        await cloud.stop()
