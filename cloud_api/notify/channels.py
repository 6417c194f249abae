"""How a message leaves: our own webhook, any service that Apprise speaks, or nothing at all (null://).

A transport says whether the message was taken; repeats, limits and the log are the outbox's work.
"""

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import apprise
import httpx

SEND_SECONDS_MAX = 10.0
_TYPES = {1: apprise.NotifyType.FAILURE, 2: apprise.NotifyType.WARNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is said on a channel at once. `key` is the same when an attempt is repeated."""

    key: str
    title: str
    lines: tuple[str, ...]
    severity: int
    items: tuple[dict[str, Any], ...] = ()


class ChannelRefused(ValueError):
    """The address cannot be used; the text says what is wrong with it."""


def check_address(address: str) -> None:
    """Refuse an address that no transport understands."""
    scheme = urlsplit(address).scheme.lower()
    if scheme == "null":
        return
    if scheme in {"webhook+http", "webhook+https"}:
        if not urlsplit(address).hostname:
            raise ChannelRefused("a webhook needs a host: webhook+https://host/path")
        return
    if not apprise.Apprise().add(address):
        raise ChannelRefused(
            f"{scheme or 'the address'} is not understood: use webhook+https://…, mailto://…, dingtalk://…, wecombot://…,"
            " feishu://…, ntfy://… or another address of the Apprise library"
        )


async def send(address: str, message: Message) -> str:
    """Send; return an empty text on success, else why it failed. Never raises, never takes longer than 10 s."""
    scheme = urlsplit(address).scheme.lower()
    try:
        async with asyncio.timeout(SEND_SECONDS_MAX):
            if scheme == "null":
                return ""
            if scheme.startswith("webhook+"):
                return await _webhook(address.removeprefix("webhook+"), message)
            return await _apprise(address, message)
    except TimeoutError:
        return f"no answer within {SEND_SECONDS_MAX:.0f} s"


async def _webhook(url: str, message: Message) -> str:
    body = {
        "key": message.key,
        "title": message.title,
        "text": "\n".join(message.lines),
        "severity": message.severity,
        "items": list(message.items),
    }
    try:
        async with httpx.AsyncClient(timeout=SEND_SECONDS_MAX, verify=certificates()) as client:
            answer = await client.post(url, json=body, headers={"Idempotency-Key": message.key})
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "" if answer.is_success else f"HTTP {answer.status_code}"


@cache
def certificates() -> ssl.SSLContext:
    """Return the authorities that webhooks are checked against; reading them takes a while, once is enough."""
    return httpx.create_ssl_context()


async def _apprise(address: str, message: Message) -> str:
    target = apprise.Apprise()
    if not target.add(address):
        return "the address is not understood"
    # Apprise blocks while it talks; a thread keeps the other channels free.
    taken = await asyncio.to_thread(
        target.notify,
        body="\n".join(message.lines),
        title=message.title,
        notify_type=_TYPES.get(message.severity, apprise.NotifyType.INFO),
    )
    return "" if taken else "the service did not take the message"
