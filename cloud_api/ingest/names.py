"""Names of others' devices and points in our alphabet. Pure."""

import hashlib
import re

_NAME_MAX = 90


def valid_name(text: str, joint: str) -> str:
    """Return a device's name (`joint` is "-") or a point's ("_").

    Six digits of a hash follow one that had to be changed, so that two names never fall together.
    """
    plain = plain_name(text, joint)
    return plain if plain == text else f"{plain}{joint}{digits(text)}"


def plain_name(text: str, joint: str) -> str:
    """Return the text in small letters, digits and joints; points begin with a letter."""
    plain = re.sub(r"[^a-z0-9]+", joint, text.lower()).strip(joint)[:_NAME_MAX]
    if not plain or (joint == "_" and not plain[0].isalpha()):
        return f"p{joint}{plain}".strip(joint)
    return plain


def digits(text: str) -> str:
    """Return six digits that tell a text from others written alike."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]
