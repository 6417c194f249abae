"""Credentials are hashed with a key of the site before anything else sees them."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_BYTES_MIN = 16


class PrivacyKeyError(ValueError):
    """The key is unusable; the message says what to do."""


def load_key(configured: str | None, folder: Path) -> bytes:
    """Return the configured key, or the one in `privacy.key`, made at the first start.

    All gateways of a site need the same key, or one person counts once per gateway.
    """
    if configured:
        if len(configured.encode()) < KEY_BYTES_MIN:
            raise PrivacyKeyError(
                f"EDGE_PRIVACY_KEY is shorter than {KEY_BYTES_MIN} bytes; make one: openssl rand -hex 32"
            )
        return configured.encode()
    path = folder / "privacy.key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    key = path.read_bytes().strip()
    if len(key) < KEY_BYTES_MIN:
        raise PrivacyKeyError(
            f"{path} is damaged; restore it from a backup, or remove it and lose the link to old events"
        )
    return key


def hash_credential(credential: str, key: bytes) -> str | None:
    """Return the keyed hash of a card number or user id; None when there is none.

    The same card must give the same hash at every reader: case, spaces and leading zeros do not count.
    """
    plain = "".join(credential.split()).casefold()
    plain = plain.lstrip("0") if plain.isdigit() else plain
    if plain in {"", "null", "none"}:
        return None
    return "hmac-sha256:" + hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()[:32]
