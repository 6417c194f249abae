"""How a message leaves: our own webhook, any service that Apprise speaks, or nothing at all (null://).

A transport says whether the message was taken; repeats, limits and the log are the outbox's work.
"""

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import apprise
import httpx

SEND_SECONDS_MAX = 10.0
# Apprise gives up by itself after 4 s without a byte. Until then its attempt may still succeed, so it is waited for.
APPRISE_SECONDS_MAX = 30.0
# Channels that Apprise may talk to at once; more wait for their turn, within the same limit.
_THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="apprise")
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
    """Send; return an empty text on success, else why it failed. Never raises; takes 10 s, or 30 s with Apprise."""
    scheme = urlsplit(address).scheme.lower()
    if scheme == "null":
        return ""
    is_webhook = scheme.startswith("webhook+")
    seconds = SEND_SECONDS_MAX if is_webhook else APPRISE_SECONDS_MAX
    try:
        async with asyncio.timeout(seconds):
            if is_webhook:
                return await _webhook(address.removeprefix("webhook+"), message)
            return await _apprise(address, message)
    except TimeoutError:
        return f"no answer within {seconds:.0f} s"


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
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _notify, target, message)


def _notify(target: apprise.Apprise, message: Message) -> str:
    words = _Words()
    for service in target:
        service.logger = words.logger
    taken = target.notify(
        body="\n".join(message.lines),
        title=message.title,
        notify_type=_TYPES.get(message.severity, apprise.NotifyType.INFO),
    )
    if taken:
        return ""
    return "the service did not take the message" + (f": {words.said[-1]}"[:250] if words.said else "")


class _Words(logging.Handler):
    """Keeps what one attempt complains of: Apprise returns a bool, the reason is in its log."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        # One of its own, unregistered: attempts run side by side.
        self.logger = logging.Logger("apprise.attempt", logging.WARNING)  # noqa: LOG001
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
