"""Bytes from a broker to a document, within limits. Pure.

Numbers with a fraction become `Decimal`, so that a counter keeps every digit; NaN and infinity are refused.
"""

import json
from decimal import Decimal
from typing import Any, NoReturn

PAYLOAD_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32
EXPONENT_MAX = (
    30  # A number beyond 10^±30 measures nothing in a building; computing with it exactly could take for ever.
)

Document = dict[str, Any] | list[Any]


class PayloadError(ValueError):
    """A payload that is not what its topic promises; `code` names the counter."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def parse_text(payload: bytes) -> str:
    """Return a plain-text payload; raises PayloadError."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise PayloadError("oversized")
    try:
        return payload.decode("utf-8").strip().strip("\x00")
    except UnicodeDecodeError as error:
        raise PayloadError("not_utf8") from error


def parse_json(payload: bytes) -> Document:
    """Return a JSON object or list; raises PayloadError."""
    text = parse_text(payload)
    try:
        document = json.loads(text, parse_float=_number, parse_constant=_no_number)
    except PayloadError:
        raise
    except RecursionError as error:
        raise PayloadError("too_deep") from error
    except ValueError as error:
        raise PayloadError("not_json") from error
    if not isinstance(document, (dict, list)):
        raise PayloadError("not_a_document")
    if _is_deeper(document, DEPTH_MAX):
        raise PayloadError("too_deep")
    return document


def _number(text: str) -> Decimal | None:
    number = Decimal(text)
    return number if abs(number.adjusted()) <= EXPONENT_MAX or not number else None


def _no_number(_: str) -> NoReturn:
    raise PayloadError("not_a_number")


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    if levels == 0:
        return True
    return any(_is_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def text_of(value: Any) -> str:
    """Return a JSON value as profiles write it: true, false, null, numbers as they came, texts without quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
