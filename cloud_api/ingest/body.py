"""Reading a request's body within its limits, compressed or not."""

import zlib

import zstandard
from starlette.requests import Request

from cloud_api.ingest.limits import LIMITS
from cloud_api.kit.errors import DomainError

_ZSTD = zstandard.ZstdDecompressor(max_window_size=2**27)


class BodyTooLarge(DomainError):
    """The body is larger than the cloud takes; send smaller batches."""

    code = "body_too_large"
    status = 413


class BodyUnreadable(DomainError):
    """The body is not what its Content-Encoding says."""

    code = "body_unreadable"
    status = 400


class EncodingUnknown(DomainError):
    """Only gzip and zstd are understood."""

    code = "encoding_unknown"
    status = 415


async def read_body(request: Request) -> bytes:
    """Return the decompressed body; neither form may grow beyond its limit, whatever the headers claim."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "zstd"}:
        raise EncodingUnknown(f"Content-Encoding {encoding!r} is not understood; use gzip, zstd or none")
    limit = LIMITS.compressed_bytes_max if encoding in {"gzip", "zstd"} else LIMITS.body_bytes_max
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes; send smaller batches")
        chunks.append(chunk)
    body = b"".join(chunks)
    try:
        return _decompress(body, encoding)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise BodyUnreadable(f"the body is not valid {encoding}: {error}") from error


def _decompress(body: bytes, encoding: str) -> bytes:
    limit = LIMITS.body_bytes_max
    if encoding == "gzip":
        inflater = zlib.decompressobj(wbits=31)
        plain = inflater.decompress(body, limit + 1)
        if not inflater.eof and len(plain) <= limit:
            raise EOFError("it ends too early")
    elif encoding == "zstd":
        plain = _unpack_zstd(body, limit)
    else:
        return body
    if len(plain) > limit:
        raise _grows_beyond(limit)
    return plain


def _unpack_zstd(body: bytes, limit: int) -> bytes:
    size = zstandard.frame_content_size(body)  # As the frame claims; zstandard refuses one that holds more.
    if size > limit:
        raise _grows_beyond(limit)
    if size >= 0:
        return _ZSTD.decompress(body)
    with _ZSTD.stream_reader(body) as reader:
        return reader.read(limit + 1)


def _grows_beyond(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body grows beyond {limit} bytes when it is unpacked; send smaller batches")
